from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ben_luigi.config import TRACKED_ARTIFACTS
from ben_luigi.domain import inputs
from ben_luigi.domain.cdse.catalogue import is_id
from ben_luigi.domain.cdse.resolve import read_tile_names
from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.products.published_products import lists, read_products, require_same

TABLE = TRACKED_ARTIFACTS / "products.csv"


def test_the_table_has_the_125_products_each_once() -> None:
    products = read_products(TABLE)
    assert len(products) == len({product.name.tile_key for product in products}) == 125
    assert len({product.name.mgrs for product in products}) == 56
    assert {product.name.level for product in products} == {"L1C"}
    assert all(is_id(product.id) for product in products) and len({product.id for product in products}) == 125
    assert all(len(bytes.fromhex(product.sha256)) == 32 for product in products)


def test_both_published_lists_follow_from_it_to_the_byte() -> None:
    """Held against their pinned hashes, so that it needs no list."""
    pins = inputs.read_pinned(TRACKED_ARTIFACTS / "inputs.toml")
    made = lists(read_products(TABLE))
    for option in ("published_tile_ids_csv", "published_l1c_hashes_csv"):
        (pin,) = pins[option]
        assert hashlib.sha256(made[pin.file].encode()).hexdigest() == pin.sha256


def test_it_is_what_the_published_lists_say(published: Path) -> None:
    for name, text in lists(read_products(TABLE)).items():
        assert (published / name).read_text(encoding="utf-8") == text


def test_the_list_of_version_1_gives_the_same_products(published: Path) -> None:
    path = published / "tile_names_and_links.csv.bz2"
    if not path.exists():
        pytest.skip(f"no {path.name} in {published}")
    require_same(read_products(TABLE), read_tile_names(path), path)


def test_a_list_of_others_is_named(tmp_path: Path) -> None:
    first, *others = read_products(TABLE)
    changed = ProductName.parse(str(first.name).replace("_2017", "_2019", 1))
    with pytest.raises(BadInput, match=rf"only there {changed}; only in products\.csv {first.name}"):
        require_same([first, *others], [changed, *(product.name for product in others)], tmp_path)


@pytest.mark.parametrize("text", ["name,id\n", "name,id,sha256\nno product,1,2\n", "\0"])
def test_a_damaged_table_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "products.csv"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"products\.csv"):
        read_products(path)
