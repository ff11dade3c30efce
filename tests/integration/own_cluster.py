"""Pods and a Job of the manifests as plain processes: what kubelets and the Job controller do here.

A pod has namespaces of its own (files, processes, host name) and a root of its own: this system's programs, an
environment with the project in the image's place, and the volumes of the manifest; all else is out of sight. It runs as
the user of the manifest. All pods share the network of this host, where each service has a loopback address.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.integration.running import ROOT

DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
DISRUPTED = "DisruptionTarget"
_NAMESPACES = ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child"]
_IS_ROOT = os.geteuid() == 0
_SYSTEM = ("/usr", "/etc", "/dev")
_LINKS = ("/bin", "/sbin", "/lib", "/lib64")


def missing() -> str:
    """Why there can be no pods here; empty if there can."""
    absent = [name for name in ("unshare", "setpriv", "tini") if shutil.which(name) is None]
    if absent:
        return f"no {', '.join(absent)} (Debian: util-linux, tini)"
    tried = subprocess.run([*_namespaces(), "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else "no right to make namespaces"


def _namespaces() -> list[str]:
    return _NAMESPACES if _IS_ROOT else [*_NAMESPACES, "--map-root-user"]


def manifests() -> Iterator[dict[str, Any]]:
    """Yield every object of the manifests."""
    for path in MANIFESTS:
        yield from yaml.safe_load_all(path.read_text(encoding="utf-8"))


def manifest(kind: str, name: str) -> dict[str, Any]:
    """Return one of them."""
    (found,) = (one for one in manifests() if (one["kind"], one["metadata"]["name"]) == (kind, name))
    return found


def pod_specs() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what each of them says of its pods, by its name."""
    for one in manifests():
        if "template" in one.get("spec", {}):
            yield f"{one['kind']} {one['metadata']['name']}", one["spec"]["template"]["spec"]


@dataclass(frozen=True)
class Image:
    """What the Dockerfile says of a container's beginning."""

    entrypoint: list[str]
    environment: dict[str, str]
    script: str
    folder: str

    @classmethod
    def read(cls) -> Image:
        """Read it from the last stage."""
        text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").rpartition("\nFROM ")[2]
        (entrypoint,) = re.findall(r"^ENTRYPOINT (\[.*\])$", text, re.MULTILINE)
        (path,) = re.findall(r"^ENV PATH=(\S+)$", text, re.MULTILINE)
        (script,) = re.findall(r"^COPY .*deploy/entrypoint (\S+)$", text, re.MULTILINE)
        (folder,) = re.findall(r"^WORKDIR (\S+)$", text, re.MULTILINE)
        path = path.replace("$PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        return cls(json.loads(entrypoint), {"PATH": path}, script, folder)


def kubelets_files(folder: Path, files: Mapping[str, str], group: int | None, mode: int = 0o644) -> None:
    """Write the files of a ConfigMap or a Secret as a kubelet does: links to links, which it can exchange at once.

    The files belong to the kubelet's user; those of a pod with an fsGroup also to that group, which may read them.
    """
    now = folder / "..2026_01_01_00_00_00.1"
    now.mkdir(parents=True)
    for name, text in files.items():
        (now / name).write_text(text, encoding="utf-8")
        (now / name).chmod(mode | (0o440 if group is not None else 0))
        (folder / name).symlink_to(f"..data/{name}")
        _give(now / name, group)
    (folder / "..data").symlink_to(now.name)


def _give(path: Path, group: int | None) -> None:
    if _IS_ROOT and group is not None:
        os.chown(path, 0, group)


@dataclass
class Cluster:
    """What pods share: a folder, the environment of the project, addresses of services, objects by name, mounts."""

    folder: Path
    installed: Path
    addresses: dict[str, str]
    configurations: dict[str, dict[str, str]]
    secrets: dict[str, dict[str, str]]
    mounted: list[Path] = field(default_factory=list)
    image: Image = field(default_factory=Image.read)

    def claim(self, name: str, group: int) -> Path:
        """The folder behind a PersistentVolumeClaim, made when it is first asked for."""
        path = self.folder / "claims" / name
        if not path.exists():
            path.mkdir(parents=True)
            _give(path, group)
            path.chmod(0o2775)
        return path

    def hosts(self) -> str:
        """The file that stands in for the cluster's DNS."""
        lines = [f"{address} {name}" for name, address in self.addresses.items()]
        return "\n".join(["127.0.0.1 localhost", *lines, ""])


class Pod:
    """A pod with one container, started at once; `name` is its host name."""

    def __init__(self, cluster: Cluster, spec: dict[str, Any], name: str, **more: str) -> None:
        self.cluster, self.spec, self.name = cluster, spec, name
        (self.container,) = spec["containers"]
        self.root = cluster.folder / "pods" / f"{name}-{len(list(cluster.folder.glob('pods/*')))}"
        self.root.mkdir(parents=True)
        self.log = self.root.with_suffix(".log")
        words = [*cluster.image.entrypoint, *self.container.get("args", [])]
        with self.log.open("wb") as said:
            self._process = subprocess.Popen(
                [*_namespaces(), "sh", "-euc", self._preparation(), "sh", *words],
                env={**cluster.image.environment, **self._environment(), **more},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )

    def _environment(self) -> dict[str, str]:
        found = {}
        for variable in self.container.get("env", []):
            value, source = variable.get("value"), variable.get("valueFrom", {})
            if "secretKeyRef" in source:
                wanted = source["secretKeyRef"]
                value = self.cluster.secrets[wanted["name"]].get(wanted["key"])
                assert value is not None or wanted.get("optional"), f"CreateContainerConfigError: {wanted}"
            elif "fieldRef" in source:
                assert source["fieldRef"]["fieldPath"] == "status.podIP"
                value = self.cluster.addresses[self.name]
            if value is not None:
                found[variable["name"]] = value
        return found

    def _preparation(self) -> str:
        """The commands that make the root, and begin the container in it as its user."""
        root, security = self.root, self.spec["securityContext"]
        lines = [f"mount -t tmpfs -o mode=755 tmpfs '{root}'"]
        for path in _LINKS:
            if Path(path).is_symlink():
                lines.append(f"ln -s '{Path(path).readlink()}' '{root}{path}'")
        python = Path(sys.executable).resolve().parents[1]
        needed = (ROOT, python, self.cluster.installed, *self.cluster.mounted)
        own = {str(path): path for path in needed if not path.is_relative_to("/usr")}
        system = {path: Path(path) for path in (*_SYSTEM, *(link for link in _LINKS if not Path(link).is_symlink()))}
        places = {**system, "/opt/ben_luigi": self.cluster.installed, **self._volumes(), **own}
        for target, source in places.items():
            lines.append(f"mkdir -p '{root}{target}' && mount --rbind '{source}' '{root}{target}'")
        hosts = root.with_suffix(".hosts")
        hosts.write_text(self.cluster.hosts(), encoding="utf-8")
        lines.append(f"mount --bind '{hosts}' '{root}/etc/hosts'")
        script = f"{root}{self.cluster.image.script}"
        lines.append(f"touch '{script}' && mount --bind '{DEPLOY / 'entrypoint'}' '{script}'")
        lines.append(f"mkdir -p '{root}/proc' '{root}{self.cluster.image.folder}' && mount -t proc proc '{root}/proc'")
        if self.container["securityContext"]["readOnlyRootFilesystem"]:
            lines.append(f"mount -o remount,bind,ro '{root}'")
        lines.append(f"hostname '{self.name}'")
        user, group, shared = (security[name] for name in ("runAsUser", "runAsGroup", "fsGroup"))
        become = f"setpriv --reuid {user} --regid {group} --groups {shared} --no-new-privs --bounding-set=-all"
        inside = f"cd '{self.cluster.image.folder}' && exec {become if _IS_ROOT else ''} \"$@\""
        lines.append(f"exec chroot '{root}' sh -c '{inside.replace(chr(39), '')}' sh \"$@\"")
        return "\n".join(lines)

    def _volumes(self) -> dict[str, Path]:
        group = self.spec["securityContext"]["fsGroup"]
        volumes = {one["name"]: one for one in self.spec["volumes"]}
        return {one["mountPath"]: self._volume(volumes[one["name"]], group) for one in self.container["volumeMounts"]}

    def _volume(self, volume: dict[str, Any], group: int) -> Path:
        if "persistentVolumeClaim" in volume:
            return self.cluster.claim(volume["persistentVolumeClaim"]["claimName"], group)
        folder = self.root.with_suffix(f".{volume['name']}")
        if "configMap" in volume:
            kubelets_files(folder, self.cluster.configurations[volume["configMap"]["name"]], group)
        else:
            assert "emptyDir" in volume, volume
            folder.mkdir()
            _give(folder, group)
            folder.chmod(0o2777)
        return folder

    def said(self) -> str:
        """What the container has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def signal(self, number: int) -> None:
        """Send a signal to process 1 of the container."""
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self._process.pid).children():
                child.send_signal(number)

    def code(self) -> int | None:
        """The container's exit code, 128 + the signal that has killed it; None as long as it runs."""
        code = self._process.poll()
        return 128 - code if code is not None and code < 0 else code

    def terminated(self) -> int:
        """End it as a kubelet does; return the exit code. It is an error if it outlives its grace period."""
        self.signal(signal.SIGTERM)
        self._process.wait(self.spec.get("terminationGracePeriodSeconds", 30))
        return self.code() or 0

    def close(self) -> None:
        """End it at once, with all that runs in it."""
        self.signal(signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._process.kill()
        self._process.wait()


def action(job: dict[str, Any], code: int, *conditions: str) -> str:
    """What becomes of a Job's pod that has ended with that code, and those conditions of value True."""
    for rule in job["podFailurePolicy"]["rules"]:
        patterns = rule.get("onPodConditions", [])
        if any(one["type"] in conditions and one["status"] == "True" for one in patterns):
            return str(rule["action"])
        wanted = rule.get("onExitCodes")
        if wanted and (code in wanted["values"]) == (wanted["operator"] == "In"):
            return str(rule["action"])
    return "Count"


class Job:
    """The controller of an Indexed Job, which begins pods again as its policy says."""

    def __init__(self, cluster: Cluster, made: dict[str, Any], *more: str, indexes: int) -> None:
        self.cluster, self.spec, self.name = cluster, made["spec"], made["metadata"]["name"]
        assert self.spec["completionMode"] == "Indexed"
        self.pod_spec = self.spec["template"]["spec"]
        self.pod_spec["containers"][0]["args"] += more
        self.failures = dict.fromkeys(range(indexes), 0)
        self.failed: set[int] = set()
        self.pods = {index: self._begin(index) for index in self.failures}

    def _begin(self, index: int) -> Pod:
        return Pod(self.cluster, self.pod_spec, f"{self.name}-{index}", JOB_COMPLETION_INDEX=str(index))

    def handle(self, index: int, *conditions: str) -> str:
        """Do what is to be done with a pod that has ended, and return what that was."""
        code = self.pods[index].code()
        assert code, "it runs, or is complete"
        done = action(self.spec, code, *conditions)
        self.failures[index] += done == "Count"
        if done == "FailIndex" or self.failures[index] > self.spec["backoffLimitPerIndex"]:
            self.failed.add(index)
        else:
            self.pods[index] = self._begin(index)
        return done

    def ended(self) -> bool:
        """Whether no pod runs; one that has failed is begun again, as the policy says."""
        for index, pod in self.pods.items():
            if pod.code() and index not in self.failed:
                self.handle(index)
        return all(pod.code() is not None for pod in self.pods.values())

    def close(self) -> None:
        """End all of its pods."""
        for pod in self.pods.values():
            pod.close()
