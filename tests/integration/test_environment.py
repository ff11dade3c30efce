"""`scripts/environment` of a copy, with a Python and a uv that make nothing."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path

import pytest

from tests.integration.on_terminal import OnTerminal
from tests.integration.running import ROOT

PYTHON = """#!/bin/sh
case "$1 $2" in
  *sysconfig*) echo .venv/lib ;;
  *getcwdb*) exec REAL "$@" ;;
  "-c "*) exit 0 ;;
  "-m venv") mkdir -p .venv/bin .venv/lib; ln -sf "$0" .venv/bin/python ;;
  "-m pip")
    case "$*" in *"config list")
      [ "$PIP_CERT" ] && echo ":env:.cert='$PIP_CERT'"
      [ "$PIP_INDEX_URL" ] && echo ":env:.index-url='$PIP_INDEX_URL'" ;;
    esac
    case "$*" in
      *" --python "*--version | *"config list") exit ;;
      *--version) [ -e whole ]; exit ;;
      *uv.lock) grep '^[^ #]' .venv/uv.lock >>by-pip; ln -sf "$(dirname "$(readlink -f "$0")")/uv" .venv/bin/uv; exit ;;
    esac
    echo all >>by-pip; [ -e fails-too ] && echo "ERROR: no index" >&2 && exit 1; exit 0 ;;
esac
""".replace("REAL", sys.executable)
UV = """#!/bin/sh
echo "$@" >>by-uv; echo "$SSL_CERT_FILE" >by-uv-certificates
[ -e fails ] && echo "error: no network" >&2 && exit 2
[ -e whole ] && exit; echo installing; sleep 1000 & sleep 1000
"""
WITHOUT_PIP = PYTHON.replace('"$*" in *" --python "*--version) exit', '"$*" in *" --python "*) exit 1').replace(
    "mkdir -p", 'echo "$*" >>made; mkdir -p'
)

TOO_NEW = """#!/bin/sh
[ "$1" = --version ] && echo "Python 3.14.0" && exit
exit 1
"""
TOOLS = ("awk", "bash", "cat", "chmod", "cut", "dirname", "env", "flock", "grep", "ln", "mkdir", "readlink", "setsid")
MORE_TOOLS = ("sh", "sha256sum", "uname")
MAKES = "making the environment in .venv from requirements.lock\n"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    (folder / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "environment", folder / "scripts")
    for name in ("setup.cfg", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    _python(tmp_path, "python3.11")
    return folder


def _path(copy: Path) -> str:
    return f"{copy.parent}:{os.environ['PATH']}"


@pytest.mark.parametrize("how", ["Ctrl-C", "its terminal is closed"])
def test_it_is_stopped_while_it_installs(copy: Path, how: str) -> None:
    run = OnTerminal(copy, str(copy / "scripts" / "environment"), PATH=_path(copy))
    run.reach(lambda run: "installing" in run.said)
    if how == "Ctrl-C":
        run.press(b"\x03")
        assert run.code() == 130
        assert run.said.splitlines()[1:] == [
            "installing",
            "^Cstopped by Ctrl-C: the environment is not made; run the same command again",
        ]
    else:
        run.close_terminal()
        assert run.code() == 129
    assert run.left() == []
    assert not (copy / ".venv" / "made-from").exists()


def test_who_waits_for_another_that_makes_it_says_so(copy: Path) -> None:
    """The lock is its owner's alone."""
    script = copy / "scripts" / "environment"
    script.write_text(script.read_text().replace("patience=10\n", "patience=0.01\n"))
    (copy / "whole").touch()
    lock = copy / ".venv-lock"
    lock.write_text("process 7 on a host\n")
    lock.chmod(0o644)
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with subprocess.Popen([script], stderr=subprocess.PIPE, text=True, env={"PATH": _path(copy)}) as waiting:
            assert waiting.stderr
            assert waiting.stderr.readline() == (
                "waiting for another process that makes .venv, last: process 7 on a host\n"
            )
            fcntl.flock(held, fcntl.LOCK_UN)
            waiting.communicate()
    assert lock.stat().st_mode & 0o777 == 0o600
    assert lock.read_text() == "", "nothing is unfinished"


def test_it_says_each_minute_that_it_is_still_at_work(copy: Path) -> None:
    script = copy / "scripts" / "environment"
    script.write_text(script.read_text().replace("minute=60 ", "minute=0.1 "))
    with subprocess.Popen([script], stderr=subprocess.PIPE, text=True, env={"PATH": _path(copy)}) as making:
        assert making.stderr
        late = threading.Timer(20, making.terminate)
        late.start()
        assert making.stderr.readline() == MAKES
        for _ in range(2):
            assert making.stderr.readline().startswith("still making the environment, for 0 min")
        making.terminate()
        late.cancel()
        assert making.stderr.read().endswith("run the same command again\n")
    assert making.returncode == 143


def _only(folder: Path) -> Path:
    """A folder for PATH with the tools that the script needs, and no Python."""
    folder.mkdir()
    for tool in TOOLS + MORE_TOOLS:
        (folder / tool).symlink_to(str(shutil.which(tool)))
    return folder


def _python(folder: Path, name: str, text: str = PYTHON) -> Path:
    (folder / name).write_text(text)
    (folder / "uv").write_text(UV)
    for program in (folder / name, folder / "uv"):
        program.chmod(0o755)
    return folder / name


def _environment(copy: Path, path: Path, **more: str) -> subprocess.CompletedProcess[str]:
    (copy / "whole").touch()
    return subprocess.run(
        [copy / "scripts" / "environment"], env={"PATH": str(path), **more}, capture_output=True, text=True, check=False
    )


def _leads_to(file: Path, folder: Path, locale: str = "C.UTF-8") -> bool:
    """Whether a real Python that has the file in an environment of its own starts, with the folder in its path."""
    made = file.parent / "real"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", made], check=True)
    shutil.copy(file, sysconfig.get_path("purelib", "venv", {"base": str(made)}))
    shows = "import os, sys; sys.stdout.buffer.write(os.fsencode(sys.path[-1]))"
    command: list[str | Path] = [made / "bin" / "python", "-I", "-X", "utf8", "-c", shows]
    done = subprocess.run(command, env={"LC_ALL": locale}, capture_output=True, check=True)
    return done.stdout == os.fsencode(folder)


@pytest.mark.parametrize("locale", ["C", "xx_XX.UTF-8"])
def test_a_folder_in_any_letters_is_found_in_any_locale(copy: Path, tmp_path: Path, locale: str) -> None:
    """Python 3.11 did not start where the locale is C, or one that this host does not have, as after ssh."""
    tools = _only(tmp_path / "tools")
    _python(tools, "python3.12")
    copy = copy.rename(tmp_path / "Mein Ordner für €")
    assert _environment(copy, tools).returncode == 0
    assert _leads_to(copy / ".venv" / "lib" / "ben_luigi.pth", copy, locale)


@pytest.mark.parametrize("name", ["python3.11", "python3.12", "python3.13", "python3", "python"])
def test_a_python_is_found_under_any_of_its_names(copy: Path, tmp_path: Path, name: str) -> None:
    """One that is too new, or does not start, is passed over; nothing is done when all is there."""
    tools = _only(tmp_path / "tools")
    for other in {"python3.11", "python3"} - {name}:
        _python(tools, other, TOO_NEW)
    there = _python(tools, name)
    done = _environment(copy, tools)
    assert (done.returncode, done.stderr) == (0, MAKES)
    assert (copy / ".venv" / "bin" / "python").resolve() == there
    assert _leads_to(copy / ".venv" / "lib" / "ben_luigi.pth", copy)
    again = _environment(copy, tools)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


def test_an_environment_has_a_pip_of_its_own_where_the_python_that_makes_it_has_none(
    copy: Path, tmp_path: Path
) -> None:
    tools = _only(tmp_path / "tools")
    _python(tools, "python3.12", WITHOUT_PIP)
    done = _environment(copy, tools)
    assert (done.returncode, done.stderr) == (0, MAKES)
    assert (copy / "made").read_text() == "-m venv --without-pip --clear .venv\n-m venv --clear .venv\n"


def test_packages_are_installed_by_the_uv_of_the_lock_file(copy: Path, tmp_path: Path) -> None:
    tools = _only(tmp_path / "tools")
    _python(tools, "python3.12")
    done = _environment(copy, tools)
    assert (done.returncode, done.stderr) == (0, MAKES)
    pinned = (copy / "by-pip").read_text()
    assert pinned.startswith("uv==") and pinned in (copy / "requirements.lock").read_text()
    assert (copy / "by-uv").read_text() == (
        "pip install --quiet --python .venv/bin/python --no-deps --require-hashes -r requirements.lock\n"
    )


def test_pip_installs_what_uv_cannot(copy: Path, tmp_path: Path) -> None:
    tools = _only(tmp_path / "tools")
    _python(tools, "python3.12")
    (copy / "fails").touch()
    done = _environment(copy, tools)
    assert (done.returncode, done.stderr) == (
        0,
        MAKES + "uv has not installed it, as .venv/uv.log says: trying pip\n",
    )
    assert (copy / ".venv" / "uv.log").read_text() == "error: no network\n"
    assert (copy / "by-pip").read_text().splitlines()[1:] == ["all"]


@pytest.mark.parametrize(("of_uv", "used"), [("", "pip.pem"), ("uv.pem", "uv.pem")])
def test_uv_trusts_the_certificates_that_pip_is_told_of(copy: Path, tmp_path: Path, of_uv: str, used: str) -> None:
    tools = _only(tmp_path / "tools")
    _python(tools, "python3.12")
    done = _environment(copy, tools, PIP_CERT="pip.pem", SSL_CERT_FILE=of_uv)
    assert (done.returncode, done.stderr) == (0, MAKES)
    assert (copy / "by-uv-certificates").read_text() == f"{used}\n"


def test_without_an_index_it_says_what_to_look_after(copy: Path, tmp_path: Path) -> None:
    tools = _only(tmp_path / "tools")
    _python(tools, "python3.12")
    for name in ("fails", "fails-too"):
        (copy / name).touch()
    done = _environment(copy, tools)
    assert done.returncode == 30
    said = done.stderr.splitlines()  # what pip says passes through a filter, which may be late
    assert "ERROR: no index" in said
    assert any(
        line.startswith("needed: the packages in requirements.lock; found: what pip says; next:") for line in said
    )
    assert not (copy / ".venv" / "made-from").exists()


def test_pip_installs_from_an_index_that_it_alone_knows(copy: Path, tmp_path: Path) -> None:
    tools = _only(tmp_path / "tools")
    _python(tools, "python3.12")
    done = _environment(copy, tools, PIP_INDEX_URL="https://packages.example/simple")
    assert (done.returncode, done.stderr) == (0, MAKES)
    assert (copy / "by-pip").read_text() == "all\n"
    assert not (copy / "by-uv").exists()


def test_a_python_that_is_too_new_is_refused_in_one_line(copy: Path, tmp_path: Path) -> None:
    tools = _only(tmp_path / "tools")
    _python(tools, "python3", TOO_NEW)
    done = _environment(copy, tools)
    assert done.returncode == 20
    assert done.stderr == (
        "needed: Python 3.11, 3.12 or 3.13 in PATH; found: python3 is Python 3.14.0; next: install one, and run again\n"
    )
    assert not (copy / ".venv").exists()


@pytest.mark.parametrize("how", ["copied", "renamed"])
def test_an_environment_belongs_to_its_place(copy: Path, tmp_path: Path, how: str) -> None:
    tools = _only(tmp_path / "tools")
    _python(tools, "python3.12")
    assert _environment(copy, tools).returncode == 0
    other = tmp_path / "other"
    if how == "copied":
        shutil.copytree(copy, other, symlinks=True)
    else:
        copy.rename(other)
    done = _environment(other, tools)
    assert (done.returncode, done.stderr) == (0, MAKES)
    assert _leads_to(other / ".venv" / "lib" / "ben_luigi.pth", other)
    assert _environment(other, tools).stderr == ""


@pytest.mark.parametrize("whose", ["of another checkout, by a link", "of a user", "of a user, after ours"])
def test_the_environment_of_others_is_left_alone(whose: str, copy: Path, tmp_path: Path) -> None:
    tools, own = _only(tmp_path / "tools"), copy / ".venv"
    _python(tools, "python3.12")
    if whose == "of a user, after ours":
        assert _environment(copy, tools).returncode == 0
        shutil.rmtree(own)
    if whose.startswith("of a user"):
        found, following = "another one", "move it to another place, or remove it"
    else:
        own.symlink_to(tmp_path / "theirs")
        found, following = f"a symbolic link to {tmp_path / 'theirs'}", "remove the link"
    own.resolve().mkdir()
    (own / "conda-meta").touch()
    done = _environment(copy, tools)
    assert done.returncode == 20 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"{own}; expected: ")
    assert done.stderr.endswith(f"; found: {found}; next: {following}, and run again\n")
    assert [path.name for path in own.iterdir()] == ["conda-meta"]
    own.resolve().rename(tmp_path / "kept")
    own.unlink(missing_ok=True)
    assert (done := _environment(copy, tools)).returncode == 0, done.stderr
    assert _environment(copy, tools).stderr == ""


def test_an_environment_that_has_been_moved_elsewhere_goes_on_by_a_link(copy: Path, tmp_path: Path) -> None:
    tools = _only(tmp_path / "tools")
    _python(tools, "python3.12")
    assert _environment(copy, tools).returncode == 0
    (copy / ".venv").rename(tmp_path / "elsewhere")
    (copy / ".venv").symlink_to(tmp_path / "elsewhere")
    done = _environment(copy, tools)
    assert (done.returncode, done.stderr) == (0, "")
    with (copy / "requirements.lock").open("a") as locked:
        locked.write("\n")
    assert (done := _environment(copy, tools)).returncode == 0, done.stderr
    assert done.stderr == MAKES and (copy / ".venv").is_symlink()


def test_an_environment_that_was_cut_off_is_made_again(copy: Path, tmp_path: Path) -> None:
    tools = _only(tmp_path / "tools")
    _python(tools, "python3.12")
    (copy / ".venv").mkdir()
    (copy / ".venv" / "pyvenv.cfg").touch()
    (copy / ".venv-lock").write_text("process 7 on a host\n")
    done = _environment(copy, tools)
    assert (done.returncode, done.stderr) == (0, MAKES)


def test_a_python_that_has_gone_is_noticed(copy: Path, tmp_path: Path) -> None:
    tools = _only(tmp_path / "tools")
    gone = _python(tools, "python3.12")
    assert _environment(copy, tools).returncode == 0
    gone.unlink()
    there = _python(tools, "python3.13")
    done = _environment(copy, tools)
    assert (done.returncode, done.stderr) == (0, MAKES)
    assert (copy / ".venv" / "bin" / "python").resolve() == there


def test_the_program_of_the_environment_is_that_of_its_place(copy: Path, tmp_path: Path) -> None:
    """Isolated, wherever it is called from, and through a link too."""
    tools = _only(tmp_path / "tools")
    _python(tools, "python3.12")
    assert _environment(copy, tools).returncode == 0
    python = copy / ".venv" / "bin" / "python"
    python.unlink()
    _python(python.parent, "python", '#!/bin/sh\necho "$@"\n')
    (tmp_path / "ben-luigi").symlink_to(python.with_name("ben-luigi"))
    done = subprocess.run([tmp_path / "ben-luigi", "plan", "a b"], cwd="/", capture_output=True, text=True, check=True)
    assert done.stdout == "-I -X utf8 -m ben_luigi plan a b\n"
