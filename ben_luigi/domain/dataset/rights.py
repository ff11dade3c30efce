"""Write `CITATION.cff` and `LICENSE` of a dataset of another recipe than the default one, as the recipe says them.

`CITATION.cff` is of the Citation File Format 1.2.0 (doi:10.5281/zenodo.5171937), which GitHub, Zenodo and Zotero read:
YAML, of which JSON's texts are a part. Its authors and the publication to cite are those of the recipe's BibTeX.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from ben_luigi.domain.dataset import latex
from ben_luigi.domain.dataset.about import About

CITATION, LICENSE = "CITATION.cff", "LICENSE"
_ENTRY = re.compile(
    r"^\s*@(?!(?:comment|preamble|string)\b)(?P<kind>\w+)\s*\{\s*[^,{}]*,", re.MULTILINE | re.IGNORECASE
)
_FIELD = re.compile(r"\s*(\w+)\s*=\s*")
_VERBATIM = ("doi", "url", "eprint")
"""Fields in which biber and BibTeX take dashes and tildes as they are."""
_PLAIN = re.compile(r"[^\s,{}\"#]+")
_KINDS = {"article": "article", "book": "book", "inproceedings": "conference-paper", "dataset": "data", "data": "data"}
"""Types of references in CFF, by the kind of the entry in BibTeX; others are generic."""

_NO_TEXT = "SPDX has no such licence: whoever publishes the data adds its text."
_LICENSE = """\
SPDX-License-Identifier: {about.license}

{text}

Whoever publishes the data or a part of them keeps this attribution:

- {title}, version {about.version}
- Contains modified Copernicus Sentinel data{years}.
{others}"""


def licence(title: str, about: About, years: Sequence[int], attributions: Sequence[str]) -> str:
    """Return the text of `LICENSE`; `years` are those of the Sentinel-2 data, as Copernicus wants them named."""
    *first, last = [str(year) for year in years] or [""]
    said = f" {', '.join(first)} and {last}" if first else f" {last}" if last else ""
    others = "".join(f"- {one}\n" for one in attributions)
    text = f"The text of the licence: {about.license_url}" if about.license_url else _NO_TEXT
    return _LICENSE.format(about=about, text=text, title=title, years=said, others=others)


def citation(title: str, about: About) -> str:
    """Return the text of `CITATION.cff`. Without an author in the recipe's citation, the dataset stands as its own.

    A licence of the user's own is not in it: the format allows only those of SPDX.
    """
    found = fields(about.citation)
    people = list(authors(found.get("author", ""))) or [{"name": title}]
    lines = [
        "cff-version: 1.2.0",
        f"message: {_text(_message(about.citation, found))}",
        "type: dataset",
        f"title: {_text(title)}",
        f"version: {_text(about.version)}",
        *([f"license: {_text(about.license)}"] if about.license_url else []),
        "authors:",
        *_listed(people, "  "),
    ]
    if found.get("title") and found.get("author"):
        lines += ["preferred-citation:", *(f"  {line}" for line in _reference(found, people))]
    return "\n".join(lines) + "\n"


def fields(text: str) -> dict[str, str]:
    """Return the fields of a BibTeX entry by name in lower case, and its kind as `ENTRYTYPE`; empty if it is none.

    What LaTeX writes with commands, such as accents, are the characters themselves. Braces are kept: they group words.
    Of several entries it is the first; what else is around it is a comment, as it is to BibTeX.
    """
    entry = _ENTRY.search(text)
    if entry is None:
        return {}
    found, rest = {"ENTRYTYPE": entry["kind"].lower()}, text[entry.end() :]
    while match := _FIELD.match(rest):
        value, rest = _joined(rest[match.end() :])
        name = match[1].lower()
        found[name] = " ".join((latex.unescaped(value) if name in _VERBATIM else latex.text(value)).split())
        rest = rest.lstrip().removeprefix(",")
    return found if "}" in rest else {}


def _joined(text: str) -> tuple[str, str]:
    """Return the values of BibTeX that `#` joins to one, and what follows them."""
    value, rest = _value(text)
    while (more := rest.lstrip()).startswith("#"):
        part, rest = _value(more[1:].lstrip())
        value += part
    return value, rest


def _value(text: str) -> tuple[str, str]:
    """Return a value of BibTeX, in braces, quotes or plain, and what follows it."""
    depth, opened = 0, text[:1]
    if opened not in ("{", '"'):
        plain = _PLAIN.match(text)
        return (plain[0], text[plain.end() :]) if plain else ("", "")
    for at, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if (opened == "{" and not depth) or (opened == '"' and at and character == '"' and not depth):
            return text[1:at], text[at + 1 :]
    return "", ""


def authors(text: str) -> Iterator[dict[str, str]]:
    """Yield the authors of a field of BibTeX: persons of CFF, and as entities those that are in braces as a whole.

    Persons are "First von Last", "von Last, First" or "von Last, Jr, First", joined by "and", in capitals too; "and
    others" at the end names nobody.
    """
    parts = [part.strip() for part in _outside_braces(r"(?i:\s+and\s+)", text)]
    for one in (part for part in parts if part not in ("", "others")):
        if one.startswith("{") and one.endswith("}") and "}" not in one[:-1]:
            yield {"name": _plain(one)}
            continue
        last, *rest = (part.strip() for part in _outside_braces(",", one))
        *words, last = _outside_braces(r"\s+", last)
        lower = [at for at, word in enumerate(words) if word[:1].islower()]
        start = lower[0] if lower else 0 if rest else len(words)
        particle = words[start : lower[-1] + 1] if lower else []
        names = {
            "family-names": " ".join([*words[start + len(particle) :], last]),
            "given-names": rest[-1] if rest else " ".join(words[:start]),
            "name-particle": " ".join(particle),
            "name-suffix": rest[0] if len(rest) > 1 else "",
        }
        yield {name: _plain(value) for name, value in names.items() if value}


def _outside_braces(separator: str, text: str) -> list[str]:
    """Return the parts of a text between separators, a regular expression, that are in no braces."""
    parts, start, depth = [], 0, 0
    for match in re.finditer(rf"[{{}}]|{separator}", text):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if match[0] not in "{}" and not depth:
            parts.append(text[start : match.start()])
            start = match.end()
    return [*parts, text[start:]]


def _plain(value: str) -> str:
    """Return a value of BibTeX without the braces that group its words."""
    return re.sub(r"[{}]", "", value)


def _message(text: str, found: Mapping[str, str]) -> str:
    if text.strip() and not found:
        return f"If you use this dataset, cite: {' '.join(text.split())}"
    return "If you use this dataset, cite it as below."


def _reference(found: Mapping[str, str], people: Sequence[Mapping[str, str]]) -> Iterator[str]:
    yield f"type: {_KINDS.get(found['ENTRYTYPE'], 'generic')}"
    yield f"title: {_text(_plain(found['title']))}"
    if (year := _plain(found.get("year", ""))).isdecimal():
        yield f"year: {int(year)}"
    for name in ("doi", "url", "journal"):
        if name in found:
            yield f"{name}: {_text(_plain(found[name]))}"
    if "eprint" in found and "url" not in found and found.get("archiveprefix", "").lower() == "arxiv":
        yield f"url: {_text('https://arxiv.org/abs/' + found['eprint'])}"
    yield "authors:"
    yield from _listed(people, "  ")


def _listed(people: Sequence[Mapping[str, str]], indent: str) -> Iterator[str]:
    for one in people:
        for at, (name, value) in enumerate(one.items()):
            yield f"{indent}{' ' if at else '-'} {name}: {_text(value)}"


def _text(value: str) -> str:
    """Return a text as JSON writes it, which is YAML, too."""
    return json.dumps(latex.unmarked(value), ensure_ascii=False)
