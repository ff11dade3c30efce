"""Check the content of the configuration files against what the options are declared to accept."""

from __future__ import annotations

import argparse
import os
import re
import tempfile
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import luigi

from ben_luigi.configuration import luigi_options, recipe, sections
from ben_luigi.configuration.files import MOST_BYTES, ConfigFile, Entry
from ben_luigi.configuration.kinds import PathName, plain_of
from ben_luigi.configuration.values import interpolated, last_entries
from ben_luigi.domain import given, plain_values
from ben_luigi.domain.errors import reason
from ben_luigi.domain.findings import Finding, NotAllowed, nearest, shown
from ben_luigi.domain.recipe.model import Recipe, names_in

_QUOTED = re.compile(r"""(['"]).*\1""", re.DOTALL)
_COMMENT = re.compile(r"\s[#;]")


def findings(files: Sequence[ConfigFile], environment: Mapping[str, str] = os.environ) -> list[Finding]:
    """Return everything that is wrong in the files, by file and line.

    An option in a later file overrides an earlier one.
    """
    found: list[Finding] = []
    followed, of_recipe = recipe.of(files, environment)
    also = [*_labels(files, followed, environment), *_countries(files, followed, environment)]
    also += recipe.contradictions(files, followed)
    for file in files:
        more = [one for one in also if one.location.startswith(f"{file.name}:")]
        found += sorted([*_of_file(file, environment), *more], key=lambda finding: _line(finding.location))
    return found + of_recipe


def _of_file(file: ConfigFile, environment: Mapping[str, str]) -> list[Finding]:
    found = [*file.findings]
    for name, location in file.sections:
        near = nearest(name, (*sections.SECTIONS, *luigi_options.SECTIONS))
        if not _known(name) and (near or not file.shared):
            allowed = ", ".join(sections.SECTIONS) + ", and Luigi's own"
            found.append(Finding(location, "", f"no such section, [{name}]", allowed, f"[{near}]" if near else ""))
    for entry in file.entries:
        if _known(entry.section):
            found += _of_entry(entry, environment)
    return found


def _line(location: str) -> int:
    number = location.rpartition(":")[2]
    return int(number) if number.isdecimal() else 0


def _known(section: str) -> bool:
    return section in sections.SECTIONS or luigi_options.is_section(section)


def _of_entry(entry: Entry, environment: Mapping[str, str]) -> Iterator[Finding]:
    subject = f"[{entry.section}] {entry.option}"
    ours = sections.options_of(sections.SECTIONS[entry.section]) if entry.section in sections.SECTIONS else None
    options = luigi_options.of(entry.section) if ours is None else ours
    if options is None:
        return
    if entry.option not in options:
        yield Finding(entry.location, subject, "no such option", *_others(entry, options))
        return
    option = options[entry.option]
    wrong = _of_form(entry, option) if ours else None
    try:
        if wrong:
            raise wrong
        _check(option, interpolated(entry.text, environment))
    except NotAllowed as error:
        yield _finding(entry.location, subject, option, error, is_quoted(entry.option, option))


def _finding(location: str, subject: str, option: Any, error: NotAllowed, quoted: bool) -> Finding:
    return plain_values.finding(location, subject, error, luigi_options.allowed(option), is_quoted=quoted)


def command_line(arguments: argparse.Namespace, task: type[luigi.Task] | None = None) -> list[Finding]:
    """Return everything that is wrong in options on a command line, such as `--archive-level 99` or `--workers 0`.

    Of the options of the task itself those are checked whose values can be judged alone.
    """
    found = []
    for flag, name, text, option in [*_given(arguments), *(_of_task(task, arguments) if task else ())]:
        try:
            _check(option, text)
        except NotAllowed as error:
            found.append(_finding(flag, "", option, error, is_quoted(name, option)))
    named = getattr(arguments, "dataset_recipe", None)
    if found:
        return found
    followed, of_recipe = recipe.checked(named or str(sections.dataset().recipe))
    wrong = recipe.unknown_countries(getattr(arguments, "subset_countries", None) or "", followed)
    return [*of_recipe, *([Finding("--subset-countries", "", wrong.found, wrong.allowed, wrong.near)] if wrong else [])]


def of_command_line() -> Iterator[tuple[str, str, str, Any]]:
    """Yield flag, section, name and kind of each option that a command line may set: ours, and Luigi's own."""
    ours = {section: sections.options_of(declared) for section, declared in sections.SECTIONS.items()}
    for section, options in [*ours.items(), *luigi_options.declared().items()]:
        for name, option in options.items():
            flag = name if section == luigi_options.WITHOUT_PREFIX else f"{section}-{name}"
            yield f"--{flag}".replace("_", "-"), section, name, option


def _given(arguments: argparse.Namespace) -> Iterator[tuple[str, str, str, Any]]:
    """Yield flag, name, value and kind of each of them that is given."""
    for flag, section, name, option in of_command_line():
        if isinstance(text := getattr(arguments, f"{section}_{name}", None), str):
            yield flag, name, text, option


def _of_task(task: type[luigi.Task], arguments: argparse.Namespace) -> Iterator[tuple[str, str, str, Any]]:
    """Yield the same of the options of a task; as Luigi has it, an empty value does not count."""
    for name, option in task.get_params():
        text = getattr(arguments, name) or getattr(arguments, f"{task.get_task_family()}_{name}")
        if text and plain_of(option):
            yield f"--{name}".replace("_", "-"), name, text, option


def _others(entry: Entry, options: Collection[str]) -> tuple[str, str]:
    """Return the options that exist instead, and the nearest one, preferably of the same section."""
    near = nearest(entry.option, options)
    elsewhere = [name for name, section in sections.SECTIONS.items() if entry.option in sections.options_of(section)]
    if elsewhere and not near:
        near = f"[{elsewhere[0]}] {entry.option}"
    listed = sorted(options)
    return ", ".join(listed[:4]) + (", ... (docs/configuration.md)" if len(listed) > 4 else ""), near


def is_quoted(name: str, option: Any) -> bool:
    """Return whether errors may quote the values of an option."""
    return bool(getattr(option, "is_quoted", not re.search("url|password|key|connection|token", name)))


def _of_form(entry: Entry, option: Any) -> NotAllowed | None:
    """Return what is wrong with how a value is written, before its meaning is checked; nothing of it is quoted."""
    text = entry.text
    if "\ufffd" in text:
        return None  # the wrong encoding is already a finding
    if entry.more and not option.several_lines:
        return NotAllowed("a value of several lines", allowed=f"one line; {entry.more[0]} begins with a blank")
    if _QUOTED.fullmatch(text) and len(text) > 1:
        return NotAllowed("quotes around the value", allowed="the value as it is, without quotes")
    if option.is_quoted and _COMMENT.search(text.replace(";", "") if getattr(option, "separator", "") else text):
        return NotAllowed("a comment behind the value", allowed="comments on lines of their own")
    return None


def _check(option: Any, text: str) -> None:
    """Raise NotAllowed if an option does not accept this value."""
    if isinstance(option, PathName) and option.folder and not text:
        raise NotAllowed("nothing")
    plain_values.check((plain_of(option) or option).parse, text)


def data_dir(
    files: Sequence[ConfigFile], environment: Mapping[str, str] = os.environ, *, only_reads: bool = False
) -> list[Finding]:
    """Return a finding if the data folder in effect, given or default, can neither be written to nor made.

    For a command that only reads, one that is there and can be read will do.
    """
    subject, allowed = "[dataset] data_dir", "a folder that can be made and written to"
    parameter = sections.options_of(sections.dataset)["data_dir"]
    location, text = subject, parameter._default
    if entry := last_entries(files).get(("dataset", "data_dir")):
        location, text = f"{entry.location}: {subject}", entry.text
    try:
        folder = Path(parameter.parse(interpolated(text, environment)))
        is_read = only_reads and folder.is_dir() and os.access(folder, os.R_OK | os.X_OK)
        wrong = "" if is_read else cannot_be_written(folder)
    except NotAllowed:
        return []  # already a finding
    return [Finding(location, "", wrong, allowed)] if wrong else []


def cannot_be_written(folder: Path) -> str:
    """Return why a folder can neither be written to nor made; an empty text if it can."""
    try:
        there = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    except (OSError, ValueError) as error:
        return f"no path: {error}"
    if given.kind(there) != given.FOLDER:
        return f"{there}, which is {given.kind(there)}"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"{there}, which cannot be written to"
    return "" if there == folder.absolute() else _cannot_be_made_in(there)


def _cannot_be_made_in(folder: Path) -> str:
    """Return why no folder can be made in one that root may write to: in /proc none can."""
    try:
        Path(tempfile.mkdtemp(prefix=".ben-luigi-", dir=folder)).rmdir()
    except OSError as error:
        return f"{folder}, where no folder can be made: {reason(error)}"
    return ""


def _labels(files: Sequence[ConfigFile], followed: Recipe | None, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Yield findings about labels that the nomenclature, which another option or the recipe names, does not have."""
    entries = last_entries(files)
    labels, named = entries.get(("subset", "labels")), entries.get(("metadata", "nomenclature"))
    option = sections.options_of(sections.subset)["labels"]
    try:
        classes = _classes(named, followed, environment)
    except NotAllowed:
        return
    except (OSError, ValueError, KeyError, TypeError):
        if named:
            yield Finding(named.location, "[metadata] nomenclature", shown(named.text), "a TOML file of classes")
        return
    if not labels or _of_form(labels, option):
        return
    words = names_in(labels.text.split(option.separator), option.separator, classes)
    wrong = [word for word in words if word and word not in classes]
    if wrong:
        found = ", ".join(map(shown, wrong[:3]))
        yield Finding(labels.location, "[subset] labels", found, option.allowed, nearest(wrong[0], classes))


def _countries(
    files: Sequence[ConfigFile], followed: Recipe | None, environment: Mapping[str, str]
) -> Iterator[Finding]:
    """Yield a finding about countries that the recipe does not have."""
    entry = last_entries(files).get(("subset", "countries"))
    if entry is None or _of_form(entry, sections.options_of(sections.subset)["countries"]):
        return
    try:
        wrong = recipe.unknown_countries(interpolated(entry.text, environment), followed)
    except NotAllowed:
        return  # already a finding
    if wrong:
        yield Finding(entry.location, "[subset] countries", wrong.found, wrong.allowed, wrong.near)


def _classes(named: Entry | None, followed: Recipe | None, environment: Mapping[str, str]) -> list[str]:
    """Return the classes of the nomenclature in effect."""
    option = sections.options_of(sections.metadata)["nomenclature"]
    path = followed.land_cover.nomenclature if followed else option._default
    if named and named.text:
        path = option.parse(interpolated(named.text, environment))
    content = tomllib.loads(given.read_bytes(Path(path), MOST_BYTES).decode("utf-8"))
    return [str(one["name"]) for one in content["class"]]
