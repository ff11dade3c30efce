"""The report without a browser: what is on its pages, and that the same inputs give the same bytes."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import shapely
from pyproj import Transformer

from ben_luigi.domain.dataset.report_files import named
from ben_luigi.domain.errors import BadInput, BadTable
from ben_luigi.domain.names import PatchId
from ben_luigi.domain.placement.grid import Square
from ben_luigi.domain.report import report_map
from ben_luigi.domain.report.report import write_report
from ben_luigi.domain.report.report_leakage import COLUMNS, read_leakage
from ben_luigi.domain.report.report_tiles import grid_png, missing, states_of
from ben_luigi.domain.report.report_times import read_times
from ben_luigi.domain.report.report_words import Sources
from ben_luigi.sample.countries import write_countries
from tests.unit.report_sources import PRODUCTS, STATES, grid_of, rows, script, sources
from tests.unit.test_rendering import decoded

KEY = PRODUCTS[0].tile_key
LEAKAGE = pd.DataFrame(
    [
        ("a_00_00", "train", "b_01_00", "test", 0.25),
        ("a_00_00", "test", "c_01_00", "train", 0.75),
        ("a_00_01", "validation", "d_01_00", "test", 0.1),
    ],
    columns=COLUMNS,
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    """A small dataset."""
    return sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="module")
def folder(small: Sources, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its report."""
    folder = tmp_path_factory.mktemp("report")
    write_report(folder, small)
    return folder


def test_its_pages_and_scripts_name_all_of_its_files(folder: Path) -> None:
    """So that of what lies in its folder nothing else is published."""
    assert named(folder) == {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


class Page(HTMLParser):
    """The elements of a page: tags with attributes, ids, visible text; and that all of them are closed."""

    VOID = ("meta", "link", "img", "input", "br", "rect", "path")

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID or tag in ("rect", "path"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "

    def of(self, tag: str, attribute: str) -> list[str]:
        return [str(given[attribute]) for name, given in self.tags if name == tag and attribute in given]


def test_the_same_inputs_give_the_same_bytes(small: Sources, folder: Path, tmp_path: Path) -> None:
    order = pa.array(np.random.default_rng(3).permutation(small.rows.num_rows))
    write_report(tmp_path, replace(small, tiles=small.tiles[::-1], rows=small.rows.take(order)))
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    for name in names:
        assert (folder / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_pages_are_well_formed_and_hold_only_what_is_in_the_folder(folder: Path) -> None:
    for path in (folder / "index.html", *sorted((folder / "tiles").glob("*.html"))):
        page = Page(path)
        ids = [str(given["id"]) for _, given in page.tags if "id" in given]
        assert len(ids) == len(set(ids))
        used = page.of("img", "src") + page.of("script", "src") + page.of("link", "href") + page.of("a", "href")
        for link in used:
            assert not link.startswith(("http", "//", "/")), link
            name, _, anchor = link.partition("#")
            if link == "data:,":
                continue
            target = path if not name else (path.parent / name).resolve()
            assert target.is_file(), link
            if anchor:
                assert any(given.get("id") == anchor for _, given in Page(target).tags), link
        assert all(given.get("alt") for tag, given in page.tags if tag == "img")
        assert str(folder) not in path.read_text()


def test_words_from_outside_are_escaped(folder: Path) -> None:
    assert "&lt;less&gt;" in (folder / "index.html").read_text()
    assert "&lt;L1C &amp; more&gt;" in (folder / "tiles" / f"{KEY}.html").read_text()


def test_figures_stand_beside_the_published_ones(folder: Path) -> None:
    text = " ".join(Page(folder / "index.html").text.split())
    assert "5 pairs of patches from 1 tile" in text
    assert re.search(r"Luxembourg 1 1 1 3 3,623", text)
    assert re.search(r"Belgium 0 1 1 2 11,314", text)
    for said in (
        "1 different, 1 equal",
        "12 times: v1 name in no tile",
        f"Tile {KEY} at CDSE: superseded",
        "549,488",
        "4,711",
    ):
        assert said in text
    assert "Marine waters" in text.partition("Classes that no patch has:")[2][:400]


def test_what_is_missing_adds_up(small: Sources) -> None:
    tiles = small.tiles
    found = {name: count for name, _, count, _ in missing(tiles)}
    assert found == {"no v1 patch": 2, "no data": 2, "no land cover": 1, "product failed": 7, "no label": 1}
    assert sum(found.values()) + sum(tile.labelled for tile in tiles) == 18


def test_the_grid_has_a_pixel_a_patch(small: Sources) -> None:
    tile = next(tile for tile in small.tiles if tile.key == KEY)
    picture = decoded(grid_png(tile))
    grid = grid_of(PRODUCTS[0])
    kinds: dict[str, set[tuple[int, ...]]] = {}
    for patch_id, state in zip(grid.ids().to_pylist(), STATES[KEY], strict=True):
        patch = PatchId.parse(patch_id)
        kinds.setdefault(state, set()).add(tuple(picture[patch.y, patch.x].tolist()))
    assert all(len(colours) == 1 for colours in kinds.values())
    assert len({colour for colours in kinds.values() for colour in colours}) == len(kinds)
    assert next(iter(kinds["."]))[3] == 0


def test_metadata_and_states_must_agree(small: Sources) -> None:
    tile = next(tile for tile in small.tiles if tile.key == KEY)
    ids = sorted(rows()["patch_id"].to_pylist())
    assert tile.with_flags(ids, [True] * 5).flagged == 5
    for wrong in (ids[1:], [*ids[:-1], f"{ids[0][:-5]}01_00"]):
        with pytest.raises(BadTable, match=f"{KEY}: metadata; expected: 5 rows"):
            tile.with_flags(wrong, [False] * len(wrong))


def test_the_search_gives_back_every_row(folder: Path) -> None:
    index, tile = script(folder / "data" / "index.js"), script(folder / "data" / f"{KEY}.js")
    assert [key for key, _ in index["tiles"]] == sorted(STATES)
    assert tile["name"] == PRODUCTS[0].tile_name
    assert tile["states"] == STATES[KEY][:-1] + "B"  # the last one has snow
    ids = grid_of(PRODUCTS[0]).ids().to_pylist()
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    found = []
    for row, at in enumerate(at for at, state in enumerate(tile["states"]) if state.lower() in "abc"):
        (s1, s1_last), (v1, v1_last) = (tile[names][row].split(":") for names in ("s1_names", "v1_names"))
        found.append(
            {
                "patch_id": ids[at],
                "labels": sorted(index["classes"][digits.index(digit)] for digit in tile["labels"][row]),
                "split": index["splits"]["abc".index(tile["states"][at].lower())],
                "country": index["countries"][digits.index(tile["country"][row])],
                "s1_name": f"{tile['s1'][int(s1)]}_{s1_last}",
                "s2v1_name": f"{tile['v1'][int(v1)]}_{v1_last}",
                "contains_seasonal_snow": tile["flags"][row] in "13",
                "contains_cloud_or_shadow": tile["flags"][row] in "23",
            }
        )
    assert found == rows().sort_by("patch_id").to_pylist()
    assert tile["s1"] == sorted(tile["s1"])
    assert len(tile["s1"]) == 2


def test_a_tile_without_labels_shows_what_is_written(folder: Path) -> None:
    page = Page(folder / "tiles" / "31UGR_20171015.html")
    assert "sensor quality is FAILED" in page.text
    assert len([name for name in page.of("img", "src") if re.search(r"/\d\d_\d\d\.(webp|png)$", name)]) == 2 * 7


def test_overlaps_and_figures_that_are_equal_are_shown_where_there_are_any(
    small: Sources, folder: Path, tmp_path: Path
) -> None:
    assert 'id="leakage"' not in (folder / "index.html").read_text()
    LEAKAGE.to_csv(tmp_path / "split_leakage.csv", index=False)
    assert small.published is not None
    published = replace(small.published, country={**small.published.country, "Luxembourg": [1, 1, 1]})
    write_report(tmp_path / "report", replace(small, published=published, leakage=tmp_path / "split_leakage.csv"))
    text = " ".join(Page(tmp_path / "report" / "index.html").text.split())
    assert "3 pairs of patches of different splits overlap on the ground by more than 1 %, 5 patches in all" in text
    assert "Luxembourg 1 1 1 3 = 3" in text
    assert "test and train 2 50.0 % 75.0 %" in text
    assert "test and validation 1 10.0 % 10.0 %" in text
    assert "a_00_00 (test) and c_01_00 (train): 75.0 %" in text


def test_another_kind_of_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("patch_id,overlap\n")
    with pytest.raises(BadInput, match=r"list\.csv; expected: a CSV with columns patch_id_a"):
        read_leakage(tmp_path / "list.csv")


def test_no_overlap_is_no_pair(tmp_path: Path) -> None:
    LEAKAGE.head(0).to_csv(tmp_path / "list.csv", index=False)
    assert read_leakage(tmp_path / "list.csv") == {"pairs": 0, "patches": 0, "rows": [], "most": []}


def _polygon(path: str) -> shapely.Geometry:
    """The ground of an SVG path: its rings, holes being those that lie within others."""
    rings = [ring for ring in path.removesuffix("Z").replace("M", "").split("Z") if ring]
    polygons = [shapely.Polygon([tuple(map(float, point.split())) for point in ring.split("L")]) for ring in rings]
    ground = shapely.Polygon()
    for polygon in polygons:
        ground = ground.symmetric_difference(polygon.buffer(0))
    return ground


@pytest.mark.parametrize(
    ("country", "longitude", "latitude"),
    [("Belgium", 4.6, 50.5), ("Finland", 26.0, 63.0), ("Portugal", -8.2, 39.5), ("Serbia", 20.8, 44.5)],
)
def test_places_lie_in_their_countries(tmp_path: Path, country: str, longitude: float, latitude: float) -> None:
    write_countries(tmp_path / "countries.geojson")
    outlines = {outline.name: outline for outline in report_map.outlines(tmp_path / "countries.geojson")}
    assert outlines[country].occurs
    epsg = 32600 + int((longitude + 180) // 6) + 1
    east, north = Transformer.from_crs(4326, epsg, always_xy=True).transform(longitude, latitude)
    square = Square(east - 30_000, north + 30_000, 60_000, epsg)
    mark = report_map.mark(square)
    place = shapely.Point(mark.x + mark.side / 2, mark.y + mark.side / 2)
    assert [name for name, outline in outlines.items() if _polygon(outline.path).contains(place)] == [country]
    assert report_map.centre(square) == pytest.approx((longitude, latitude), abs=1e-3)


def test_north_is_up_and_east_is_right() -> None:
    """Of tiles of Finland and Portugal, and where the projection has its centre: 10 degrees east, 52 degrees north."""
    north, south = Square(499_980, 7_000_020, 109_800, 32635), Square(499_980, 4_400_040, 109_800, 32629)
    assert report_map.mark(north).y < report_map.mark(south).y
    assert report_map.mark(north).x > report_map.mark(south).x
    east, top = Transformer.from_crs(4326, 32632, always_xy=True).transform(10, 52)
    mark = report_map.mark(Square(east - 50_000, top + 50_000, 100_000, 32632))
    middle = mark.x + mark.side / 2, mark.y + mark.side / 2
    assert middle == pytest.approx((4321 - 2500, 5450 - 3210), abs=1)


def test_ground_keeps_its_size_on_the_map(tmp_path: Path) -> None:
    """The projection keeps areas: whole kilometres and straight borders cost little."""
    write_countries(tmp_path / "countries.geojson")
    outlines = {outline.name: outline for outline in report_map.outlines(tmp_path / "countries.geojson")}
    content = json.loads((tmp_path / "countries.geojson").read_text())
    equal_area = Transformer.from_crs(4326, "+proj=cea", always_xy=True)
    for feature in content["features"]:
        name, ring = feature["properties"]["NAME_LONG"], feature["geometry"]["coordinates"][0]
        if name == "Russian Federation":  # reaches beyond the map
            continue
        dense = shapely.segmentize(shapely.Polygon(ring), 0.1)
        km2 = shapely.transform(dense, lambda at: np.column_stack(equal_area.transform(at[:, 0], at[:, 1]))).area / 1e6
        assert _polygon(outlines[name].path).area == pytest.approx(km2, rel=0.02)


def test_what_is_not_comparable_for_one_reason_is_one_row(small: Sources, tmp_path: Path) -> None:
    many = [
        {"what": f"label L{number}", "state": "not comparable", "ours": "5", "published": "7", "note": "a sample"}
        for number in range(70)
    ]
    alone = {"what": "tile ids", "state": "not comparable", "ours": "", "published": "", "note": "no list"}
    assert small.comparison is not None
    comparison = {**small.comparison, "compared": [*small.comparison["compared"], *many, alone]}
    write_report(tmp_path, replace(small, comparison=comparison))
    section = (tmp_path / "index.html").read_text().partition('id="published"')[2].partition("</section>")[0]
    rows = section.partition("<tbody")[2].split("<tr ")[1:]
    assert len(rows) == 4
    assert section.count("a sample") == 1 and "70 values" in rows[-1] and "label L69" in rows[-1]
    assert "no list" in rows[2]


def test_the_slowest_tasks_come_first_and_the_timeline_has_all(small: Sources, tmp_path: Path) -> None:
    folder = tmp_path / "times"
    folder.mkdir()
    lines = [
        {"task": f"CutPatches(tile=T{number})", "family": "CutPatches", "began": 1000.0 + number, "seconds": number}
        for number in range(30)
    ]
    lines.append({"task": "CutPatches(tile=T3)", "family": "CutPatches", "began": 2000.0, "seconds": 500.0})
    lines.append({"task": "ListHashes()", "family": "ListHashes", "began": 1000.0, "seconds": 0.5})
    (folder / "one.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"task": "cut sho')
    times = read_times(folder)
    assert len(times) == 31
    write_report(tmp_path / "report", replace(small, times=times))
    page = (tmp_path / "report" / "times.html").read_text()
    slowest = re.findall(r'<th scope="row">(\S+)</th><td>([^<]+)</td><td>1970', page)
    assert slowest[:2] == [("CutPatches(tile=T3)", "8 min"), ("CutPatches(tile=T29)", "29.0 s")]
    assert len(slowest) == 25 and page.count("<rect ") == 31
    bars = [(float(x), float(width)) for x, width in re.findall(r'<rect x="([\d.]+)" y="1" width="([\d.]+)"', page)]
    assert max(x + width for x, width in bars) == pytest.approx(1000)
    assert 'href="times.html"' in (tmp_path / "report" / "index.html").read_text()


@pytest.mark.parametrize(
    "wrong",
    [
        {"task": ["a"]},
        {"task": None},
        {"family": {}},
        *({name: value} for name in ("began", "seconds") for value in (math.nan, math.inf, 1e300, 10**400, -1, None)),
    ],
)
def test_a_line_of_times_that_no_task_has_written_is_skipped(tmp_path: Path, wrong: dict[str, Any]) -> None:
    good = {"task": "a()", "family": "a", "began": 1000.0, "seconds": 1.0}
    lines = [json.dumps({**good, "task": "b()", **wrong}), "[" * 100_000, json.dumps(good)]
    (tmp_path / "one.jsonl").write_text("\n".join(lines))
    (one,) = read_times(tmp_path)
    assert one.task == "a()"


def test_the_part_of_a_map_without_classes_is_that_of_the_recipe() -> None:
    for limit, part in ((0.25, "a quarter"), (0.125, "12.5 %"), (1.0, "100 %")):
        for is_v2 in (True, False):
            states = states_of(is_v2=is_v2, unlabeled_limit=limit)
            (said,) = [why for name, why, *_ in missing([], states) if name == "no label"]
            assert said == f"{part} of the map or more has no class"


def test_the_page_of_statistics_shows_what_the_file_has(small: Sources, tmp_path: Path) -> None:
    of_counts = {"pixels": 1234, "mean": 411.5, "standard_deviation": 2.25, "minimum": 0, "maximum": 65535}
    found = {**of_counts, "percentiles": {"1": 3.0, "2": 4.0, "50": 410.0, "98": 700.0, "99": 1234.0}}
    of_class = {"patches": 7, "positive_weight": 1.5}
    statistics = {
        "band_order": {"s2_10m": ["B02", "B03"]},
        "offset_tiles": ["S2A_33UUP", "S2B_34TEN"],
        "bands": {
            "B02": {"pixel_m": 10, "unit": "reflectance and more", "statistics": {"train": found, "overall": found}}
        },
        "classes": {"Pastures": dict.fromkeys(("train", "validation", "test", "flagged", "overall"), of_class)},
    }
    write_report(tmp_path / "report", replace(small, statistics=statistics))
    page = (tmp_path / "report" / "statistics.html").read_text()
    assert "<p>Sentinel-2 is reflectance and more, " in page
    assert "1,000 is to be subtracted: S2A_33UUP, S2B_34TEN. Bands" in page
    figures = "<td>411.50</td><td>2.25</td><td>0</td><td>65,535</td><td>3.00</td>"
    assert page.count(f'<th scope="row">B02 <small>10 m</small></th><td>1,234</td>{figures}') == 2
    assert '<th scope="row">Pastures</th><td>7</td><td>7</td><td>7</td><td>7</td><td>1.50</td>' in page
    assert json.loads((tmp_path / "report" / "statistics.json").read_text()) == statistics
    assert 'href="statistics.html"' in (tmp_path / "report" / "index.html").read_text()
