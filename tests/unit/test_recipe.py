"""A recipe is read and checked as a whole; everything that is wrong is said at once, with its line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from datetime import date
from pathlib import Path

import pytest
import rasterio
from packaging.licenses._spdx import LICENSES
from rasterio.transform import from_origin

from ben_luigi.config import TRACKED_ARTIFACTS
from ben_luigi.domain.dataset.about import V2, About
from ben_luigi.domain.errors import BadInput, BadName
from ben_luigi.domain.placement.country import COUNTRIES
from ben_luigi.domain.recipe import parts, reading, rules, template
from ben_luigi.domain.recipe.lines import lines_of
from ben_luigi.domain.recipe.model import Recipe
from ben_luigi.domain.recipe.words import described
from tests.unit.wrong_recipes import ALONE, WRONG

DEFAULT = TRACKED_ARTIFACTS / reading.FOLDER / reading.DEFAULT_FILE
Write = Callable[..., Path]


def _mine() -> str:
    return template.text("my-region", TRACKED_ARTIFACTS)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write the template as mine.toml, with parts of it replaced."""

    def written(*changes: tuple[str, str]) -> Path:
        text = _mine()
        for before, after in changes:
            assert text.count(before) >= 1, before
            text = text.replace(before, after, 1)
        path = tmp_path / "mine.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return written


def _said(path: Path) -> list[str]:
    recipe, findings = reading.check(path, TRACKED_ARTIFACTS, path.name)
    assert (recipe is None) == bool(findings)
    return [str(one) for one in findings]


def test_the_default_recipe_says_what_bigearthnet_v2_is() -> None:
    recipe = reading.read(DEFAULT, TRACKED_ARTIFACTS)
    assert recipe.is_default and recipe.is_aligned
    assert (recipe.name, recipe.version, recipe.license) == ("bigearthnet-v2", "2.0.0", "CDLA-Permissive-1.0")
    assert (recipe.products.level, recipe.products.list, recipe.patches.side_m) == ("L1C", "tile_names_csv", 1200)
    assert recipe.countries.names == COUNTRIES
    assert recipe.land_cover.nomenclature == TRACKED_ARTIFACTS / "nomenclature.toml"
    assert len(DEFAULT.read_text(encoding="utf-8").splitlines()) <= 60, "it is read in two minutes"


def test_the_default_recipe_says_what_the_descriptions_of_the_dataset_say() -> None:
    assert About.of(reading.read(DEFAULT, TRACKED_ARTIFACTS)) == V2


def test_the_template_is_a_recipe_that_differs_from_the_default(write: Write) -> None:
    recipe = reading.read(write(), TRACKED_ARTIFACTS)
    assert (recipe.name, recipe.title, recipe.is_default, recipe.is_aligned) == ("my-region", "my-region", False, False)
    search = recipe.products.search
    assert search and (search.tiles, search.since, search.until) == (("32TQM",), date(2023, 6, 1), date(2023, 8, 31))


def test_an_unchanged_copy_of_the_default_is_the_default(tmp_path: Path) -> None:
    copy = tmp_path / "copy.toml"
    copy.write_bytes(DEFAULT.read_bytes())
    recipe = reading.read(copy, TRACKED_ARTIFACTS)
    assert recipe == reading.read(DEFAULT, TRACKED_ARTIFACTS) and recipe.is_default
    (tmp_path / "nomenclature.toml").write_text('[[class]]\nname = "x"\ncodes = [1]\n[codes]\n1 = "x"\n')
    assert [line.split(";")[0] for line in _said(copy)] == [
        "copy.toml:6: name: found 'bigearthnet-v2'",
        "copy.toml:7: title: found 'BigEarthNet v2'",
        "copy.toml:10: citation: found the paper on BigEarthNet v2",
    ], "with other classes it is another dataset"


def test_a_changed_default_cannot_keep_its_name(tmp_path: Path) -> None:
    changed = tmp_path / "changed.toml"
    text = DEFAULT.read_text(encoding="utf-8")
    changed.write_text(text.replace("unlabeled_limit = 0.25", "unlabeled_limit = 0.3"), encoding="utf-8")
    assert {line.split(":")[2].strip() for line in _said(changed)} == {"name", "title", "citation"}
    changed.write_text(template.text("mine", TRACKED_ARTIFACTS, like="bigearthnet_v2"), encoding="utf-8")
    assert reading.read(changed, TRACKED_ARTIFACTS).name == "mine"


@pytest.mark.parametrize(("change", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said(change: tuple[str, str], said: list[str], write: Write) -> None:
    lines = _said(write(change))
    assert lines and max(map(len, lines)) <= 240, "three lines of a terminal"
    for words in said:
        assert any(words in line for line in lines), lines
    assert all(line.startswith("mine.toml:") for line in lines if "found nothing;" not in line)


@pytest.mark.parametrize(("key", "changes"), ALONE.items(), ids=ALONE)
def test_a_key_with_a_wrong_value_is_not_taken_for_one_that_is_missing(
    key: str, changes: list[tuple[str, str]], write: Write
) -> None:
    lines = _said(write(*changes))
    assert len(lines) == 1 and f" {key}: found " in lines[0], lines


def test_a_folder_is_not_proposed_in_its_own_place(write: Write, tmp_path: Path) -> None:
    (tmp_path / "cover.tif").mkdir()
    (line,) = _said(write(('"clc_gpkg"', '"cover.tif"'), ("code = ", "# "), ("order = ", "# ")))
    assert "[land_cover] file: found a folder at" in line and "did you mean" not in line


@pytest.mark.parametrize(
    ("license", "said"),
    [("CC-BY4.0", "; did you mean CC-BY-4.0?"), ("mit", "; did you mean MIT?"), ("our own", None), ("qqqq", "")],
)
def test_a_licence_that_spdx_does_not_have_is_told(license: str, said: str | None, write: Write) -> None:
    (line,) = _said(write(('license = "CC-BY-4.0"', f'license = "{license}"')))
    assert f"license: found '{license}'" in line
    assert said is None or f"'{license}'{said}; allowed: one of SPDX 3.27, or LicenseRef-NAME" in line


def test_a_licence_may_be_any_of_spdx_or_one_s_own(write: Write) -> None:
    """The list is that of another library, which has it from SPDX itself."""
    known = Path(rules.__file__).with_name("spdx_licenses.txt").read_text(encoding="utf-8").split()
    assert {one["id"] for one in LICENSES.values()} == set(known)
    for license in ("MIT", "0BSD", "CDLA-Permissive-1.0", "LicenseRef-Our-Own.2"):
        path = write(('license = "CC-BY-4.0"', f'license = "{license}"'))
        assert reading.read(path, TRACKED_ARTIFACTS).license == license


def test_everything_that_is_wrong_is_said_at_once_in_the_order_of_the_file(write: Write) -> None:
    path = write(("side_m = 1200", "side_m = 1"), ('license = "CC-BY-4.0"', "license = 4"), ("seed = 1", "sed = 1"))
    at = {line.partition(" ")[0]: number for number, line in enumerate(path.read_text().splitlines(), start=1)}
    assert [line.split(";")[0] for line in _said(path)] == [
        f"mine.toml:{at['license']}: license: found 4",
        f"mine.toml:{at['side_m']}: [patches] side_m: found 1",
        f"mine.toml:{at['sed']}: [split] sed: found no such key",
    ]
    with pytest.raises(BadInput, match=r"license: 4, .*side_m: 1, .*sed: no such key"):
        reading.read(path, TRACKED_ARTIFACTS)


CODES = '[[class]]\nname = "Water"\ncodes = [80]\n[codes]\n80 = "Water"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CODES.replace("[80]", "[80, 80]"), "twice: [80]"),
        (CODES.replace("[80]", "[80, 90]"), "not in [codes]: [90]"),
        (CODES.replace("80", "0"), "impossible: [0]"),
        (CODES.replace("80", "999"), "999, which means that there is nothing"),
        ("nothing = 80\n" + CODES, "80, which means that there is nothing"),
        (CODES + "[colour]\n81 = [1, 2, 3]\n", "without a code or a colour: [80, 81]"),
        (CODES.replace('"Water"\nc', '"UNLABELED"\nc'), "a class UNLABELED"),
        (CODES + "[colours]\n", "unknown keys: ['colours']"),
    ],
)
def test_codes_that_overlap_or_lack_are_named(text: str, said: str, write: Write, tmp_path: Path) -> None:
    (tmp_path / "nomenclature.toml").write_text(text)
    assert [line for line in _said(write()) if "[land_cover] nomenclature" in line and said in line]


def test_files_are_relative_to_the_recipe_and_a_raster_has_no_columns(write: Write, tmp_path: Path) -> None:
    (tmp_path / "cover.tif").touch()
    (tmp_path / "nomenclature.toml").write_text(CODES)
    lines = _said(write(('"clc_gpkg"', '"cover.tif"')))
    assert [line.split(";")[0].split(": ", 1)[1] for line in lines] == [
        "[land_cover] code: found code with a raster",
        "[land_cover] order: found order with a raster",
    ]
    recipe = reading.read(
        write(('"clc_gpkg"', '"cover.tif"'), ("code = ", "# "), ("order = ", "# ")), TRACKED_ARTIFACTS
    )
    assert recipe.land_cover.file == tmp_path / "cover.tif"
    assert recipe.land_cover.nomenclature == tmp_path / "nomenclature.toml"


def test_a_layer_must_fit_the_side_of_a_patch(write: Write, tmp_path: Path) -> None:
    place = {"crs": "EPSG:4326", "transform": from_origin(0, 1, 1, 1), "width": 1, "height": 1, "count": 1}
    with rasterio.open(tmp_path / "dem.tif", "w", driver="GTiff", dtype="float32", **place):
        pass
    layer = '[layers.dem]\npath = "dem.tif"\nresolution_m = 40\nresampling = "bilinear"\ndtype = "float32"\n'
    path = write(("side_m = 1200", "side_m = 1260"))
    path.write_text(path.read_text() + layer)
    assert "[layers.dem] resolution_m: found 40, which does not divide the side of a patch, 1260 m" in _said(path)[0]
    path.write_text(path.read_text().replace("1260", "1200"))
    assert reading.read(path, TRACKED_ARTIFACTS).layers[0].path == str(tmp_path / "dem.tif")


@pytest.mark.parametrize("name", ["My Region", "x", "bigearthnet-v2", "../x", "reben-2"])
def test_a_new_recipe_needs_a_name_of_its_own(name: str) -> None:
    with pytest.raises(BadName, match="found: another name"):
        template.text(name, TRACKED_ARTIFACTS)


def test_lines_of_keys_are_found_after_texts_of_several_lines() -> None:
    text = 'a = """x\nb = 1\n"""\n[s]\nb = 2 # [t]\n[s.t]\n"c" = """1"""\nd = 3\n'
    assert lines_of(text) == {
        ("a",): 1,
        ("s",): 4,
        ("s", "b"): 5,
        ("s", "t"): 6,
        ("s", "t", "c"): 7,
        ("s", "t", "d"): 8,
    }


def test_the_default_adds_nothing_and_another_recipe_only_what_counts() -> None:
    default = reading.read(DEFAULT, TRACKED_ARTIFACTS)
    keys = [field.name for field in fields(Recipe) if field.name != "path"]
    assert parts.differing(default, default, keys) == {}
    other = replace(default, name="other", patches=replace(default.patches, side_m=2400))
    assert parts.differing(other, default, ["split", "seasons.rule", "patches.keep"]) == {}
    assert parts.differing(other, default, ["patches.side_m", "split"]) == {"recipe": {"patches.side_m": 2400}}
    assert parts.differing(other, default, ["name"]) == {"recipe": {"name": "other"}}


def test_the_recipe_in_a_dataset_is_read_without_the_files_that_it_names(write: Write, tmp_path: Path) -> None:
    """They are on the disk of whoever made it; but it may call itself BigEarthNet v2 there no more than elsewhere."""
    nomenclature = tmp_path / "in_dataset.toml"
    nomenclature.write_bytes((TRACKED_ARTIFACTS / "nomenclature.toml").read_bytes())
    layer = (
        '\n[layers.dem]\npath = "/gone/dem_{tile}.tif"\nresolution_m = 10\nresampling = "nearest"\ndtype = "int16"\n'
    )
    path = write()
    text = path.read_text(encoding="utf-8").replace('"nomenclature.toml"', '"/gone/mine.toml"') + layer
    path.write_text(text, encoding="utf-8")
    recipe = reading.read_enclosed(path, nomenclature, TRACKED_ARTIFACTS)
    assert recipe.name == "my-region" and recipe.land_cover.nomenclature == nomenclature
    assert [one.name for one in recipe.layers] == ["dem"]
    start = text.index("search = {")
    like = text[:start] + 'search = { same_as = "/gone/list.csv" }' + text[text.index("}", start) + 1 :]
    path.write_text(like, encoding="utf-8")
    search = reading.read_enclosed(path, nomenclature, TRACKED_ARTIFACTS).products.search
    assert search and search.same_as == "tile_names_csv"
    path.write_text(text.replace('name = "my-region"', 'name = "bigearthnet-v2"'), encoding="utf-8")
    with pytest.raises(BadInput, match="bigearthnet-v2"):
        reading.read_enclosed(path, nomenclature, TRACKED_ARTIFACTS)


def test_a_search_for_the_same_places_and_days_is_described_by_its_list() -> None:
    """And not by dates, cloud and groups, which it does not have."""
    twin = reading.read(DEFAULT.with_name("collection1_twin.toml"), TRACKED_ARTIFACTS)
    searched = "searched: of the same squares, days and orbits as those of [inputs] tile_names_csv"
    assert described(twin)["products"].split("; ")[-1] == searched
    region = reading.read(DEFAULT.with_name("region_year.toml"), TRACKED_ARTIFACTS)
    assert "1 MGRS square, 2025-03-01 to 2026-02-28, at most 20 % cloud" in described(region)["products"]
