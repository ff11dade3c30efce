"""Run Sen2Cor's `L2A_Process`, an external program that makes an L2A product from an L1C product.

A run is judged by its output, since the exit code has been 0 without any image data. Each run gets an empty output
folder, since Sen2Cor fails on an existing output (`AttributeError: 'bool' object has no attribute 'SPACECRAFT_NAME'`).
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ben_luigi.domain import children, given, machine, surroundings
from ben_luigi.domain.errors import BadName, Sen2CorError, TooLittleMemory, some
from ben_luigi.domain.files import remove
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.products.product import BANDS, band_files
from ben_luigi.domain.progress import OnFraction, ignore_fraction

PROGRAM = "L2A_Process"
VERSION = "2.11"
SOURCE = "https://step.esa.int/thirdparties/sen2cor/2.11.0/Sen2Cor-02.11.00-Linux64.run"
SHA256 = "8c4aad32549d191cf57e5349dc9785bf807de07c93ea182d711ac89e0d086f75"

_CLOSING_LINE = b"Application terminated successfully."
_PROGRESS = re.compile(rb"Progress\[%\]:\s+(\d+(?:\.\d+)?)")
_TAIL_BYTES, _JUDGED_BYTES = 2**14, 2**20
_WATCH_S = 1.0
_LAST_LINES = 8
_GRACE_S = 10.0
_OWN_VARIABLES = "SEN2COR_[A-Z0-9_]+|L2A_[A-Z0-9_]+|GIPP[A-Z0-9_]*"
"""Variables in which Sen2Cor looks for its settings. Its own script sets all others."""


def find_executable(executable: str) -> Path:
    """Return the path of the program. Raise Sen2CorError if there is none.

    `executable` is a path, or a name on PATH; an empty text means `L2A_Process` on PATH.
    """
    found = shutil.which(Path(executable).expanduser() if executable else PROGRAM)
    if found is None:
        raise Sen2CorError(
            f"Sen2Cor {VERSION}",
            expected=f"the program {executable or PROGRAM}",
            found="no such executable file" if executable else "none of that name on PATH",
            remedy=f"ben-luigi install-sen2cor <folder> installs {SOURCE} (sha256 {SHA256}), by hand: with bash and "
            f"--target <folder>; then set [sen2cor] executable = <folder>/bin/{PROGRAM}",
        )
    return Path(found).absolute()


def version(executable: str) -> str:
    """Return the version that the program states in its help, such as `02.11.00`.

    Raise Sen2CorError if it states none.
    """
    program = find_executable(executable)
    try:
        output_text = subprocess.run(
            [program, "-h"],
            env=_environment(),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=120,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Sen2CorError(
            program,
            expected="its help, with -h",
            found=str(error),
            remedy="check [sen2cor] executable; ben-luigi install-sen2cor installs it",
        ) from error
    match = re.search(r"Sen2Cor\)\.\s+Version:\s+(\d+(?:\.\d+)+)", output_text.stdout + output_text.stderr)
    if match is None:
        raise Sen2CorError(
            program,
            expected="help that begins with a version",
            found=(output_text.stdout + output_text.stderr)[:200],
            remedy="check [sen2cor] executable; ben-luigi install-sen2cor installs it",
        )
    return match[1]


def require_memory(tile: str, needed: int) -> None:
    """Raise TooLittleMemory if this job may use less than `needed` bytes, the memory of one conversion."""
    size, limited_by = machine.memory()
    if size < needed:
        gib = f"{needed / 2**30:.3g} GB"
        raise TooLittleMemory(
            f"{tile}: conversion by Sen2Cor",
            expected=f"{gib} of memory for one conversion ([sen2cor] memory_gb)",
            found=f"{size / 2**30:.3g} GB, the limit of {limited_by}",
            remedy="give the job, container or host more (sbatch --mem=8G), or run the same command on a larger one",
        )


def convert(safe: Path, executable: str, work: Path, log: Path, progress: OnFraction = ignore_fraction) -> Path:
    """Convert the L1C `.SAFE` folder `safe`, and return the L2A `.SAFE` folder below `work`, which is emptied first.

    The program's output goes to `log`; `progress` receives the fraction that it reports as done, from 0 to 1. Raise
    Sen2CorError if it fails or its output is incomplete. On any exception, and on signals that stop this process, the
    program ends with all processes that it has started.
    """
    name = ProductName.parse(safe.name)
    program = find_executable(executable)
    # Sen2Cor fails on an output that exists, so each run gets an empty folder; the name of its product, which has the
    # time of processing in it, is found there afterwards.
    output = work.absolute() / "output"
    remove(work)
    output.mkdir(parents=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)  # a conversion that was taken over may still write to it
    with log.open("wb") as file:
        command = [str(program), "--output_dir", str(output), str(safe.absolute())]
        try:
            code = _run(command, work, file.fileno(), lambda: progress(_part_done(log)))
        except OSError as error:
            raise Sen2CorError(
                f"{name.tile_key}: {program}",
                expected="a program that can be started",
                found=str(error),
                remedy="check [sen2cor] executable; ben-luigi install-sen2cor installs it",
            ) from error
    output_text = _end_of(log, _JUDGED_BYTES)
    failure = _judge(code, output_text, output, name)
    if failure:
        raise Sen2CorError(
            f"{name.tile_key}: {safe.name}",
            expected=f"exit code 0, the line {_CLOSING_LINE.decode()!r}, and one L2A product with 12 bands",
            found=f"{failure}; {_exit(code)}; the last lines of {log}: {_last_lines(output_text)}",
            remedy=f"read {log}, then run again",
        )
    return _products(output)[0]


def _environment() -> dict[str, str]:
    """Return the environment for Sen2Cor: no credentials, and no variables meant for another GDAL or Python."""
    return surroundings.of_child(_OWN_VARIABLES)


def _part_done(log: Path) -> float:
    """Return the fraction in the last line `Progress[%]: 12.50 : ...` that the program has printed so far."""
    output_text = _PROGRESS.findall(_end_of(log, _TAIL_BYTES))
    return min(float(output_text[-1]) / 100, 1.0) if output_text else 0.0


def _end_of(log: Path, most_bytes: int) -> bytes:
    """Return the end of a log; nothing if somebody has removed it."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - most_bytes))
            return file.read(most_bytes)
    except FileNotFoundError:
        return b""


def _run(command: list[str], folder: Path, output: int, watch: Callable[[], None]) -> int:
    """Run a command, leave none of its processes behind, and call `watch` about once per second."""
    how: dict[str, Any] = {
        "cwd": folder,
        "stdin": subprocess.DEVNULL,
        "stdout": output,
        "stderr": output,
    }
    with children.running(command, env=_environment(), grace_s=_GRACE_S, **how) as process:
        while True:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(_WATCH_S)
            watch()


def _judge(code: int, output_text: bytes, output: Path, name: ProductName) -> str:
    """Return what is wrong with a run; an empty text if nothing is."""
    if code != 0:
        return "it failed"
    # Exit code 0 alone has been seen without image data.
    if _CLOSING_LINE not in output_text:
        return "it stopped without its closing line"
    products = _products(output)
    if len(products) != 1:
        return f"{len(products)} L2A products: {some(product.name for product in products) or 'none'}"
    try:
        made = ProductName.parse(products[0].name).tile_name
    except BadName:
        made = products[0].name
    if made != name.converted().tile_name:
        return f"{products[0].name} instead of {name.converted().tile_name}"
    missing = _missing_bands(products[0])
    return f"{products[0].name} lacks {some(missing)}" if missing else ""


def _products(output: Path) -> list[Path]:
    return [path for path in given.find(output, "*_MSIL2A_*.SAFE") if path.is_dir()]


def _missing_bands(product: Path) -> list[str]:
    """Return the bands without exactly one non-empty file at their own resolution."""
    missing = []
    for band in BANDS:
        images = band_files(product, band)
        if len(images) != 1 or not images[0].stat().st_size:
            missing.append(band)
    return missing


def _exit(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    known = {number.value: number.name for number in signal.Signals}  # of real-time signals the first and last alone
    return f"killed by {known.get(-code, f'signal {-code}')}" + (
        ", as when memory is short" if -code == signal.SIGKILL else ""
    )


def _last_lines(output_text: bytes) -> str:
    lines = [line.strip() for line in output_text[-8192:].decode(errors="replace").splitlines() if line.strip()]
    return " | ".join(lines[-_LAST_LINES:]) or "(nothing)"
