"""What is asked of Slurm; a real one is in `tests/integration/test_slurm.py`."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
from pathlib import Path

import luigi
import pytest

from ben_luigi import config
from ben_luigi.domain import slurm, surroundings
from ben_luigi.domain.errors import BadInput, BadOption, SlurmError
from ben_luigi.domain.slurm import Wanted
from ben_luigi.stages import jobs
from ben_luigi.stages.atmosphere import ConvertToL2A


def programs(folder: Path, **lines: str) -> str:
    """A PATH on which Slurm's programs do what `lines` say."""
    for name in ("sbatch", "squeue", "scancel"):
        path = folder / name
        path.write_text(f"#!/bin/sh\n{lines.get(name, 'true')}\n")
        path.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_an_element_is_given_its_own_cores_and_no_whole_node() -> None:
    wanted = Wanted("ben", cores=2, memory_gb=8, time="04:00:00", partition="cpu", at_once=16, more="--qos='a b'")
    command = wanted.command(125, Path("/data/slurm"))
    assert command[0] == "sbatch"
    assert {"--array=0-124%16", "--ntasks=1", "--cpus-per-task=2", "--mem=8G", "--requeue", "--qos=a b"} <= {*command}
    assert {"--time=04:00:00", "--partition=cpu", "--output=/data/slurm/%A_%a.log"} <= {*command}
    assert not [option for option in command if option.startswith(("--account", "--nodes", "--exclusive"))]
    assert "--array=0-0" in Wanted("ben", cores=1, memory_gb=1, time="").command(1, Path("/data"))


def test_element_n_of_the_script_runs_the_command_with_value_n(tmp_path: Path) -> None:
    values = ["33UUP_20170613", "a value; with $(all) 'kinds' of signs"]
    text = slurm.script(["printf", "%s|", "own argument"], values)
    for number, value in enumerate(values):
        environment = {"PATH": os.environ["PATH"], "SLURM_ARRAY_TASK_ID": str(number)}
        done = subprocess.run(["bash"], input=text, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout == f"own argument|{value}|"


def test_what_slurm_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "PATH",
        programs(tmp_path, sbatch="cat >/dev/null; echo '17;cluster'", squeue="echo '17_0 PENDING Resources'; echo x"),
    )
    slurm.require_programs()
    assert slurm.submit(["sbatch"], "text") == "17"
    assert slurm.queue("ben") == {"17_0": "PENDING Resources"}


def test_jobs_get_the_variables_that_only_some_libraries_may_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where results live in a bucket, boto3 may find its credentials there."""
    monkeypatch.setenv("PATH", programs(tmp_path, sbatch='cat >/dev/null; echo "$AWS_PROFILE"'))
    monkeypatch.setitem(surroundings._taken_out, "AWS_PROFILE", "mine")
    assert slurm.submit(["sbatch"], "text") == "mine"


def test_what_slurm_refuses_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", programs(tmp_path, sbatch="echo 'invalid partition specified: cpu' >&2; exit 1"))
    with pytest.raises(SlurmError, match=r"sbatch; expected: exit code 0.*found: invalid partition.*next:.*\[slurm\]"):
        slurm.submit(["sbatch", "--partition=cpu"], "text")
    (tmp_path / "squeue").unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SlurmError, match="found: no squeue"):
        slurm.require_programs()


@pytest.mark.parametrize(
    ("local", "url", "named"), [("true", "postgresql://a@b/c", "local_scheduler"), ("false", "", "url")]
)
def test_what_jobs_cannot_share_is_refused_before_anything_is_submitted(
    local: str, url: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = luigi.configuration.get_config()
    before = settings.get("core", "local_scheduler", "false")
    settings.set("core", "local_scheduler", local)
    settings.set("database", "url", url)
    try:
        with pytest.raises(BadOption, match=rf"{named}; expected.*docs/hosts\.md"):
            jobs.begin()
    finally:
        settings.set("core", "local_scheduler", before)
        settings.remove_option("database", "url")
    assert config.conversions() == config.HERE
    assert jobs.in_queue() == []


def test_a_tile_is_submitted_once_as_long_as_it_is_in_the_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later run submits it again only if Slurm does not know it any more."""
    taken = tmp_path / "taken"
    monkeypatch.setenv(
        "PATH",
        programs(
            tmp_path,
            sbatch=f"cat >/dev/null; echo x >>{taken}; grep -c x {taken}",
            squeue=f"[ -e {tmp_path}/gone ] || echo 1_0 RUNNING; true",
        ),
    )
    ready = ["33UUP_20170613"]
    monkeypatch.setattr(jobs, "_begun", True)
    monkeypatch.setattr(jobs, "folder", lambda: tmp_path / "slurm")
    monkeypatch.setattr(jobs, "ready", lambda: ready)
    jobs.submit_ready()
    jobs.submit_ready()
    assert taken.read_text().count("x") == 1
    assert jobs.in_queue() == ["33UUP_20170613 (RUNNING)"]
    monkeypatch.setattr(jobs, "RUN", "a later run")
    jobs.submit_ready()
    assert taken.read_text().count("x") == 1, "it still runs"
    ready.append("35VNJ_20180204")
    jobs.submit_ready()
    assert taken.read_text().count("x") == 2
    (tmp_path / "gone").touch()
    jobs.submit_ready()
    assert taken.read_text().count("x") == 3, "of the one of the earlier run nothing is known; the other was submitted"
    (tmp_path / "squeue").write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2; exit 1\n")
    assert jobs.in_queue() == ["jobs of Slurm, which does not answer"], "a run waits for what it cannot see"
    with pytest.raises(SlurmError, match="Unable to contact"):
        jobs.submit_ready()
    jobs.try_to_submit()  # which a run does again and again: a moment without Slurm does not end it


def test_a_file_system_without_locks_is_an_error_that_ends_no_run_that_has_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(descriptor: int, kind: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(jobs, "_begun", True)
    monkeypatch.setattr(jobs, "folder", lambda: tmp_path / "slurm")
    with pytest.raises(BadInput, match="expected: a file system with locks, so that each conversion is submitted once"):
        jobs.submit_ready()
    jobs.try_to_submit()
    assert "No locks available" in caplog.text


def test_jobs_that_ended_without_a_word_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", programs(tmp_path, sbatch="cat >/dev/null; echo 5"))
    monkeypatch.setattr(jobs, "_begun", True)
    monkeypatch.setattr(jobs, "folder", lambda: tmp_path / "slurm")
    monkeypatch.setattr(jobs, "ready", lambda: ["33UUP_20170613"])
    monkeypatch.setattr(ConvertToL2A, "complete", lambda task: False)
    jobs.submit_ready()
    (line,) = jobs.lost()
    assert line.startswith("33UUP_20170613: its job 5_0 has ended without a result;")
    assert f"{tmp_path}/slurm/5_0.log" in line
    monkeypatch.setattr(ConvertToL2A, "complete", lambda task: True)
    assert jobs.lost() == []


@pytest.mark.parametrize(
    "text", ["", "{", "{}", "[]", "null", "[" * 100_000, '{"run": "x", "tiles": null}', '{"run": "x", "tiles": [1]}']
)
def test_a_damaged_note_of_a_job_is_skipped_with_a_warning(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", programs(tmp_path, sbatch="cat >/dev/null; echo 5", squeue="echo '5_0 RUNNING None'"))
    monkeypatch.setattr(jobs, "_begun", True)
    monkeypatch.setattr(jobs, "folder", lambda: tmp_path / "slurm")
    monkeypatch.setattr(jobs, "ready", lambda: ["33UUP_20170613"])
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "12.json").write_text(text)
    jobs.submit_ready()
    assert jobs.in_queue() == ["33UUP_20170613 (RUNNING)"] and jobs.lost() == []
    assert f"skipping {tmp_path}/slurm/12.json, which cannot be read: " in caplog.text
