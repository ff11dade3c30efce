"""Sen2Cor is judged by what it leaves behind, and never outlives the conversion."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from ben_luigi.domain import children
from ben_luigi.domain.errors import Sen2CorError
from ben_luigi.domain.products import sen2cor

L1C = "S2A_MSIL1C_20170613T101031_N0205_R022_T33UUP_20170613T101608.SAFE"
L2A = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_20240101T000000.SAFE"
IMAGES = [f"R10m/T33UUP_{band}_10m.jp2" for band in ("B02", "B03", "B04", "B08")]
IMAGES += [f"R20m/T33UUP_{band}_20m.jp2" for band in ("B05", "B06", "B07", "B8A", "B11", "B12", "SCL")]
IMAGES += [f"R60m/T33UUP_{band}_60m.jp2" for band in ("B01", "B02", "B09")]
CLOSE = "echo 'Progress[%]: 100.00 : Application terminated successfully.'"


def make(product: str = L2A, images: list[str] = IMAGES) -> str:
    folder = f'"$2/{product}/GRANULE/L2A_T33UUP/IMG_DATA"'
    lines = [f"mkdir -p {folder}/R10m {folder}/R20m {folder}/R60m"]
    return "\n".join([*lines, *(f"echo image > {folder}/{image}" for image in images)])


def program(folder: Path, *lines: str) -> str:
    path = folder / "L2A_Process"
    path.write_text("\n".join(["#!/bin/sh", 'echo "called: $1 $3"', *lines]) + "\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def convert(folder: Path, executable: str) -> Path:
    safe = folder / L1C
    safe.mkdir(exist_ok=True)
    return sen2cor.convert(safe, executable, folder / "work", folder / "logs" / "33UUP.log")


def test_a_good_run_gives_the_product_and_keeps_the_log(tmp_path: Path) -> None:
    stale = tmp_path / "work" / "output" / L2A
    stale.mkdir(parents=True)
    made = convert(tmp_path, program(tmp_path, 'test -z "$(ls -A $2)" || exit 3', make(), CLOSE))
    assert made.name == L2A
    assert made.is_relative_to(tmp_path / "work")
    log = (tmp_path / "logs" / "33UUP.log").read_text(encoding="utf-8")
    assert log.startswith(f"called: --output_dir {tmp_path / L1C}")


def test_it_is_told_nothing_of_accounts_and_of_other_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in what it inherits nor by its command line; what Sen2Cor's settings are it is told."""
    secret = "s3cret"
    for name in ("CDSE_PASSWORD", "LUIGI_CONFIG_PATH", "BEN_DATABASE_URL", "PGPASSWORD", "PYTHONPATH", "GDAL_DATA"):
        monkeypatch.setenv(name, secret)
    monkeypatch.setenv("SEN2COR_HOME", "/sen2cor")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    proc = "tr '\\0' '\\n' < /proc/$$/{0} >> {1}"
    record = [proc.format(name, tmp_path / "told") for name in ("environ", "cmdline")]
    executable = program(tmp_path, *record, make(), CLOSE, "echo 'Sentinel-2 (Sen2Cor). Version: 02.11.00'")
    convert(tmp_path, executable)
    sen2cor.version(executable)
    told = (tmp_path / "told").read_text(encoding="utf-8")
    assert secret not in told
    assert told.count("SEN2COR_HOME=/sen2cor\n") == told.count("LC_ALL=C.UTF-8\n") == told.count("\nPATH=") == 2


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([make(), CLOSE, "echo bad things >&2", "exit 1"], "it failed; exit code 1; .*bad things"),
        ([make(), CLOSE, "kill -9 $$"], "killed by SIGKILL, as when memory is short"),
        ([make(), CLOSE, "kill -40 $$"], "killed by signal 40"),
        ([make(), CLOSE, "rm ../logs/33UUP.log"], "it stopped without its closing line"),
        ([make(), "echo Progress 90"], "without its closing line; exit code 0; .*Progress 90"),
        ([CLOSE], "0 L2A products: none"),
        ([make(), make(L2A.replace("2024", "2025")), CLOSE], "2 L2A products"),
        ([make(L2A.replace("T33UUP", "T33UUQ")), CLOSE], "T33UUQ_.* instead of"),
        ([make(L2A.replace("N9999", "N0205")), CLOSE], "N0205_.* instead of"),
        ([make(images=[*IMAGES[1:], "R20m/T33UUP_B02_20m.jp2"]), CLOSE], "lacks B02;"),
        ([make(), f': > "$2/{L2A}/GRANULE/L2A_T33UUP/IMG_DATA/{IMAGES[4]}"', CLOSE], "lacks B05;"),
        ([make(), f'rm -r "$2/{L2A}/GRANULE"', CLOSE], r"lacks B01, B02, .*\(12 in all\);"),
    ],
)
def test_what_is_not_complete_is_an_error(tmp_path: Path, lines: list[str], found: str) -> None:
    with pytest.raises(Sen2CorError) as caught:
        convert(tmp_path, program(tmp_path, *lines))
    assert caught.value.subject == f"33UUP_20170613: {L1C}"
    assert re.search(found, caught.value.found)
    assert str(tmp_path / "logs" / "33UUP.log") in str(caught.value)


def test_a_program_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for executable in ("", "L2A_Process", str(tmp_path / "nowhere")):
        with pytest.raises(
            Sen2CorError, match=r"Sen2Cor-02\.11\.00-Linux64\.run \(sha256 8c4a.*\[sen2cor\] executable"
        ):
            sen2cor.find_executable(executable)
    (tmp_path / "L2A_Process").write_text("not executable", encoding="utf-8")
    with pytest.raises(Sen2CorError, match="none of that name on PATH"):
        sen2cor.find_executable("")
    expected = Path(program(tmp_path))
    assert sen2cor.find_executable("") == expected
    assert sen2cor.find_executable(str(expected)) == expected


def test_version_is_read_from_the_help(tmp_path: Path) -> None:
    said = "echo 'Sentinel-2 Level 2A Processor (Sen2Cor). Version: 02.11.00, created: 2022.08.17,'"
    assert sen2cor.version(program(tmp_path, said)) == "02.11.00"
    with pytest.raises(Sen2CorError, match="help that begins with a version"):
        sen2cor.version(program(tmp_path, "echo usage: L2A_Process"))


BREED = ('(trap "" TERM; sleep 600) & echo $! >> "$2/../../pids"', 'echo $$ >> "$2/../../pids"', "sleep 600")
"""A program with a child that SIGTERM does not end."""

CONVERT = f"""
import signal, sys
from pathlib import Path
from ben_luigi.domain import children
from ben_luigi.domain.products import sen2cor
sen2cor._GRACE_S = 0.3
folder = Path(sys.argv[1])
(folder / "{L1C}").mkdir()
if "alarm" in sys.argv:
    signal.signal(signal.SIGALRM, lambda *_: 1 / 0)
    signal.setitimer(signal.ITIMER_REAL, 1)
sen2cor.convert(folder / "{L1C}", str(folder / "L2A_Process"), folder / "work", folder / "log")
"""


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL", "exception"])
def test_it_ends_with_all_its_processes(tmp_path: Path, how: str) -> None:
    program(tmp_path, *BREED)
    arguments = [sys.executable, "-c", CONVERT, str(tmp_path), *(["alarm"] if how == "exception" else [])]
    worker = subprocess.Popen(
        arguments, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    )
    pids = wait_for_pids(tmp_path / "pids")
    assert all(is_alive(pid) for pid in pids)
    if how != "exception":
        worker.send_signal(signal.Signals[how])
    _, said = worker.communicate(timeout=20)
    assert worker.returncode == {"SIGTERM": 143, "SIGKILL": -9, "exception": 1}[how], said.decode()
    assert how != "exception" or b"ZeroDivisionError" in said
    deadline = time.monotonic() + 60
    while any(is_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(is_alive(pid) for pid in pids)


def test_a_signal_that_leaves_the_lock_of_popen_locked_holds_nothing_up() -> None:
    """As happens when its exception is raised in `Popen.wait`, between taking the lock and what releases it."""
    env = {"PATH": os.environ["PATH"]}
    with pytest.raises(ZeroDivisionError), children.running(["sleep", "600"], env=env, grace_s=0.3) as process:
        process._waitpid_lock.acquire()  # type: ignore[attr-defined]
        raise ZeroDivisionError
    assert process.returncode == -signal.SIGTERM


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", -signal.SIGINT)])
def test_a_signal_that_comes_while_it_starts_waits_until_it_can_be_ended(tmp_path: Path, name: str, code: int) -> None:
    program(tmp_path, *BREED)
    early = CONVERT.replace(
        "sen2cor.convert(",
        "start = children.subprocess.Popen\n"
        "def late(command, **how):\n    process = start(command, **how)\n"
        f"    command[0] == '/bin/sh' or signal.raise_signal(signal.{name})\n    return process\n"
        "children.subprocess.Popen = late\nsen2cor.convert(",
    )
    run = subprocess.run(
        [sys.executable, "-c", early, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        timeout=60,
        check=False,
        stderr=subprocess.DEVNULL,
    )
    assert run.returncode == code
    left = [path for path in Path("/proc").glob("[0-9]*/cwd") if _leads_below(path, tmp_path)]
    assert not left


def _leads_below(link: Path, folder: Path) -> bool:
    with suppress(OSError):
        return link.readlink().is_relative_to(folder)
    return False


def wait_for_pids(path: Path) -> list[int]:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        pids = path.read_text(encoding="utf-8").split() if path.exists() else []
        if len(pids) == 2:
            return [int(pid) for pid in pids]
        time.sleep(0.02)
    raise AssertionError("the program did not start")


def is_alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_a_program_that_cannot_be_started_is_said(tmp_path: Path) -> None:
    path = tmp_path / "L2A_Process"
    path.write_bytes(b"\x7fELF and nothing else")
    path.chmod(0o755)
    with pytest.raises(Sen2CorError, match=f"33UUP_20170613: {path}; .*found: .*Exec format error"):
        convert(tmp_path, str(path))


def test_a_version_beside_bytes_that_are_no_text(tmp_path: Path) -> None:
    said = "printf 'Sen2Cor). Version: 02.11.00 \\377\\n'"
    assert sen2cor.version(program(tmp_path, said)) == "02.11.00"


def test_of_a_long_log_only_the_end_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sen2cor, "_JUDGED_BYTES", 1000)
    long = "head -c 100000 /dev/zero"
    assert convert(tmp_path, program(tmp_path, long, make(), CLOSE)).name == L2A
    with pytest.raises(Sen2CorError, match="without its closing line"):
        convert(tmp_path, program(tmp_path, CLOSE, make(), long))


def test_hidden_files_beside_the_bands_do_not_count(tmp_path: Path) -> None:
    hidden = make(images=[f"{path.rpartition('/')[0]}/._{path.rpartition('/')[2]}" for path in IMAGES])
    assert convert(tmp_path, program(tmp_path, make(), hidden, f'mkdir "$2/._{L2A}"', CLOSE)).name == L2A
    with pytest.raises(Sen2CorError, match="lacks B01"):
        convert(tmp_path, program(tmp_path, hidden, CLOSE))
