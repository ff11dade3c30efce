"""Serve the sources of the sample world on loopback, such that its run shows how what one of them lacks is recovered.

31UGR_20171015   in the bucket, where one band is damaged; CDSE has it whole
31UGR_20180508   only in the bucket: CDSE lists it, and has it offline
the others       only at CDSE, where the first request for each fails

The first L2A product of another recipe's world is in the bucket, where one band is damaged; all of them are at CDSE.
"""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from typing import Self

from ben_luigi.domain.names import ProductName
from ben_luigi.sample.bucket_server import BucketServer
from ben_luigi.sample.cdse_faults import Fault, Record, sample_faults
from ben_luigi.sample.cdse_server import CdseServer
from ben_luigi.sample.layout import World
from ben_luigi.sample.objects import objects_of

DAMAGED, OFFLINE = "31UGR_20171015", "31UGR_20180508"
"""Tiles whose products are in the bucket: one with a damaged band, and one that CDSE has offline."""
BAND = re.compile(r"_B04(_10m)?\.jp2$")
"""How the name of the damaged band ends."""


class SampleSources:
    """The bucket and CDSE of a sample world, on free ports of 127.0.0.1 while the `with` block lasts."""

    def __init__(self, world: World) -> None:
        records: list[Record] = json.loads(world.catalogue.read_text(encoding="utf-8"))
        tiles = {ProductName.parse(record["Name"]): record for record in records if record.get("File")}
        stored = {name.tile_key: world.product_zip(name) for name in tiles}
        is_l1c = all(name.level == "L1C" for name in tiles)
        first, offline = (DAMAGED, [OFFLINE]) if is_l1c else (min(stored), [])
        damaged, alone = objects_of([stored[first]]), objects_of(stored[tile] for tile in offline)
        (band,) = filter(BAND.search, damaged)
        self._bucket = BucketServer({**damaged, **alone}, [Fault("object", "flipped bit", None, band)])
        for name, record in tiles.items():
            record["Online"] = name.tile_key not in offline
        only_there = [record for name, record in tiles.items() if name.tile_key not in (first, *offline)]
        self._cdse = CdseServer(records, world.folder, sample_faults(only_there))
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(self._bucket)
        self._stack.enter_context(self._cdse)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def addresses(self) -> dict[str, str]:
        """The URLs of both."""
        return {**self._cdse.addresses, "bucket_url": self._bucket.url}
