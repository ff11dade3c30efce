"""Accidents that happen to a file, for Hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

MANGLINGS = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(["flip", "cut", "double", "insert", "zero"]), st.binary(max_size=6)),
    min_size=1,
    max_size=4,
)


def mangled(content: bytes, manglings: list[tuple[float, str, bytes]]) -> bytes:
    """The content after some accidents at places that are given as a part of the whole."""
    changed = bytearray(content)
    for part, kind, junk in manglings:
        place, end = int(part * (len(changed) - 1)), int(part * (len(changed) - 1)) + len(junk)
        if kind == "flip" and changed:
            changed[place] ^= 1 << (len(junk) % 8)
        elif kind == "cut":
            del changed[place:]
        elif kind == "double":
            changed[place:place] = changed[place : place + 300]
        elif kind == "insert":
            changed[place:place] = junk
        else:
            changed[place:end] = bytes(len(junk))
    return bytes(changed)
