"""Every command and every option in the documentation, tried: in a checkout of its own, on the finished sample run."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from ben_luigi import exit_codes
from ben_luigi.commands import COMMANDS
from ben_luigi.exit_codes import ExitCode
from ben_luigi.sample.layout import World
from tests.integration import report_picture
from tests.integration.running import ROOT, Run, command, configuration, environment

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OPTION = re.compile(r"`\[(\w+)\] (\w+)(?:`| =)")
SCRIPTS = sorted({name for text in TEXT.values() for name in re.findall(r"scripts/([a-z][a-z0-9-]*[a-z0-9])\b", text)})
COMMANDS_NAMED = sorted(
    {name for text in TEXT.values() for name in re.findall(r"ben-luigi ([a-z][a-z0-9-]*[a-z0-9])\b", text)}
)
NOT_ASKED = {"benchmarks"}
"""Not a program."""
INSTEAD = {"scripts/test ": "scripts/test --collect-only tests/unit/test_names.py "}
"""The test suite does not run itself."""
ORDER = {name: number for number, name in enumerate(["README.md", "docs/dataset.md"])}
BLOCKS = [
    pytest.param(kind, code, id=f"{page}-{number}")
    for page in sorted(TEXT, key=lambda page: (ORDER.get(page, 9), page))
    for number, (kind, code) in enumerate(BLOCK.findall(TEXT[page]), start=1)
    if kind in ("sh", "python")
]


@pytest.fixture(scope="module")
def checkout(sample_run: Run, sample_world: World, l2a_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This project in a folder of its own, with what the sample run made, and a user's own configuration."""
    folder = tmp_path_factory.mktemp("checkout")
    for path in ROOT.iterdir():
        if path.name not in ("data", "build", ".git"):
            (folder / path.name).symlink_to(path)
    sample_run.copy_to(folder)
    own = {"data_dir": folder / "own", "tiles": "31UGR_20171015"}
    configuration(folder, sample_world, dataset=own, inputs={"l2a_dir": l2a_dir})
    return folder


@pytest.mark.parametrize(("kind", "code"), BLOCKS)
def test_every_block_of_commands_runs(kind: str, code: str, checkout: Path) -> None:
    for written, instead in INSTEAD.items():
        code = code.replace(written, instead)
    if kind == "sh":
        words, folder = ["bash", "-euo", "pipefail", "-c", code], checkout
    else:
        words, folder = [sys.executable, "-c", code], checkout / "data" / "dataset"
    done = subprocess.run(
        words, cwd=folder, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", sorted(set(SCRIPTS) - NOT_ASKED))
def test_every_script_that_is_named_says_how_it_is_used(name: str, checkout: Path) -> None:
    script = checkout / "scripts" / name
    done = subprocess.run(
        [script, "--help"], cwd=checkout, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.match(rf"usage: .*(scripts/|ben-luigi ?)({name})?\b", done.stdout)
    assert not done.stderr


def test_every_script_is_in_the_documentation() -> None:
    there = {path.name for path in (ROOT / "scripts").iterdir() if not path.name.startswith("_")}
    assert there - {"environment"} == set(SCRIPTS) - {"environment"}


@pytest.mark.parametrize("name", sorted({*COMMANDS_NAMED, *COMMANDS}))
def test_every_command_is_one_and_says_how_it_is_used(name: str, tmp_path: Path) -> None:
    code, text = command(name, tmp_path, None, "--help")
    assert code == 0, text
    assert text.startswith(f"usage: ben-luigi {name}")
    assert all(f"{code.value:>3}  {code.meaning}" in text for code in ExitCode), "one table for all"
    assert list(tmp_path.iterdir()) == []


def test_the_page_has_the_table_of_exit_codes_that_the_code_makes() -> None:
    """`python -m ben_luigi.exit_codes` prints it."""
    assert exit_codes.table() in TEXT["docs/troubleshooting.md"]


def test_every_option_that_is_named_is_one() -> None:
    """In `luigi.cfg`, commented out or not; Luigi's own are looked up nowhere."""
    settings = ConfigParser(interpolation=None)
    text = (ROOT / "luigi.cfg").read_text(encoding="utf-8")
    settings.read_string(re.sub(r"^# (\w+ =)", r"\1", text, flags=re.MULTILINE))
    ours = {section for section in settings.sections() if section not in ("core", "worker", "scheduler", "resources")}
    named = [(page, *found) for page, text in TEXT.items() for found in OPTION.findall(text)]
    for page, text in TEXT.items():
        for kind, code in BLOCK.findall(text):
            if kind == "ini" and not code.startswith(("[Service]", "[Timer]")):
                block = ConfigParser(interpolation=None)
                block.read_string(code)
                named += [(page, section, option) for section in block.sections() for option in block[section]]
    assert len(named) > 20
    unknown = [one for one in named if one[1] in ours and not settings.has_option(one[1], one[2])]
    assert not unknown


@pytest.mark.parametrize("page", sorted(TEXT))
def test_every_relative_link_leads_to_a_file_and_to_a_heading_of_it(page: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", BLOCK.sub("", TEXT[page])):
        if not link.startswith(("http://", "https://", "mailto:")):
            path, _, heading = link.partition("#")
            target = (ROOT / page).parent / path if path else ROOT / page
            assert target.exists(), link
            assert not heading or heading in _anchors(target.read_text(encoding="utf-8")), link


def _anchors(text: str) -> list[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", text), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    assert len(TEXT["README.md"].splitlines()) <= 150
    assert not [page for page in TEXT if page != "README.md" and f"]({page})" not in TEXT["README.md"]]


@pytest.mark.parametrize("name", report_picture.PICTURES)
def test_each_picture_is_one_of_the_sample_run(name: str, sample_run: Run, tmp_path: Path) -> None:
    """Of the same size; fonts differ between machines. It is small, and nothing but pixels is in it."""
    made = report_picture.picture(sample_run.data / "dataset" / "report", name, tmp_path)
    committed = (ROOT / "docs" / name).read_bytes()
    assert len(committed) < 400_000
    for png in (made, committed):
        chunks = _chunks(png)
        assert struct.unpack(">II", chunks[0][1][:8]) == report_picture.PICTURES[name].size
        assert {kind for kind, _ in chunks} <= {b"IHDR", b"sRGB", b"sBIT", b"IDAT", b"IEND"}


def _chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    """Kind and content of each chunk of a PNG."""
    found, at = [], 8
    while at < len(png):
        (size,) = struct.unpack_from(">I", png, at)
        found.append((png[at + 4 : at + 8], png[at + 8 : at + 8 + size]))
        at += size + 12
    return found
