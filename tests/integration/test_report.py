"""The report of the sample run as people see it: in a browser, at desktop and phone width, by keyboard, on paper."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow.parquet as pq
import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from ben_luigi.domain.files import file_hash
from ben_luigi.domain.formats.shards import read_index
from tests.integration.browser import (
    DESKTOP,
    LOCAL,
    PAPER,
    PHONE,
    chromium,
    colour,
    console_errors,
    contrast,
    luminance,
    requested,
    show,
    wait,
)
from tests.integration.running import Run
from tests.unit.report_sources import script


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """One browser for all tests of this module."""
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def report(sample_run: Run) -> Path:
    """The folder of the report."""
    return sample_run.data / "dataset" / "report"


def _open(browser: webdriver.Chrome, page: Path, size: tuple[int, int] = DESKTOP, **media: str) -> None:
    show(browser, page.as_uri(), size, **media)


def _rows(run: Run) -> list[dict[str, Any]]:
    paths = sorted((run.data / "dataset").glob("metadata*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def _search(browser: webdriver.Chrome, text: str) -> str:
    box = browser.find_element(By.ID, "query")
    box.clear()
    browser.execute_script("document.getElementById('found').replaceChildren()")
    box.send_keys(text, Keys.ENTER)
    wait(browser, "document.getElementById('found').childElementCount")
    return browser.find_element(By.ID, "found").text


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_pages_are_whole_at_both_widths(browser: webdriver.Chrome, report: Path, size: tuple[int, int]) -> None:
    """No word in the console, every picture there, no scrolling sideways, nothing from elsewhere."""
    pages = [report / "index.html", *sorted((report / "tiles").glob("*.html"))]
    assert len(pages) == 5
    for page in pages:
        _open(browser, page, size)
        browser.execute_script("document.querySelectorAll('img').forEach(image => image.loading = 'eager')")
        wait(browser, "[...document.images].every(image => image.complete)")
        assert browser.execute_script("return [...document.images].filter(image => !image.naturalWidth).length") == 0
        assert browser.execute_script("return document.images.length") > 0
        wide = "return [document.documentElement.scrollWidth, window.innerWidth]"
        scrolled, seen = browser.execute_script(wide)
        assert seen == size[0]
        assert scrolled <= seen
        asked = requested(browser)
        assert f"{(report / 'assets' / 'report.css').as_uri()}" in asked
        assert [address for address in asked if not address.startswith(LOCAL)] == []
        assert console_errors(browser) == []


def test_links_lead_somewhere(browser: webdriver.Chrome, report: Path) -> None:
    for page in (report / "index.html", next((report / "tiles").glob("*.html"))):
        _open(browser, page)
        links = browser.execute_script("return [...document.querySelectorAll('a')].map(a => a.href.baseVal ?? a.href)")
        assert links
        ids: dict[Path, set[str]] = {}
        for link in links:
            parts = urlsplit(link if "://" in link else f"{page.as_uri()}{link}")
            target = Path(unquote(parts.path))
            assert target.is_relative_to(report) and target.is_file(), link
            ids.setdefault(target, set()).add(parts.fragment)
        for target, anchors in ids.items():
            text = target.read_text(encoding="utf-8")
            assert all(f'id="{anchor}"' in text for anchor in anchors if anchor), target


def test_a_patch_is_found_by_its_id(browser: webdriver.Chrome, report: Path, sample_run: Run) -> None:
    rows = _rows(sample_run)
    _open(browser, report / "index.html", PHONE)
    for row in (rows[0], rows[-1]):
        said = _search(browser, row["patch_id"])
        assert said.splitlines()[:2] == [row["patch_id"], "In the dataset."]
        for value in ("split", "country", "s1_name", "s2v1_name"):
            assert row[value] in said
        assert "; ".join(row["labels"]) in said
        assert ("seasonal snow" in said) == row["contains_seasonal_snow"]
        assert ("cloud or shadow" in said) == row["contains_cloud_or_shadow"]
    assert console_errors(browser) == []


def test_a_patch_that_is_not_there_is_told_why(browser: webdriver.Chrome, report: Path, sample_run: Run) -> None:
    """From another page; by a part of the tile's name; and when there is no such tile."""
    present = {row["patch_id"] for row in _rows(sample_run)}
    tile = "S2B_MSIL2A_20180204T094159_N9999_R036_T35VNJ"
    absent = next(f"35VNJ_0{x}_0{y}" for x in range(3) for y in range(6, 10) if f"{tile}_0{x}_0{y}" not in present)
    _open(browser, report / "tiles" / "31UGR_20180508.html")
    assert "Not in the dataset: no data" in _search(browser, absent)
    assert "There is no such patch: the tile has 10 by 10" in _search(browser, f"{tile}_44_02")
    assert len(_search(browser, "31UGR").splitlines()) == 2  # its two dates
    assert "No tile here goes by" in _search(browser, "29TPE_00_00")
    assert console_errors(browser) == []


def test_a_search_can_be_sent_as_a_link(browser: webdriver.Chrome, report: Path, sample_run: Run) -> None:
    patch = str(_rows(sample_run)[0]["patch_id"])
    _open(browser, report / "index.html")
    browser.get(f"{(report / 'index.html').as_uri()}?find={patch}_B8A.tif")
    found = wait(browser, "document.querySelector('#found article')?.dataset.patch")
    assert found == patch


def test_a_click_on_the_grid_looks_a_patch_up(browser: webdriver.Chrome, report: Path) -> None:
    _open(browser, report / "tiles" / "31UGR_20180508.html", PHONE)
    grid = browser.find_element(By.CSS_SELECTOR, "img[data-tile]")
    side = grid.size["width"] / 10
    to_cell = [round((cell + 0.5 - 5) * side) for cell in (7, 2)]  # counted from the middle of the picture
    ActionChains(browser).move_to_element_with_offset(grid, *to_cell).click().perform()
    found = wait(browser, "document.querySelector('#found article')?.dataset.patch")
    assert found == "S2A_MSIL2A_20180508T104031_N9999_R008_T31UGR_07_02"


def test_the_keyboard_is_enough(browser: webdriver.Chrome, report: Path, sample_run: Run) -> None:
    _open(browser, report / "index.html")
    focus = browser.switch_to.active_element
    focus.send_keys(Keys.TAB)
    focus = browser.switch_to.active_element
    assert focus.text == "Skip to the content"
    assert focus.rect["x"] >= 0
    focus.send_keys(Keys.ENTER)
    assert browser.switch_to.active_element.get_attribute("id") == "content"
    seen = set()
    for _ in range(40):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        focus = browser.switch_to.active_element
        assert focus.value_of_css_property("outline-style") != "none"
        seen.add(focus.tag_name)
        if focus.tag_name in ("svg", "rect", "a") and "tile-" in str(focus.get_attribute("outerHTML"))[:60]:
            break
    else:
        pytest.fail("no tile of the map was reached")
    assert seen >= {"a"}


def test_text_can_be_read_in_light_and_in_dark(browser: webdriver.Chrome, report: Path) -> None:
    """Contrast by WCAG 2: 4.5 to 1 for text on the page, and for the quieter text, too."""
    grounds = []
    for scheme in ("light", "dark"):
        _open(browser, report / "index.html", scheme=scheme)
        ground = colour(browser, "body", "backgroundColor")
        grounds.append(luminance(ground))
        for selector, behind in (("body", ground), (".lead", ground), ("nav a", ground), ("button", None)):
            behind = behind or colour(browser, selector, "backgroundColor")
            assert contrast(colour(browser, selector, "color"), behind) >= 4.5, (scheme, selector)
    assert grounds[0] > 0.8
    assert grounds[1] < 0.05


def test_it_can_be_printed(browser: webdriver.Chrome, report: Path) -> None:
    """On A4 nothing is cut off, and it is white, whatever the screen's scheme."""
    _open(browser, report / "index.html", PAPER, media="print", scheme="dark")
    wide = "return [...document.querySelectorAll('*')].filter(e => e.getBoundingClientRect().right > innerWidth).length"
    assert browser.execute_script(wide) == 0
    assert browser.execute_script("return getComputedStyle(document.getElementById('find')).display") == "none"
    assert luminance(colour(browser, "body", "backgroundColor")) == 1
    paper = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})
    assert base64.b64decode(paper["data"]).startswith(b"%PDF")


PARTED = """
const main = document.querySelector('main');
main.style.cssText =
  `max-width: none; width: 700px; columns: 700px; column-gap: 50px; column-fill: auto; height: ${arguments[0]}px`;
return [...main.querySelectorAll('h2, h3')].filter(heading => {
  let next = heading.nextElementSibling;
  while (next && next.matches('p, .key')) next = next.nextElementSibling;
  const row = next && next.matches('.scroll') && next.querySelector('tbody tr');
  return row && row.getBoundingClientRect().left - heading.getBoundingClientRect().left > 300;
}).map(heading => heading.textContent);
"""


def test_a_heading_does_not_part_from_its_table_in_print(browser: webdriver.Chrome, report: Path) -> None:
    """In columns as high as pages, which Chromium fills as it does these: the first row is where its heading is."""
    for page in ("index.html", "times.html"):
        for height in range(500, 1300, 25):
            _open(browser, report / page, PAPER, media="print")
            assert browser.execute_script(PARTED, height) == [], (page, height)


def test_task_times_and_the_checksums_of_all_files_are_told(report: Path, sample_run: Run) -> None:
    page = (report / "index.html").read_text(encoding="utf-8")
    files = page.partition('id="files"')[2].partition("</section>")[0]
    row = r'scope="row">([^<]+)</th>.*?"bytes">([\d,]+)<.*?"sha256"><code>(\w+)<.*?"md5"><code>(\w+)<'
    told = {name: facts for name, *facts in re.findall(row, files)}
    folder = sample_run.data / "dataset"
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_relative_to(report):
            facts = [f"{path.stat().st_size:,}", file_hash(path), file_hash(path, "md5")]
            assert told[path.relative_to(folder).as_posix()] == facts
    published = page.partition('id="published"')[2].partition("</section>")[0]
    assert published.count("not comparable</span>") == 1
    times = (report / "times.html").read_text(encoding="utf-8")
    for task in sample_run.tasks():
        family = task.partition("(")[0]
        assert f"{family}</th>" in times or family in ("WriteReport", "VerifyDataset", "FinalizeDataset"), family


def test_counts_on_the_page_are_those_of_the_metadata(browser: webdriver.Chrome, report: Path, sample_run: Run) -> None:
    rows = _rows(sample_run)
    _open(browser, report / "index.html")
    figures = _cells(browser, "table.figures")
    shown = {cells[0]: cells[1:5] for cells in figures}
    for key, names in (("country", ("Belgium", "Finland", "Luxembourg")), ("labels", ("Pastures", "Inland waters"))):
        for name in names:
            of_split = [
                sum(name in row[key] and row["split"] == s for row in rows) for s in ("train", "validation", "test")
            ]
            assert shown[name] == [str(n) for n in (*of_split, sum(of_split))]
    co_occurrence = [row for row in rows if {"Pastures", "Arable land"} <= set(row["labels"])]
    part = round(100 * len(co_occurrence) / sum("Pastures" in row["labels"] for row in rows))
    matrix = {cells[0].split(" ", 1)[1].strip(): cells[2:] for cells in _cells(browser, ".matrix")}
    assert matrix["Pastures"][2] == str(part)  # Arable land is the third class


def test_the_state_of_each_patch_is_what_became_of_it(report: Path, sample_run: Run) -> None:
    """From what the steps left: v1 names, both shards, metadata."""
    mapping = (sample_run.data / "metadata" / "patch_id_s2v1_mapping.csv").read_text().splitlines()[1:]
    rows = {row["patch_id"]: row for row in _rows(sample_run)}
    aligned = {line.split(",")[0] for line in mapping}
    seen = set()
    for path in sorted((report / "data").glob("3*.js")):
        tile = script(path)
        written, mapped = (
            set(read_index(sample_run.data / folder / f"{tile['key']}.parquet")["patch_id"].to_pylist())
            for folder in ("patches", "reference_maps")
        )
        places = ((x, y) for x in range(tile["side"]) for y in range(tile["side"]))
        for (x, y), state in zip(places, tile["states"], strict=True):
            patch = f"{tile['name']}_{x:02d}_{y:02d}"
            row = rows.get(patch, {})
            split = {"train": "a", "validation": "b", "test": "c"}.get(row.get("split", ""), "u")
            flagged = row and (row["contains_seasonal_snow"] or row["contains_cloud_or_shadow"])
            ladder = [(aligned, "."), (written, "0"), (mapped, "m")]
            expected = next((mark for those, mark in ladder if patch not in those), split)
            assert state == (expected.upper() if flagged else expected), patch
            seen.add(state)
    assert seen >= set(".0muabc")


def _cells(browser: webdriver.Chrome, table: str) -> list[list[str]]:
    """The text of the cells of all rows of these tables."""
    rows = f"[...document.querySelectorAll('{table} tbody tr')]"
    cells: list[list[str]] = browser.execute_script(
        f"return {rows}.map(row => [...row.cells].map(cell => cell.innerText.trim()))"
    )
    return cells
