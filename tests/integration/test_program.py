"""`ben-luigi`: which command is asked for, what is loaded for it, and what completes it in a shell."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ben_luigi import __version__
from ben_luigi.commands import COMMANDS
from tests.integration.running import ROOT, Run, command, dataset_digests, environment

HEAVY = ("luigi", "numpy", "pandas", "pyarrow", "rasterio", "sqlalchemy", "requests", "tornado")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--version"], 0),
        (["--help"], 0),
        (["nonsense"], 2),
        (["plan", "--help"], 0),
        (["status", "--nonsense"], 2),
        (["verify", "--help"], 0),
        (["verify", "a", "b"], 2),
        (["run", "--help"], 0),
        (["run", "RenderTile", "--help"], 0),
        (["run", "Nonsense"], 2),
        (["run", "--nonsense"], 2),
        (["run", "RenderTile"], 2),
        (["run", "--workers", "0"], 2),
        (["run", "CutPatches", "--tile", "31UGR"], 2),
        (["plan", "--archive-level", "99"], 2),
        (["submit", "slurm", "--workers", "0"], 2),
        (["subset", "--seasons", "wintr"], 2),
        (["export", "zarr", "--file-mb", "x"], 2),
        (["plan", "RenderTile", "--tiles", "33UUP_20170613"], 2),
        (["submit", "slurm", "--nonsense"], 2),
        (["cron-rerun", "--help"], 0),
        (["subset", "--help"], 0),
        (["subset", "--nonsense"], 2),
        (["export", "--help"], 0),
        (["export"], 2),
        (["export", "webdatset"], 2),
        (["export", "lmdb", "--nonsense"], 2),
        (["export", "--tile", "33UUP_20170613", "--nonsense"], 2),
        (["render", "--help"], 0),
        (["render", "--nonsense"], 2),
        (["luigid", "--help"], 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_needs_nothing_loads_nothing(words: list[str], code: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "ben_luigi", *words],
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(ROOT), LUIGI_CONFIG_PATH=str(tmp_path / "none.cfg")),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert code or done.stdout == f"ben-luigi {__version__}\n" or done.stdout.startswith("usage: ben-luigi ")
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "ben_luigi.program" in loaded
    assert not loaded & set(HEAVY)


def test_the_help_lists_every_command(tmp_path: Path) -> None:
    code, text = command("--help", tmp_path, None)
    assert code == 0
    for name, (_, line) in COMMANDS.items():
        assert f"\n    {name}" in text and line.split()[0] in text


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["pln"], "did you mean plan?"),
        (["--nonsense"], "--nonsense"),
        (["plan", "--nonsense"], "unrecognized arguments: --nonsense"),
        (
            ["verify", "--from", "data"],
            "unrecognized arguments: --from; did you mean --form?; next: type: ben-luigi",
        ),
        (["unpack", "new", "--to=data"], "unrecognized arguments: --to=data; next: type: ben-luigi unpack --help"),
        (["run", "Rendertile"], "did you mean RenderTile?"),
        (
            ["run", "RenderTile", "--tile", "nonsense"],
            "tile nonsense; expected: a tile key, MGRS square and",
        ),
        (["render", "--tile", "33UUP"], "expected: a tile key"),
        (["render"], "expected: one of --patches, --patch-file, and --tile or --flagged; found: none"),
        (["render", "--patches", "nonsense"], "nonsense"),
        (
            ["render", "--patch-file", "~no-such-user/a"],
            "~no-such-user/a; expected: a file with a patch id in each line",
        ),
        (["render", "--patch-file", "none.txt"], "none.txt; expected: a file with a patch id in each line"),
        (["export", "--tile", "33UUP"], "expected: a tile key"),
        (["export"], "the following arguments are required: FORM"),
        (["export", "webdatset"], "invalid choice: 'webdatset' (choose from 'webdataset', 'lmdb'"),
        (["export", "zarr", "none"], "none; expected: the folder of a dataset; found: no folder"),
        (["export", "zarr", "none", "--splits", "val"], "argument --splits: expected train, validation, test"),
        (["unpack", "new", "--from", "none"], "none; expected: the folder of a dataset; found: no folder"),
        (["view", "none"], "none; expected: the folder of shards or of a dataset; found: no folder"),
        (["verify", "."], "found: none of metadata.parquet, "),
        (["export", "zarr", "."], "found: none of metadata.parquet, "),
        (["export", "lmdb", "--without-s1"], "--without-s1 is for the dataset in a FOLDER, or for a form that goes to"),
        (["view", "."], "found: none of metadata.parquet, "),
        (["clear-tries", "33UUP"], "correct the tile key"),
        (["verify", "none"], "none"),
        (["hash-folder", ".", "--processes", "0"], "expected a whole number of at least 1; found '0'"),
        (["subset"], "at least one of the options that select patches"),
        (["subset", "--countries", "Finnland"], "found: --countries: found 'Finnland'"),
        (["luigid", "--port", "none"], "expected a whole number from 1 to 65535; found 'none'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_arguments_are_answered_with_what_is_right(words: list[str], answer: str, tmp_path: Path) -> None:
    """Exit code 2, before anything is made or started, in one line."""
    code, text = command(words[0], tmp_path, None, *words[1:])
    assert code == 2 and len(text.splitlines()) == 1, text
    assert answer in text
    assert "Traceback" not in text and "same command again" not in text
    assert list(tmp_path.iterdir()) == []


def test_bash_completes_commands_tasks_and_options(tmp_path: Path) -> None:
    code, script = command("completion", tmp_path, None, "bash")
    assert code == 0
    (tmp_path / "completion").write_text(script)

    def completed(line: str) -> set[str]:
        words = line.split(" ")
        asked = (
            f"COMP_WORDS=({line.rstrip() + (' ' + chr(39) * 2 if not words[-1] else '')}); COMP_CWORD={len(words) - 1}"
        )
        done = subprocess.run(
            ["bash", "--norc", "-c", f'. ./completion; {asked}; _ben_luigi; printf "%s\\n" "${{COMPREPLY[@]}}"'],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        assert not done.stderr
        return set(done.stdout.split())

    assert completed("ben-luigi ") == {*COMMANDS, "--help", "--version"}
    assert completed("ben-luigi st") == {"status"}
    assert completed("ben-luigi run Render") == {"RenderPatches", "RenderTile"}
    assert completed("ben-luigi run RenderTile --t") == {"--tile"}
    assert completed("ben-luigi cron-rerun RenderTile --f") == {"--format"}
    assert completed("ben-luigi verify --snow") == {"--snow-csv"}
    assert completed("ben-luigi verify somewhere --cl") == {"--cloud-csv"}
    assert completed("ben-luigi completion ") >= {"bash", "zsh"}


def test_the_script_for_zsh_is_that_for_bash(tmp_path: Path) -> None:
    bash, zsh = (command("completion", tmp_path, None, shell)[1] for shell in ("bash", "zsh"))
    assert zsh == f"autoload -U +X bashcompinit && bashcompinit\n{bash}"


@pytest.mark.parametrize("redirected", ["</dev/null >/dev/null 2>/dev/null", "<&- >&- 2>&-"])
def test_a_run_needs_none_of_its_three_descriptors(redirected: str, sample_run: Run, tmp_path: Path) -> None:
    """As a service manager or a detached shell starts it; a file that is opened never takes the place of one."""
    sample_run.copy_to(tmp_path)
    whole = dataset_digests(tmp_path / "data")
    (tmp_path / "data" / "dataset" / "metadata.parquet").unlink()
    shutil.rmtree(tmp_path / "data" / "dataset" / "stac")
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirected}', "sh", sys.executable, "-m", "ben_luigi", "run"],
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(ROOT)),
        timeout=400,
        check=False,
    )
    assert done.returncode == 0
    assert dataset_digests(tmp_path / "data") == whole


def test_a_run_takes_the_data_folder_that_was_typed_though_nothing_is_there_yet(tmp_path: Path) -> None:
    """Its lock is there as well, and nothing in the folder of the configuration."""
    given = tmp_path / "snow.csv"
    given.write_text("a list of patches\n")
    here = tmp_path / "here"
    here.mkdir()
    typed = ("--dataset-data-dir", str(tmp_path / "new" / "data"), "--inputs-snow-csv", str(given))
    code, said = command("run", here, None, "HashInput", "--option", "snow_csv", *typed)
    assert code == 0, said
    assert list(here.iterdir()) == []
    assert list((tmp_path / "new" / "data" / "locks" / socket.gethostname()).iterdir()), "Luigi leaves its file"


def test_jobs_follow_the_options_that_were_typed_and_are_watched_by_their_name(tmp_path: Path) -> None:
    own, data = tmp_path / "own.cfg", tmp_path / "typed"
    own.write_text("[core]\nlocal_scheduler = false\n")
    typed = [f"--dataset-data-dir={data}", "--sen2cor-memory-gb=7"]
    scheduler = ["--scheduler-host=head", "--scheduler-port=8090"]
    secret = ["--cdse-password=s3cret", "--database-url=postgresql://me:a/s3cret@host/ben?password=s3cret"]
    notices = "--cron-mail-to=me@example.org"
    words = ("slurm", "--dry-run", "FinalizeDataset", *typed, *scheduler, *secret, notices, "--workers", "3")
    for program in ("sbatch", "squeue", "scancel"):
        (tmp_path / program).symlink_to("/bin/true")
    code, said = command("submit", tmp_path, own, *words, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert code == 0, said
    (line,) = (line for line in said.splitlines() if line.startswith("exec "))
    followed = {*typed, *scheduler, "--database-url=postgresql://host/ben"}
    assert followed <= {*shlex.split(line)} and "--workers 1" in line
    assert notices not in line
    assert "s3cret" not in said, "the job is given the database's, but it is not shown"
    name = f"ben-luigi-{hashlib.sha256(str(data).encode()).hexdigest()[:8]}"
    assert f"--job-name={name} " in said and f"scancel --name={name}" in said and f"squeue --name={name}," in said
    assert f"logs: {data}/slurm/" in said
    assert not data.exists() and not (tmp_path / "data").exists()
