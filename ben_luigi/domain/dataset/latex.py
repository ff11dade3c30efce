"""Turn what LaTeX writes with commands, as accents in BibTeX, into the characters themselves (Unicode, composed).

BibTeX's own programs know only ASCII and commands, biber takes both: a citation may have either.
"""

from __future__ import annotations

import re
import unicodedata

_ACCENTS = {
    "`": 0x300, "'": 0x301, "^": 0x302, "~": 0x303, "=": 0x304, "u": 0x306, ".": 0x307, '"': 0x308, "r": 0x30A,
    "H": 0x30B, "v": 0x30C, "d": 0x323, "c": 0x327, "k": 0x328, "b": 0x331,
}  # fmt: skip
"""The combining character of each command that puts an accent on the next letter."""
_LETTERS = {
    "ss": "ß", "ae": "æ", "AE": "Æ", "oe": "œ", "OE": "Œ", "aa": "å", "AA": "Å", "o": "ø", "O": "Ø", "l": "ł",
    "L": "Ł", "i": "i", "j": "j", "dh": "ð", "DH": "Ð", "th": "þ", "TH": "Þ", "dj": "đ", "DJ": "Đ",
}  # fmt: skip
"""The letter of each command that is one; the dotless ones are only written under accents."""
_LETTER = "|".join(sorted(_LETTERS, key=len, reverse=True))
_BASE = r"(?:\\(?:i|j)(?![A-Za-z])\s*|[^\W\d_])"
_ACCENTED = re.compile(
    rf"\{{?\\(?:(?P<sign>[`'^~=.\"])\s*|(?P<name>[uvHcdbkr])(?:\s+|(?=\{{)))"
    rf"(?:\{{\s*(?P<inner>{_BASE})\}}|(?P<bare>{_BASE}))"
)
_COMMAND = re.compile(rf"\\(?P<letter>{_LETTER})(?![A-Za-z])(?:\{{\}}|\s+(?=\w)|)")
_ESCAPED = re.compile(r"\\([&%$#_ ])")
_PUNCTUATION = {"---": "\u2014", "--": "\u2013", "``": "\u201c", "''": "\u201d", "~": " "}
_BRACES = str.maketrans({"\ue000": "{", "\ue001": "}"})


def text(value: str) -> str:
    """Return a value of BibTeX with characters in place of commands; braces that group words are kept."""
    value = value.replace(r"\{", "\ue000").replace(r"\}", "\ue001")
    value = _ACCENTED.sub(_accented, value)
    value = _COMMAND.sub(lambda match: _LETTERS[match["letter"]], value)
    value = unescaped(value)
    for written, meant in _PUNCTUATION.items():
        value = value.replace(written, meant)
    return unicodedata.normalize("NFC", value)


def unescaped(value: str) -> str:
    """Return a text with the characters that LaTeX would take for commands, where they are written as such."""
    return _ESCAPED.sub(r"\1", value)


def unmarked(value: str) -> str:
    """Return a text with the braces that LaTeX writes as commands, once those that group words are gone."""
    return value.translate(_BRACES)


def _accented(match: re.Match[str]) -> str:
    base = re.sub(r"\\|\s", "", match["inner"] or match["bare"])
    opened = "{" if match[0].startswith("{") else ""
    return f"{opened}{base}{chr(_ACCENTS[match['sign'] or match['name']])}"
