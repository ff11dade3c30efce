"""Write CDSE's catalogue of the sample world: the four products, and others that a careless query would find."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from datetime import timedelta

from ben_luigi.domain.files import file_hash
from ben_luigi.domain.names import ProductName
from ben_luigi.sample.layout import World
from ben_luigi.sample.scenes import SCENES

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://catalogue.dataspace.copernicus.eu/sample")
_OTHERS = (
    "S2B_MSIL1C_20171018T105029_N0205_R051_T31UGR_20171018T105524.SAFE",
    "S2A_MSIL1C_20180206T093201_N0206_R136_T35VPK_20180206T113021.SAFE",
)
_REPROCESSED = "20230815T101500"


def write_catalogue(world: World) -> None:
    """Write the catalogue of the products in `world`, and of others without a file: other dates, and baseline 05.00."""
    products = [scene.product for scene in SCENES]
    reprocessed = [replace(product, baseline="N0500", discriminator=_REPROCESSED) for product in products]
    others = [*reprocessed, *map(ProductName.parse, _OTHERS)]
    entries = [entry_with_file(product, world) for product in products] + [entry(product) for product in others]
    entries.sort(key=lambda each: str(each["Name"]))
    world.catalogue.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")


def entry_with_file(product: ProductName, world: World) -> dict[str, object]:
    """Return a product whose zip is in `world`, as CDSE's OData interface spells it; `File` is the zip."""
    file = world.product_zip(product)
    spelled = _entry(product, file.stat().st_size, file_hash(file, "md5"))
    return spelled | {"File": file.relative_to(world.folder).as_posix()}


def entry(product: ProductName) -> dict[str, object]:
    """Return a product without a file, as CDSE's OData interface spells it."""
    return _entry(product, 800_000_000, uuid.uuid5(_NAMESPACE, f"content of {product}").hex)


def _entry(product: ProductName, length: int, md5: str) -> dict[str, object]:
    """Return a product as CDSE's OData interface spells it."""
    start = product.sensing_time
    published = f"{start + timedelta(hours=5):%Y-%m-%dT%H:%M:%S}.000000Z"
    sensed = f"{start:%Y-%m-%dT%H:%M:%S}.026000Z"
    return {
        "@odata.mediaContentType": "application/octet-stream",
        "Id": str(uuid.uuid5(_NAMESPACE, str(product))),
        "Name": str(product),
        "ContentType": "application/octet-stream",
        "ContentLength": length,
        "OriginDate": published,
        "PublicationDate": published,
        "ModificationDate": published,
        "Online": True,
        "EvictionDate": "9999-12-31T23:59:59.999999Z",
        "S3Path": f"/eodata/Sentinel-2/MSI/{product.level}/{start:%Y/%m/%d}/{product}",
        "Checksum": [{"Value": md5, "Algorithm": "MD5", "ChecksumDate": published}],
        "ContentDate": {"Start": sensed, "End": sensed},
        "Footprint": None,
        "GeoFootprint": None,
    }
