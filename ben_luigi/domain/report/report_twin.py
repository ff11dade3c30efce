"""Show how the pixels of the dataset differ from those of its twin: figures and strips of marks by band."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from ben_luigi.domain.dataset.twin import ALL

WIDTH = 120
"""The width of a strip, in the units of its SVG."""

_MARGIN = 4.0
_NOT_KNOWN = "not known"
_Row = Mapping[str, Any]


class _Axis(NamedTuple):
    """What a strip shows: its name, the column, the value that is no difference, and the least span below and above."""

    name: str
    column: str
    same: float
    below: float
    above: float
    digits: int


_AXES = (
    _Axis("shift x", "shift_x_px", 0.0, 1.0, 1.0, 1),
    _Axis("shift y", "shift_y_px", 0.0, 1.0, 1.0, 1),
    _Axis("offset", "offset", 0.0, 10.0, 10.0, 0),
    _Axis("scale", "scale", 1.0, 0.01, 0.01, 3),
    _Axis("correlation", "correlation", 1.0, 0.01, 0.0, 3),
)
_DIGITS = {"shift_x_px": 1, "shift_y_px": 1, "offset": 1, "scale": 4, "correlation": 4}


def shown(table: pa.Table) -> dict[str, Any]:
    """Return what the template shows of the table that `twin.compare` returns."""
    rows: list[_Row] = table.to_pylist()
    of_tiles = [row for row in rows if row["tile"] != ALL]
    ends = {axis: _ends(axis, of_tiles) for axis in _AXES}
    return {
        "tiles": len({row["tile"] for row in of_tiles}),
        "days": _days([row["days_later"] for row in of_tiles]),
        "width": WIDTH,
        "axes": [
            {"name": axis.name, "low": _said(low, axis), "high": _said(high, axis)}
            for axis, (low, high) in ends.items()
        ],
        "rows": [
            {
                "band": row["band"],
                "pixel_m": row["pixel_m"],
                "patches": row["patches"],
                "figures": _figures(row),
                "strips": [
                    _strip(axis, ends[axis], [one for one in of_tiles if one["band"] == row["band"]]) for axis in _AXES
                ],
            }
            for row in rows
            if row["tile"] == ALL
        ],
    }


def _figures(row: _Row) -> list[str]:
    figures = [_NOT_KNOWN if row[name] is None else f"{row[name]:.{digits}f}" for name, digits in _DIGITS.items()]
    return [*figures, _NOT_KNOWN if row["equal"] is None else f"{100 * row['equal']:.1f} %"]


def _ends(axis: _Axis, rows: Sequence[_Row]) -> tuple[float, float]:
    values = [row[axis.column] for row in rows if row[axis.column] is not None]
    return min([axis.same - axis.below, *values]), max([axis.same + axis.above, *values])


def _strip(axis: _Axis, ends: tuple[float, float], rows: Sequence[_Row]) -> dict[str, Any]:
    def place(value: float) -> float:
        return round(_MARGIN + (WIDTH - 2 * _MARGIN) * (value - ends[0]) / (ends[1] - ends[0]), 1)

    marks = [
        {"x": place(row[axis.column]), "title": f"{row['tile']}: {_said(row[axis.column], axis)}"}
        for row in rows
        if row[axis.column] is not None
    ]
    return {"label": f"{axis.name} of {len(marks)} tiles", "same": place(axis.same), "marks": marks}


def _said(value: float, axis: _Axis) -> str:
    return f"{value:.{axis.digits}f}"


def _days(later: Sequence[int]) -> str:
    """Return when the other images were sensed."""
    if not any(later):
        return "on the same days"
    least, most = min(later), max(later)
    between = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    return f"{between} days later" if least >= 0 else f"{between} days later (negative: earlier)"
