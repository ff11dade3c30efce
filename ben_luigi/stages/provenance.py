"""Where each tile comes from, and what it was made with."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import ben_luigi
from ben_luigi import config
from ben_luigi.domain import files
from ben_luigi.domain.dataset.provenance import software
from ben_luigi.stages.derived import Derived
from ben_luigi.stages.download import l1c_task
from ben_luigi.stages.resolve import known_tiles, product_of, source, tiles
from ben_luigi.stages.tiles import KEPT, ProcessTiles, rows_made
from ben_luigi.state import database
from ben_luigi.state.targets import MadeFile

_ROWS = """
SELECT tile, l2a_name, baseline, start_time::text AS start_time, boa_offset,
       general_quality, geometric_quality, radiometric_quality, sensor_quality,
       (SELECT count(*) FROM patch p WHERE p.tile = product.tile AND valid) AS patches,
       (SELECT count(DISTINCT patch_id) FROM clc_count JOIN patch p USING (patch_id) WHERE p.tile = product.tile)
           AS reference_maps,
       (SELECT count(DISTINCT patch_id) FROM label JOIN patch p USING (patch_id) WHERE p.tile = product.tile)
           AS labelled
FROM product WHERE tile = ANY(%(tiles)s) ORDER BY tile
"""


class WriteProvenance(Derived):
    """`provenance.json`: for each tile its products, hashes and counts; versions of all software."""

    def requires(self) -> Any:
        """All tiles."""
        return ProcessTiles()

    def output(self) -> MadeFile:
        """The file."""
        made_from = {"rows": rows_made(*KEPT), "tiles": list(known_tiles()), "form": files.form(Path(__file__))}
        subset = {"subset": config.selection()} if config.selection() else {}
        return MadeFile(f"{config.result_folder()}/provenance.json", {**made_from, **subset})

    def make(self) -> None:
        """Collect what was noted on the way."""
        rows = database.query(_ROWS, tiles=list(tiles())).to_dict("records")
        by_tile = {str(row["tile"]): {**row, **products(str(row["tile"]))} for row in rows}
        content = {
            "software": software(ben_luigi.__version__),
            "settings": {
                "source": source(),
                "accept_superseded": bool(config.cdse().accept_superseded),
                "accept_offset": config.tile().accept_offset,
                "subset": config.selection(),
            },
            "tiles": by_tile,
        }
        target = self.output()
        files.write_text(target.file, json.dumps(content, indent=1, sort_keys=True) + "\n")
        target.record(files.file_hash(target.file))


def products(tile: str) -> dict[str, Any]:
    """What was noted of a tile's products: none of it, if the user's own L2A products were taken."""
    if source() == "l2a_dir":
        return {}
    note = json.loads((config.data_dir() / "l2a" / tile / "product.json").read_text(encoding="utf-8"))
    report = l1c_task(tile).report()
    kept = ("id", "name", "sha256", "verified_by", "not_verified")
    said = {name: report[name] for name in kept if name in report}
    return {"l1c": {**said, **_state(str(product_of(tile)))}, "sen2cor": note["sen2cor"]}


def _state(name: str) -> dict[str, str]:
    """What CDSE's catalogue said of the product."""
    path = config.data_dir() / "tiles" / "states.csv"
    if source() != "tile_names_csv" or not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = {row["tile"]: row for row in csv.DictReader(file)}
    return {key: rows[name][key] for key in ("state", "note") if name in rows}
