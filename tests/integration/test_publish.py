"""`ben-luigi publish`: nothing is sent unasked or unverified; what is sent arrives, and no token is told."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ben_luigi.domain.dataset.form import FORM_V2
from ben_luigi.domain.forms.export import FORMS, export
from ben_luigi.domain.forms.source import Source
from ben_luigi.domain.publishing import verdicts
from tests.integration.on_terminal import OnTerminal
from tests.integration.running import Run, command
from tests.publishing_servers import BUCKET, HubServer, ZenodoServer, s3
from tests.unit.exports import SMALL
from tests.unit.small_dataset import Dataset

TOKEN = "qzjxwvkmxzzlrt"


@dataclass
class Shop:
    """A dataset of somebody, in a folder to work in."""

    folder: Path
    dataset: Path

    def run(self, name: str, *arguments: str, **more: str) -> tuple[int, str]:
        """Run a command without a terminal."""
        return command(name, self.folder, None, *arguments, ZENODO_TOKEN=TOKEN, HF_TOKEN=TOKEN, **more)

    def at_terminal(self, *arguments: str) -> OnTerminal:
        """Run `publish` as a person does."""
        words = [sys.executable, "-m", "ben_luigi", "publish", *arguments]
        return OnTerminal(self.folder, *words, ZENODO_TOKEN=TOKEN)

    def files(self) -> dict[str, bytes]:
        """All files of the dataset, by name."""
        return {
            path.relative_to(self.dataset).as_posix(): path.read_bytes()
            for path in self.dataset.rglob("*")
            if path.is_file()
        }


@pytest.fixture(scope="module")
def verified(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A dataset that was verified, with a form of it; not to be changed."""
    folder = tmp_path_factory.mktemp("shop")
    shop = Shop(folder, Dataset().write_all(folder / "mine"))
    export(FORMS["webdataset"], Source.open(shop.dataset), folder / "shards", SMALL)
    code, said = shop.run("publish", "zenodo", "mine", "--yes", "--endpoint", "http://127.0.0.1:1")
    assert code == 20 and "never verified" in said and "ben-luigi verify mine" in said, said
    # Its maps are not those of the published nomenclature, so that `ben-luigi verify` would find something.
    of_dataset = verdicts.state_of(shop.dataset, FORM_V2.archives)
    for path, state in ((shop.dataset, of_dataset), (folder / "shards", verdicts.state_of_form(folder / "shards"))):
        verdicts.note(folder / "data" / "publishing", path, verdicts.Noted([], state))
    return shop


@pytest.fixture
def zenodo() -> Iterator[ZenodoServer]:
    with ZenodoServer(token=TOKEN) as server:
        yield server


def test_without_a_yes_the_plan_is_shown_and_nothing_is_asked(verified: Shop, zenodo: ZenodoServer) -> None:
    code, said = verified.run("publish", "zenodo", "mine", "--endpoint", zenodo.base_url)
    assert code == 20, said
    assert "A small dataset" in said and "CDLA-Permissive-1.0" in said and "BigEarthNet-S2.tar.zst" in said
    assert "nothing was sent; to send it, type the same command with --yes" in said.splitlines()[-1]
    assert not zenodo.counts and TOKEN not in said


@pytest.mark.parametrize(("answer", "sent"), [(b"y\n", True), (b"n\n", False), (b"\n", False)])
def test_the_answer_at_the_terminal_counts(answer: bytes, sent: bool, verified: Shop, zenodo: ZenodoServer) -> None:
    run = verified.at_terminal("zenodo", "mine", "--endpoint", zenodo.base_url)
    run.reach(lambda run: "Send this to Zenodo? [y/N]" in run.said)
    assert not zenodo.counts and "BigEarthNet-S2.tar.zst" in run.said
    run.press(answer)
    assert run.code() == (0 if sent else 20), run.said
    assert bool(zenodo.counts) == sent


def test_it_is_published_by_one_process_at_a_time(verified: Shop, zenodo: ZenodoServer) -> None:
    words = ("zenodo", "mine", "--endpoint", zenodo.base_url)
    run = verified.at_terminal(*words)
    run.reach(lambda run: "Send this to Zenodo?" in run.said)
    code, said = verified.run("publish", *words, "--yes")
    assert code == 10 and "that no other process publishes it" in said and not zenodo.counts, said
    run.press(b"\x03")
    assert run.code() == 130 and "Traceback" not in run.said


def test_all_of_it_is_sent_to_each_service_and_no_token_is_told(verified: Shop, zenodo: ZenodoServer) -> None:
    said = []
    code, text = verified.run("publish", "zenodo", "mine", "--yes", "--endpoint", zenodo.base_url)
    assert code == 0 and "press Publish there" in text, text
    (sent,) = zenodo.files.values()
    own = verified.files()
    assert {name: own[name] for name in sent if not name.endswith(".zip")} == {
        name: data for name, data in sent.items() if not name.endswith(".zip")
    }
    assert {name.partition("/")[0] for name in own if "/" in name} == {
        name.removesuffix(".zip") for name in sent if name.endswith(".zip")
    }
    said.append(text)
    with HubServer(token=TOKEN) as hub:
        code, text = verified.run("publish", "huggingface", "mine", "--to", "u/n", "--yes", "--endpoint", hub.base_url)
        assert code == 0, text
        assert {name: data for name, data in hub.committed.items() if name != "README.md"} == {
            name: data for name, data in own.items() if name != "README.md"
        }
        assert hub.committed["README.md"].startswith(b"---\n") and hub.private == {"u/n": True}
        said.append(text)
    with s3() as bucket:
        keys = {"AWS_ACCESS_KEY_ID": TOKEN, "AWS_SECRET_ACCESS_KEY": TOKEN[::-1], "AWS_DEFAULT_REGION": "us-east-1"}
        words = ("mine", "--form", "shards", "--to", "s3://bucket/a", "--yes", "--endpoint", bucket.base_url)
        bucket.client().put_object(Bucket=BUCKET, Key="a/notes.txt", Body=b"mine")
        code, text = verified.run("publish", "s3", *words, "--replace", **keys)
        assert code == 0 and "removed: files there that the form.json there lists" in text, text
        assert "1 other files are there, and stay: notes.txt; remove them if" in text
        content = bucket.content("a/")
        assert {name for name in content if name.endswith(".tar")} == {
            path.name for path in (verified.folder / "shards").glob("*.tar")
        }
        assert b"webdataset" in content["README.md"] and content["LICENSE"] == own["LICENSE"]
        said.append(text)
    noted = [path.read_text(errors="replace") for path in (verified.folder / "data").rglob("*") if path.is_file()]
    assert not [text for text in (*said, *noted) if TOKEN in text or TOKEN[::-1] in text]


def test_what_has_findings_is_refused(tmp_path: Path, zenodo: ZenodoServer) -> None:
    shop = Shop(tmp_path, Dataset().write_all(tmp_path / "mine"))
    sent = ("publish", "zenodo", "mine", "--yes", "--endpoint", zenodo.base_url)
    assert shop.run(*sent)[0] == 20, "never verified"
    assert shop.run("verify", "mine")[0] == 1
    code, said = shop.run(*sent)
    assert code == 20 and "1 finding: Reference_Maps.tar.zst: with other classes" in said, said
    assert not zenodo.counts and "Traceback" not in said


def test_what_goes_wrong_is_said_without_a_traceback(verified: Shop, zenodo: ZenodoServer) -> None:
    address, zenodo.token = zenodo.base_url, "another"
    for code, words, arguments in (
        (2, "--to; expected: USER/NAME", ("huggingface", "mine")),
        (2, "the id of a draft, or new", ("zenodo", "mine", "--to", "draft")),
        (2, "no folder", ("zenodo", "none")),
        (20, "the note of an exported form", ("zenodo", "mine", "--form", "mine")),
        (20, "a token with the rights", ("zenodo", "mine", "--yes", "--endpoint", address)),
    ):
        found, said = verified.run("publish", *arguments)
        assert (found, words in said, "Traceback" in said) == (code, True, False), said
    assert TOKEN not in said


def test_a_run_has_verified_its_dataset_and_a_copy_is_to_be_verified(
    sample_run: Run, zenodo: ZenodoServer, tmp_path: Path
) -> None:
    shown = "nothing was sent; to send it"
    words = ("zenodo", "--endpoint", zenodo.base_url)
    code, said = command("publish", sample_run.data.parent, None, *words, ZENODO_TOKEN=TOKEN)
    assert code == 20 and shown in said and f"from     {sample_run.data / 'dataset'}" in said, said
    shop = Shop(tmp_path, Path(shutil.copytree(sample_run.data / "dataset", tmp_path / "copy")))
    code, said = shop.run("publish", "zenodo", "copy", *words[1:])
    assert code == 20 and shown not in said and "never verified" in said, said
    export(FORMS["parquet"], Source.open(shop.dataset), tmp_path / "form", SMALL)
    shutil.rmtree(tmp_path / "data")  # as where nothing was run before
    (tmp_path / "form" / "secret.txt").symlink_to("/etc/passwd")
    code, said = shop.run("verify", "copy", "--form", "form")
    assert code == 0 and "not looked at: secret.txt: it is no part of the form" in said, said
    for more in ((), ("--form", "form")):
        code, said = shop.run("publish", "zenodo", "copy", *more, *words[1:])
        assert code == 20 and shown in said, said
    assert not zenodo.counts
