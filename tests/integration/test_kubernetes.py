"""The manifests of deploy/: valid, as the program expects them, and run as plain processes, one of which is killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from configparser import ConfigParser
from contextlib import ExitStack, suppress
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import kubernetes_validate
import psutil
import pytest
import yaml

import ben_luigi
from ben_luigi.domain.cdse.account import given_credentials
from ben_luigi.domain.cdse.errors import CredentialsError
from ben_luigi.domain.files import file_hash
from ben_luigi.exit_codes import STOPPED, ExitCode
from ben_luigi.sample.layout import World
from tests.integration import own_cluster
from tests.integration.own_cluster import (
    DEPLOY,
    DISRUPTED,
    MANIFESTS,
    Cluster,
    Job,
    Pod,
    kubelets_files,
    manifest,
    manifests,
    pod_specs,
)
from tests.integration.own_postgres import free_port, tcp_server
from tests.integration.running import ROOT, Run, command, configuration, environment
from tests.integration.stopping import wait_for
from tests.integration.test_sen2cor_pipeline import program

TILES = ("31UGR_20171015", "35VNJ_20180204")
LUIGID, POSTGRESQL = "ben-luigi-luigid", "ben-luigi-postgresql"
_OWN = f"127.{os.getpid() % 200 + 20}.{os.getpid() // 200 % 250}"  # two runs of the tests at once do not meet


class Site:
    """A cluster whose pods make two tiles of the sample world, and what holds their conversions up."""

    def __init__(self, folder: Path, installed: Path, world: World, url: str) -> None:
        given = folder / "given"
        given.mkdir()
        given.chmod(0o777)
        self.hold, self._begun = given / "hold", given / "begun"
        self.hold.touch()
        self._begun.touch()
        self._begun.chmod(0o666)
        waits = f"while [ -e '{self.hold}' ]; do sleep 0.05; done"
        called = program(given / "L2A_Process", f"echo $3 >>'{self._begun}'", waits, f'exec "{world.l2a_process}" "$@"')
        own = configuration(
            folder,
            world,
            dataset={"tiles": ", ".join(TILES)},
            inputs={"l1c_dir": world.products},
            sen2cor={"executable": called},
            worker={"wait_interval": 0.3},
            scheduler={"prune_on_get_work": "true", "worker_disconnect_delay": 5},
        )
        url = url.replace(f"@{_OWN}.2:", f"@{POSTGRESQL}:")
        self.cluster = Cluster(
            folder,
            installed,
            {LUIGID: f"{_OWN}.1", POSTGRESQL: f"{_OWN}.2"},
            {"ben-luigi": {"own.cfg": _with(manifest("ConfigMap", "ben-luigi")["data"]["own.cfg"], own)}},
            {"ben-luigi": {"database-url": url}},
            [world.folder, given],
        )

    def begun(self) -> int:
        """How many conversions have begun so far."""
        return len(self._begun.read_text().split())


def _with(text: str, own: Path) -> str:
    """The configuration of the manifest, with a user's own options."""
    settings = ConfigParser(interpolation=None)
    settings.read_string(text)
    settings.read(own)
    written = StringIO()
    settings.write(written)
    return written.getvalue()


def _is_ready(pod: Pod) -> bool:
    """Ask as its readiness probe does: by its address."""
    probe = pod.container["readinessProbe"]["httpGet"]
    (port,) = (one["containerPort"] for one in pod.container["ports"] if one["name"] == probe["port"])
    with suppress(OSError), urllib.request.urlopen(f"http://{_OWN}.1:{port}{probe['path']}", timeout=10) as answer:
        return bool(answer.status == 200)
    return False


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
@pytest.mark.parametrize("version", ["1.31", "1.37"])
def test_each_manifest_is_valid(path: Path, version: str) -> None:
    for made in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        kubernetes_validate.validate(made, version, strict=True)


def test_what_is_misspelt_in_a_manifest_is_told() -> None:
    wrong = manifest("Job", "ben-luigi")
    wrong["spec"]["backofLimitPerIndex"] = wrong["spec"].pop("backoffLimitPerIndex")
    with pytest.raises(kubernetes_validate.ValidationError, match="backofLimitPerIndex"):
        kubernetes_validate.validate(wrong, "1.37", strict=True)


def test_objects_fit_each_other() -> None:
    """What the schema does not say: names, labels, ports, and the number of conversions."""
    made = {(one["kind"], one["metadata"]["name"]): one for one in manifests()}
    settings = ConfigParser(interpolation=None)
    settings.read_string(made["ConfigMap", "ben-luigi"]["data"]["own.cfg"])
    addresses, job = {}, made["Job", "ben-luigi"]["spec"]
    for kind, name in (("Deployment", LUIGID), ("StatefulSet", POSTGRESQL)):
        service, template = made["Service", name]["spec"], made[kind, name]["spec"]["template"]
        assert service["selector"].items() <= template["metadata"]["labels"].items()
        assert made[kind, name]["spec"]["selector"]["matchLabels"] == service["selector"]
        (port,), (container,) = service["ports"], template["spec"]["containers"]
        assert [one["containerPort"] for one in container["ports"]] == [port["port"]]
        addresses[name] = f"{name}:{port['port']}"
    (worker,) = job["template"]["spec"]["containers"]
    waits = {variable["name"]: variable.get("value") for variable in worker["env"]}["WAIT_FOR"]
    assert waits.split() == [addresses[LUIGID], addresses[POSTGRESQL]]
    assert settings["core"]["scheduler_host"] == LUIGID
    assert int(settings["sen2cor"]["parallel"]) == job["parallelism"] == job["completions"]
    assert worker["resources"]["limits"]["memory"] == f"{8 * int(settings['core']['workers'])}Gi"


@pytest.mark.parametrize("spec", [pytest.param(spec, id=name) for name, spec in pod_specs()])
def test_pods_have_no_more_rights_than_they_need(spec: dict[str, Any]) -> None:
    """As the Pod Security Standard `restricted` asks for."""
    security, (container,) = spec["securityContext"], spec["containers"]
    assert security["runAsNonRoot"] and security["runAsUser"] and security["seccompProfile"]["type"] == "RuntimeDefault"
    own = container["securityContext"]
    assert own["capabilities"] == {"drop": ["ALL"]} and own["allowPrivilegeEscalation"] is False
    assert own["readOnlyRootFilesystem"] and not spec["automountServiceAccountToken"]
    assert container["image"] in (f"ben-luigi:{ben_luigi.__version__}", "postgres:17-bookworm")
    mounted = {one["name"] for one in container["volumeMounts"]}
    assert mounted >= {one["name"] for one in spec["volumes"]}


def test_the_policy_says_what_each_exit_code_means() -> None:
    """And obeys rules of the API server that are in no schema."""
    spec = manifest("Job", "ben-luigi")["spec"]
    found: dict[str, set[int]] = {}
    for code in set(ExitCode) - {ExitCode.DONE}:
        found.setdefault(own_cluster.action(spec, code), set()).add(code)
    assert found.pop("Ignore") == set(STOPPED)
    assert found.pop("FailIndex") == {ExitCode.WRONG_ARGUMENTS, ExitCode.WAITS_FOR_PERSON}
    assert found == {"Count": {ExitCode.FINDINGS, ExitCode.ALREADY_RUNNING, ExitCode.FAILED}}
    assert [own_cluster.action(spec, code, DISRUPTED) for code in (ExitCode.WAITS_FOR_PERSON, 137)] == ["Ignore"] * 2
    assert own_cluster.action(spec, 137) == "Count"
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    for rule in spec["podFailurePolicy"]["rules"]:
        wanted = rule.get("onExitCodes", {"values": [], "containerName": "worker"})
        assert wanted["values"] == sorted(set(wanted["values"])) and wanted["containerName"] == "worker"


def test_the_configuration_is_right_and_has_no_secret_in_it(tmp_path: Path) -> None:
    path = tmp_path / "own.cfg"
    text = manifest("ConfigMap", "ben-luigi")["data"]["own.cfg"].replace("= /data", f"= {tmp_path}")
    path.write_text(text.replace("local_scheduler = false", "local_scheduler = true"))  # there is no luigid here
    path.chmod(0o644)
    code, said = command("plan", tmp_path, path, "--world", "sample", DATABASE_URL="")
    assert code == 0 and "others can read it" not in said, said


def test_a_password_in_a_file_of_a_secret_would_be_refused(tmp_path: Path) -> None:
    """Since its group can read it, as a user who is not root must: hence secrets come by the environment alone."""
    kubelets_files(tmp_path, {"netrc": "machine cdse login me password mine\n"}, os.getegid(), 0o400)
    assert (tmp_path / "netrc").read_text().startswith("machine")
    with pytest.raises(CredentialsError, match="only its owner can read"):
        given_credentials({}, tmp_path / "netrc", "cdse")


def test_the_dockerfile_has_no_faults_and_copies_what_the_build_may_see() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    copied = {word for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE) for word in line.split()}
    seen = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    copied = {word for word in copied if not word.startswith("--")}
    assert copied == {line[1:] for line in seen if line.startswith("!")}
    assert all((ROOT / word).exists() for word in copied)


def _entrypoint(*words: str, **more: str) -> subprocess.Popen[str]:
    words = ("tini", "-s", "--", str(DEPLOY / "entrypoint"), *words)
    path = f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}"
    return subprocess.Popen(words, env=environment(PATH=path, **more), stderr=subprocess.PIPE, text=True)


def test_a_worker_without_servers_gives_up_and_is_tried_again() -> None:
    with _entrypoint("worker", WAIT_FOR=f"127.0.0.1:{free_port()}", PATIENCE_S="3") as waiting:
        _, said = waiting.communicate()
    assert waiting.returncode == ExitCode.FAILED
    assert len(re.findall(r"waiting for a server at 127.0.0.1:\d+ since \d s\n", said)) == 1
    assert re.search(r"expected a server at 127.0.0.1:\d+; found: none for 3 s; next: start it", said)


def test_a_worker_that_waits_for_servers_stops_at_once() -> None:
    with _entrypoint("worker", WAIT_FOR=f"127.0.0.1:{free_port()}") as waiting:
        wait_for(lambda: bool(psutil.Process(waiting.pid).children(recursive=True)[1:]), lambda: "it waits for nothing")
        waiting.terminate()
        assert waiting.wait() == ExitCode.TERMINATED


@pytest.mark.parametrize(("pod_ip", "hosts"), [("127.0.0.2", ["127.0.0.1", "127.0.0.2"]), ("::1", ["[::1]"])])
def test_luigid_is_asked_by_loopback_too_as_port_forwarding_does(pod_ip: str, hosts: list[str], tmp_path: Path) -> None:
    port = free_port()
    words = ("luigid", "--port", str(port), "--state-path", str(tmp_path / "state"))
    with _entrypoint(*words, POD_IP=pod_ip) as luigid:
        try:
            for host in hosts:
                url = f"http://{host}:{port}/api/is_pause_enabled"
                wait_for(partial(_answers, url), partial("{} does not answer".format, url))
        finally:
            luigid.terminate()
            luigid.communicate()


def _answers(url: str) -> bool:
    with suppress(ConnectionError, urllib.error.URLError), urllib.request.urlopen(url) as answer:
        return bool(answer.status == 200)
    return False


@pytest.mark.skipif(bool(own_cluster.missing()), reason=own_cluster.missing())
def test_a_killed_and_an_evicted_worker_change_no_byte(
    sample_run: Run, sample_world: World, installed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both while they convert. The policy begins them again, and counts the first one alone."""
    with ExitStack() as stack:
        url = stack.enter_context(tcp_server(tmp_path / "database", "in the Secret", f"{_OWN}.2", port=5432))
        site = Site(tmp_path, installed, sample_world, url)
        luigid = Pod(site.cluster, manifest("Deployment", LUIGID)["spec"]["template"]["spec"], LUIGID)
        stack.callback(luigid.close)
        job = Job(site.cluster, manifest("Job", "ben-luigi"), "ProcessTiles", indexes=2)
        stack.callback(job.close)
        wait_for(lambda: _is_ready(luigid), luigid.said)

        def said() -> str:
            return "\n".join(path.read_text() for path in sorted((tmp_path / "pods").glob("*.log")))

        wait_for(lambda: site.begun() == 2 or job.ended(), said)
        assert site.begun() == 2, said()
        job.pods[0].signal(signal.SIGKILL)
        assert job.pods[1].terminated() == ExitCode.TERMINATED, said()
        wait_for(lambda: job.pods[0].code() is not None, said)
        assert [job.handle(0), job.handle(1, DISRUPTED)] == ["Count", "Ignore"]
        wait_for(lambda: site.begun() == 4 or job.ended(), said)
        site.hold.unlink()
        wait_for(job.ended, said)
        codes = [pod.code() for pod in job.pods.values()]
        assert codes == [0, 0], said()
        assert job.failures == {0: 1, 1: 0}
        assert luigid.terminated() == ExitCode.DONE, luigid.said()
    data = site.cluster.claim("ben-luigi", 0)
    for tile in TILES:
        for kind in ("patches", "reference_maps"):
            made = f"{kind}/{tile}.tar"
            assert file_hash(data / made) == file_hash(sample_run.data / made), made
    assert {path.name for path in (data / "times").iterdir()} <= {"ben-luigi-0.jsonl", "ben-luigi-1.jsonl"}
    with capsys.disabled():
        print("\n2 workers as pods: one killed, one evicted, both begun again by the Job's policy; the same bytes")
