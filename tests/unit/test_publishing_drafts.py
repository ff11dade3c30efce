"""Drafts at Zenodo: one that was not finished, answers of another form, and one that is published or gone."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ben_luigi.domain.answers import refusal
from ben_luigi.domain.cdse.http import Client
from ben_luigi.domain.errors import PermanentError, TransientError
from ben_luigi.domain.publishing.hashing import Hashes
from ben_luigi.domain.publishing.package import Package
from ben_luigi.domain.publishing.sending import Sender
from ben_luigi.domain.publishing.service import WrongHash
from ben_luigi.domain.publishing.zenodo import NEW, Zenodo
from ben_luigi.domain.sources.source import Origin
from ben_luigi.sample.loopback import Fault
from tests.publishing_servers import ZenodoServer
from tests.unit.publishing_places import NAMES, PATIENCE, contents_of, place

pytestmark = pytest.mark.usefixtures("credentials")


def test_what_has_arrived_at_zenodo_with_another_hash_is_removed_again(package: Package, tmp_path: Path) -> None:
    """So that no draft can be made public that has it, also if no other attempt follows."""
    with place("zenodo", tmp_path, Fault("damaged", "put")) as there:
        with pytest.raises(WrongHash):
            Sender(there.service(), Hashes(tmp_path / "hashes.json"), replace(PATIENCE, tries=1)).publish(package)
        assert there.server.counts["put"] == there.server.counts["delete"] == 1 and there.content() == {}


def test_the_time_at_which_zenodo_answers_again_is_waited_for() -> None:
    reset = str(int(time.time()) + 500)
    told = {"X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}
    wait_s = refusal("a", 429, told, b"").retry_after_s  # type: ignore[attr-defined]
    assert 400 < wait_s <= 501
    for others in ({"X-RateLimit-Reset": "1"}, {"X-RateLimit-Reset": "soon"}, {**told, "X-RateLimit-Remaining": "7"}):
        assert refusal("a", 503, others, b"").retry_after_s is None  # type: ignore[attr-defined]
    assert refusal("a", 429, {**told, "Retry-After": "3"}, b"").retry_after_s == 3  # type: ignore[attr-defined]


def test_a_draft_of_which_a_file_was_never_finished_is_completed(package: Package, tmp_path: Path) -> None:
    with place("zenodo", tmp_path) as there:
        assert isinstance(there.server, ZenodoServer)
        there.publish(package)
        there.server.unfinished = {"LICENSE"}
        there.server.files["1000"]["LICENSE"] = b"fr"
        with pytest.raises(TransientError):  # it never tells a checksum
            there.publish(package)
        there.server.unfinished = set()
        assert there.publish(package).already_there
        assert there.content() == contents_of(package)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        *((kind, body) for kind in ("create", "metadata", "list", "put") for body in (b"null", b"5", b"[]")),
        ("create", b'{"id": null}'),
        ("metadata", b'{"id": 1000, "links": null}'),
        *(("list", b'{"contents": %s}' % part) for part in (b"null", b'{"key": 1}', b"[null]", b'[{"key": [1]}]')),
    ],
)
def test_an_answer_of_another_form_is_asked_for_again(
    kind: str, body: bytes, package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with place("zenodo", tmp_path) as there:
        assert isinstance(there.server, ZenodoServer)
        answer, given = there.server.answer, [body]

        def odd(method: str, path: str, query: str, *rest: Any) -> tuple[Any, ...]:
            right = answer(method, path, query, *rest)
            return (200, given.pop()) if given and there.server.kind(method, path, query)[0] == kind else right

        monkeypatch.setattr(there.server, "answer", odd)
        there.publish(package)
        assert not given and len(there.server.drafts) == 1
        assert there.content() == contents_of(package)


def test_a_draft_that_is_published_or_gone_is_said(package: Package, tmp_path: Path) -> None:
    with place("zenodo", tmp_path) as there:
        assert isinstance(there.server, ZenodoServer)
        there.publish(package)
        there.server.drafts["1000"]["submitted"] = True
        with pytest.raises(PermanentError, match=r"published already.*--to new"):
            there.publish(package)
        with Client(patience=PATIENCE, hosts=Origin(there.server.base_url)) as client:
            args = (client, there.server.base_url, there.server.token, tmp_path / "record", "package 1", NEW)
            sender = Sender(Zenodo(*args), Hashes(tmp_path / "hashes.json"), PATIENCE)
            assert sorted(sender.publish(package).sent) == sorted(NAMES)
        assert there.server.files["1001"] == there.server.files["1000"]
        (tmp_path / "record").write_text("1000\n")
        del there.server.drafts["1000"]
        with pytest.raises(PermanentError, match=r"draft 1000.*--to new"):
            there.publish(package)
