"""`ben-luigi publish SERVICE [FOLDER]`: send a finished dataset, or an exported form of it, to where others find it.

SERVICE is zenodo (to a draft, which you look at and publish on its website), huggingface (to a dataset, private if
it is new) or s3 (to a bucket). What would be sent is shown first, with sizes and licence. Nothing is sent, and the
service is not even asked, before you say yes at the terminal or give --yes.

FOLDER is that of a dataset, ours or downloaded; by default the one that the pipeline makes. It was verified without
findings, by ben-luigi run or by ben-luigi verify FOLDER; a form by ben-luigi verify FOLDER --form DIR.

Type the same command again after whatever happens: each file is compared by its hash with what the service has, and
only what is missing is sent. Where another content has the name of a file, nothing is sent, unless --replace is given.
Then files that only the form there before had are removed. What else lies there stays, and is named.

Tokens are taken from ZENODO_TOKEN or HF_TOKEN, or from the file of --token-file; for S3, boto3 finds the credentials.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from tqdm import tqdm

from ben_luigi import config
from ben_luigi.commands import command
from ben_luigi.commands.arguments import publish as parser
from ben_luigi.commands.damage import whole
from ben_luigi.commands.setting_up import configure
from ben_luigi.domain import files, locks, network, surroundings
from ben_luigi.domain.cdse.account import confirmed, has_terminal
from ben_luigi.domain.cdse.http import Client
from ben_luigi.domain.dataset.form import Form
from ben_luigi.domain.dataset.readme import README
from ben_luigi.domain.errors import BadArgument, PipelineError, printable, some
from ben_luigi.domain.publishing import card, huggingface, package, plan, verdicts, zenodo
from ben_luigi.domain.publishing.hashing import Hashes
from ben_luigi.domain.publishing.huggingface import HuggingFace
from ben_luigi.domain.publishing.package import Item, Package
from ben_luigi.domain.publishing.s3 import S3
from ben_luigi.domain.publishing.sending import Sender, Sent
from ben_luigi.domain.publishing.service import Service, token_of
from ben_luigi.domain.publishing.zenodo import Zenodo
from ben_luigi.domain.sources.source import Origin
from ben_luigi.exit_codes import ExitCode
from ben_luigi.stages.finalize import rules_in
from ben_luigi.stages.service import patience
from ben_luigi.terminal import bar_format

_NOT_SENT = "nothing was sent; to send it, type the same command with --yes, or answer y at a terminal"
_ONLY_FOR = {"sandbox": ("zenodo",), "quota_gb": ("zenodo",), "token_file": ("zenodo", "huggingface")}
_SHOWN = 5
_ANSWER_S = 600.0
"""How long a service may take to answer once it has a large file."""


def main(arguments: Sequence[str]) -> int:
    """Show what would be sent; send it if a person wants it."""
    used = parser()
    given = used.parse_args(arguments)
    _check(used, given)
    configure(writes=False)
    try:
        work = _work_folder(given)
        work.parent.mkdir(parents=True, exist_ok=True)
        what = _sent(given)
        with locks.held_while("publishes", what, work.with_suffix(".lock")), whole(what):
            return _publish(used, given, work)
    except locks.HeldByAnother as error:
        return command.refuse(used, error, ExitCode.ALREADY_RUNNING)
    except (PipelineError, OSError) as error:
        return command.refuse(used, error, command.code_of(error))


def _check(used: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    """Exit if an option makes no difference to the service, or its address is none."""
    for option, services in _ONLY_FOR.items():
        if getattr(given, option) and given.service not in services:
            flag, counts = f"--{option.replace('_', '-')}", ", ".join(services)
            used.error(f"{flag} makes no difference to {given.service}; leave it out: it counts for {counts}")
    if given.endpoint:
        try:
            is_url = urlsplit(given.endpoint).scheme in ("http", "https") and bool(urlsplit(given.endpoint).hostname)
        except ValueError:
            is_url = False
        if not is_url:
            used.error(f"--endpoint: expected: an address such as https://HOST; found: {given.endpoint}")


def _publish(used: argparse.ArgumentParser, given: argparse.Namespace, work: Path) -> ExitCode:
    what = _package(given, work)
    with Client(
        patience=replace(patience(), read_timeout_s=_ANSWER_S),
        session=network.session(_ANSWER_S),
        hosts=Origin(_url(given)),
    ) as client:
        service = _service(given, client, what, work)
        print("\n".join(plan.lines(service, what, replaces=given.replace)), flush=True)
        plan.check(service, what)
        if isinstance(service, Zenodo | HuggingFace):
            service.token = _token(given)
        if not (given.yes or (has_terminal() and confirmed(f"Send this to {service.name}?"))):
            print(f"{used.prog}: {_NOT_SENT}", file=sys.stderr)
            return ExitCode.WAITS_FOR_PERSON
        sent = _send(given, service, client, package.flattened(what, work) if service.is_flat else what)
    _say(sent)
    files.remove(work)
    return ExitCode.DONE


def _say(sent: Sent) -> None:
    """Print what was done, and what lies there besides."""
    print(f"{len(sent.sent):,} files were sent, {len(sent.already_there):,} were there; {sent.following}")
    removed, others = (some(map(printable, names), _SHOWN) for names in (sent.removed, sent.others))
    if removed:
        print(f"{len(sent.removed):,} files that only the form there before had were removed: {removed}")
    if others:
        print(f"{len(sent.others):,} other files are there, and stay: {others}; remove them if they are not wanted")


def _send(given: argparse.Namespace, service: Service, client: Client, what: Package) -> Sent:
    shown = tqdm(
        total=what.size_bytes,
        desc=f"to {service.name}",
        unit="B",
        unit_scale=True,
        disable=None,
        bar_format=bar_format("B"),
    )
    with shown as bar:
        hashes = Hashes(_notes() / "hashes.jsonl")
        return Sender(service, hashes, client.patience, given.replace, lambda number: _move(bar, number)).publish(what)


def _move(bar: tqdm[NoReturn], number: int) -> None:
    bar.update(number)


def _package(given: argparse.Namespace, work: Path) -> Package:
    """Return what is published, after checking that it was verified; its card is written to `work`."""
    folder = given.folder or config.data_dir() / config.result_folder()
    remedy = "name the folder of a dataset" if given.folder else "make it first, by ben-luigi run, or name another"
    command.require_folder(folder, "the folder of a dataset", remedy, is_given=bool(given.folder))
    form = rules_in(folder).form
    what = package.of_form(given.form, folder, form) if given.form else package.of_dataset(folder, form)
    _require_verified(given, folder, form)
    is_hub = given.service == "huggingface"
    if is_hub or not any(item.name == README for item in what.items):
        text = (card.front_matter(what) if is_hub else "") + card.text(what, form, is_flat=given.service == "zenodo")
        files.write_text(work / README, text)
        what = package.with_item(what, Item.of(README, work / README))
    return what


def _require_verified(given: argparse.Namespace, folder: Path, form: Form) -> None:
    """Raise BadInput unless what is published was verified as it is now, without findings."""
    looked_at = given.form or folder
    state = verdicts.state_of_form(looked_at) if given.form else verdicts.state_of(looked_at, form.archives)
    words = ["ben-luigi verify"]
    words += [str(folder)] if given.folder else []
    words += ["--form", str(given.form)] if given.form else []
    verdicts.require(verdicts.read(_notes(), looked_at), looked_at, state, " ".join(words))


def _service(given: argparse.Namespace, client: Client, what: Package, work: Path) -> Service:
    """Return the service, without a token. Raise BadArgument or BadInput if it cannot be used."""
    to, url = given.to or "", _url(given)
    if given.service == "s3":
        surroundings.give_back("AWS_.*")
        usual = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
        return S3(to, given.endpoint or usual)
    if given.service == "huggingface":
        return HuggingFace(to, "", url)
    if to not in ("", zenodo.NEW) and not to.isdecimal():
        raise BadArgument("--to", expected=f"the id of a draft, or {zenodo.NEW}", found=to, remedy="correct it")
    names = "\n".join([what.title, what.about.version, what.form, *package.names_when_flat(what)])
    key = f"package {files.text_hash(names)[:24]}"
    return Zenodo(client, url, "", work.with_suffix(".record"), key, to, given.quota_gb or zenodo.LIMIT_GB)


def _url(given: argparse.Namespace) -> str:
    """Return the address of the service, without a slash at the end."""
    usual = {"zenodo": zenodo.SANDBOX_URL if given.sandbox else zenodo.URL, "huggingface": huggingface.URL}
    return str(given.endpoint or usual.get(given.service, "")).rstrip("/")


def _token(given: argparse.Namespace) -> str:
    if given.service == "zenodo":
        return token_of("Zenodo", zenodo.VARIABLE, os.environ.get(zenodo.VARIABLE, ""), given.token_file)
    return token_of("Hugging Face", huggingface.VARIABLE, huggingface.stored_token(), given.token_file)


def _notes() -> Path:
    """Return the folder of what is noted: verdicts, hashes of files, drafts."""
    return config.data_dir() / config.PUBLISHING


def _work_folder(given: argparse.Namespace) -> Path:
    """Return the folder of what is written for this package and place; it is the same one for the same command."""
    to = "" if given.service == "zenodo" else given.to or ""
    words = "\n".join([given.service, _url(given), to, str(_sent(given).resolve())])
    return _notes() / f"{given.service}-{files.text_hash(words)[:16]}"


def _sent(given: argparse.Namespace) -> Path:
    """Return the folder of what is sent."""
    return Path(given.form or given.folder or config.data_dir() / config.result_folder())
