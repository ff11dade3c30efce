"""Read configuration files tolerantly: every option with its line, and everything else as a finding.

The syntax is that of Python's configparser, but a file is UTF-8 in any locale, and reading continues after an error. A
line that is not understood is never quoted, since it may contain a password.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ben_luigi.domain import given
from ben_luigi.domain.findings import Finding, short

MOST_BYTES = 2**20

_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: ("utf-8-sig", "a byte order mark before the first line"),
    codecs.BOM_UTF32_LE: ("utf-32", "UTF-32"),  # before UTF-16, since it begins with UTF-16's mark
    codecs.BOM_UTF32_BE: ("utf-32", "UTF-32"),
    codecs.BOM_UTF16_LE: ("utf-16", "UTF-16"),
    codecs.BOM_UTF16_BE: ("utf-16", "UTF-16"),
}
_UTF8 = "UTF-8 without a byte order mark"
_SECTION = re.compile(r"\[([^\[\]]+)\]\s*([#;].*)?")
_OPTION = re.compile(r"\s*([^=:\s][^=:]*?)\s*[=:]\s*(.*)")


@dataclass
class Entry:
    """An option in a file, with its line; `more` are the lines that continue its value."""

    location: str
    section: str
    option: str
    text: str
    more: list[str] = field(default_factory=list)


@dataclass
class ConfigFile:
    """The content of a file: its sections with their places, its options, and the lines that are neither.

    `shared` means that other programs that use Luigi read it too.
    """

    name: str
    shared: bool = False
    sections: list[tuple[str, str]] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def values(self) -> dict[str, dict[str, str]]:
        """Return its values, by section and option."""
        sections: dict[str, dict[str, str]] = {}
        for entry in self.entries:
            sections.setdefault(entry.section, {})[entry.option] = entry.text
        return sections


def read(path: Path, name: str, shared: bool = False) -> ConfigFile:
    """Read a file; `name` is what findings call it."""
    file = ConfigFile(name, shared)
    try:
        content = given.read_bytes(path, MOST_BYTES)
    except OSError as error:
        file.findings.append(Finding(name, "", _why(error), "a file that can be read"))
        return file
    except ValueError as error:
        file.findings.append(Finding(name, "", str(error), "a configuration file"))
        return file
    text, wrong = _decoded(content)
    file.findings += [Finding(f"{name}:{line}", "the file", found, _UTF8) for line, found in wrong]
    _Scanner(file).scan(re.split("\r\n|\r|\n", text))
    return file


def _why(error: OSError) -> str:
    return str(error.strerror or error)


def _decoded(content: bytes) -> tuple[str, list[tuple[int, str]]]:
    """Return the text, and line and kind of anything in it that is not UTF-8."""
    for mark, (encoding, found) in _BYTE_ORDER_MARKS.items():
        if content.startswith(mark):
            return content.decode(encoding, "replace"), [(1, found)]
    if b"\0" in content:
        line = content.count(b"\n", 0, content.index(b"\0")) + 1
        encoding = "utf-16-le" if content[1:2] == b"\0" else "utf-16-be" if content[:1] == b"\0" else "utf-8"
        return content.decode(encoding, "replace").replace("\0", ""), [(line, "zero bytes, as of UTF-16")]
    try:
        return content.decode("utf-8"), []
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return content.decode("utf-8", "replace"), [(line, "another encoding, as of Latin-1")]


class _Scanner:
    """Go through the lines of a file."""

    def __init__(self, file: ConfigFile) -> None:
        self.file = file
        self.section: str | None = None
        self.entry: Entry | None = None
        self.indent = 0
        self.seen: dict[tuple[str, str], str] = {}
        self.lost = False

    def scan(self, lines: Iterable[str]) -> None:
        for number, line in enumerate(lines, start=1):
            if line.strip() and line.strip()[0] not in "#;":
                self._line(f"{self.file.name}:{number}", line)

    def _line(self, location: str, line: str) -> None:
        text, indent = line.strip(), len(line) - len(line.lstrip())
        header, option = _SECTION.fullmatch(text), _OPTION.fullmatch(text)
        if self.entry is not None and indent > self.indent:
            if not header and not (option and _is_name(option[1])):
                self.entry.text += f"\n{text}"
                self.entry.more.append(location)
                return
            where = f"[{self.entry.section}] {self.entry.option}"
            self._wrong(location, f"an indented line, which continues {where}", "a section or option at the margin")
        self.indent = indent
        if header:
            self._header(location, header[1].strip())
        elif option and not text.startswith("["):
            self._option(location, option[1], option[2])
        else:
            self.entry = None
            self._wrong(location, "a line that is neither (not shown)", "[section], or option = value")

    def _header(self, location: str, name: str) -> None:
        before = dict(reversed(self.file.sections)).get(name)
        if before:
            self._wrong(location, f"[{name}] again, as in {before}", "each section once")
        else:
            self.file.sections.append((name, location))
        self.section, self.entry = name, None

    def _option(self, location: str, written: str, value: str) -> None:
        option = written.replace("-", "_")  # Luigi treats both as the same
        self.entry = Entry(location, self.section or "", option, value.strip())
        if self.section is None:
            if not self.lost:
                self._wrong(location, "an option before any section", "a [section] above it")
            self.lost = True
            return
        before = self.seen.setdefault((self.section, option), location)
        if before != location:
            self._wrong(location, f"[{self.section}] {short(option)} again, as in {before}", "each option once")
            return
        self.file.entries.append(self.entry)

    def _wrong(self, location: str, found: str, allowed: str) -> None:
        self.file.findings.append(Finding(location, "", found, allowed))


def _is_name(text: str) -> bool:
    """Return whether a text looks like the name of an option rather than a part of a value."""
    return re.fullmatch(r"[A-Za-z][\w-]*", text) is not None
