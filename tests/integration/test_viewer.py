"""The viewer of the sample run as people use it: opened as a file, without a network, by pointer and by keyboard."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pyarrow.parquet as pq
import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from ben_luigi.domain.files import file_hash
from ben_luigi.domain.formats.shards import ShardReader
from ben_luigi.domain.formats.tiffheader import read_pixels
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
from tests.integration.running import Run, command
from tests.unit.test_rendering import decoded

DRAWN = "document.getElementById('patches').getAttribute('aria-busy') === 'false'"
UNNAMED = """
return [...document.querySelectorAll('select, canvas, img, button')].filter(element =>
  !(element.ariaLabel || element.alt || element.labels?.[0]?.textContent || element.textContent.trim()));
"""
"""What a reader of the screen has no name for."""
WIDE = (
    "return [...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > innerWidth).length"
)
FILES = "return [...document.querySelectorAll('#files tbody tr')].map(row => [...row.cells].map(c => c.textContent))"
TEXTS = ("body", ".lead", "#choose label", "#status", ".keys", "h3 a", ".labels", ".partner", "summary")
INCOMPLETE = "viewer/patches.js is missing: copy the whole folder"
Rows = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """One browser for all tests of this module, which no request leaves."""
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        browser.execute_cdp_cmd("Network.enable", {})
        browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["http://*", "https://*", "ws://*", "wss://*"]})
        nothing = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        browser.execute_cdp_cmd("Network.emulateNetworkConditions", nothing)
        yield browser


@pytest.fixture(scope="module")
def page(sample_run: Run) -> Path:
    """The viewer."""
    return sample_run.data / "dataset" / "report" / "viewer.html"


@pytest.fixture(scope="module")
def rows(sample_run: Run) -> Rows:
    """The rows of the metadata by patch id."""
    paths = sorted((sample_run.data / "dataset").glob("metadata*.parquet"))
    return {row["patch_id"]: row for path in paths for row in pq.read_table(path).to_pylist()}


def _open(browser: webdriver.Chrome, page: Path, said: str = "", **how: Any) -> None:
    browser.get("about:blank")  # another part of one address would not load the page again
    show(browser, f"{page.as_uri()}{said}", **how)
    wait(browser, DRAWN)


def _choose(browser: webdriver.Chrome, name: str, text: str) -> None:
    """Choose the option that begins with this text."""
    select = Select(browser.find_element(By.ID, name))
    select.select_by_visible_text(
        next(o.text for o in select.options if o.text == text or o.text.startswith(f"{text} ("))
    )
    wait(browser, DRAWN)


def _ids(browser: webdriver.Chrome) -> list[str]:
    script = "return [...document.querySelectorAll('#patches > li')].map(each => each.dataset.patch)"
    found: list[str] = browser.execute_script(script)
    return found


def _status(browser: webdriver.Chrome) -> str:
    return browser.find_element(By.ID, "status").text


def _all_pages(browser: webdriver.Chrome) -> list[str]:
    """The patches of all pages, by the button."""
    found = _ids(browser)
    while (button := browser.find_element(By.CSS_SELECTOR, "[data-step=after]")).is_enabled():
        button.click()
        wait(browser, DRAWN)
        found += _ids(browser)
    return found


def _picture(browser: webdriver.Chrome) -> np.ndarray:
    """Mean red, green and blue of the first picture on the screen."""
    canvas = browser.find_element(By.CSS_SELECTOR, "#patches canvas")
    pixels = decoded(base64.b64decode(canvas.screenshot_as_base64))[2:-2, 2:-2, :3]
    return np.asarray(pixels.reshape(-1, 3).mean(axis=0))


def test_filters_leave_the_patches_that_the_metadata_say(browser: webdriver.Chrome, page: Path, rows: Rows) -> None:
    """Each by itself on all pages, two together, and one that leaves nothing."""
    _open(browser, page)
    sample = _all_pages(browser)
    assert len(sample) == len(set(sample)) > 24 and set(sample) <= set(rows)
    flags = {"with seasonal snow": "contains_seasonal_snow", "with cloud or shadow": "contains_cloud_or_shadow"}
    expected = {
        ("label", "Pastures"): [patch for patch in sample if "Pastures" in rows[patch]["labels"]],
        ("country", "Finland"): [patch for patch in sample if rows[patch]["country"] == "Finland"],
        ("split", "test"): [patch for patch in sample if rows[patch]["split"] == "test"],
        **{("flag", text): [patch for patch in sample if rows[patch][flag]] for text, flag in flags.items()},
        ("flag", "without a flag"): [
            patch for patch in sample if not any(rows[patch][name] for name in flags.values())
        ],
    }
    for (name, text), patches in expected.items():
        _choose(browser, name, text)
        assert patches and _all_pages(browser) == patches, text
        assert f"{len(patches)} of {len(sample)} patches" in _status(browser)
        _choose(browser, name, "All")
    _choose(browser, "split", "test")
    _choose(browser, "country", "Finland")
    both = [patch for patch in expected["split", "test"] if patch in expected["country", "Finland"]]
    assert _all_pages(browser) == both
    _choose(browser, "country", "Belgium")
    _choose(browser, "flag", "with seasonal snow")
    assert _ids(browser) == [] and _status(browser) == "No patch of the sample has all of this"
    assert console_errors(browser) == []


def test_pages_turn_by_keyboard_and_by_button(browser: webdriver.Chrome, page: Path) -> None:
    _open(browser, page, "#per=4")
    first = _ids(browser)
    body = browser.find_element(By.TAG_NAME, "body")
    for key, number in ((Keys.ARROW_RIGHT, 2), (Keys.ARROW_RIGHT, 3), (Keys.ARROW_LEFT, 2)):
        body.send_keys(key)
        wait(browser, DRAWN)
        assert _status(browser).startswith(f"Page {number} of ")
    assert len(_ids(browser)) == 4 and not set(_ids(browser)) & set(first)
    browser.find_element(By.ID, "split").send_keys(Keys.ARROW_LEFT)  # in a list the arrows are the list's own
    assert _status(browser).startswith("Page 2 of ")
    browser.find_element(By.CSS_SELECTOR, "[data-step=last]").click()
    wait(browser, DRAWN)
    assert not browser.find_element(By.CSS_SELECTOR, "[data-step=after]").is_enabled()
    last = _status(browser)
    body.send_keys(Keys.ARROW_RIGHT)
    assert _status(browser) == last
    browser.find_element(By.CSS_SELECTOR, "[data-step=first]").click()
    wait(browser, DRAWN)
    assert _ids(browser) == first


def test_what_is_chosen_is_in_the_address(browser: webdriver.Chrome, page: Path) -> None:
    _open(browser, page, "#label=Pastures&picture=infrared&beside=&per=4&page=2")
    here = _ids(browser)
    assert Select(browser.find_element(By.ID, "label")).first_selected_option.text.startswith("Pastures (")
    assert len(browser.find_elements(By.CSS_SELECTOR, "#patches canvas")) == len(here) > 0
    _choose(browser, "picture", "B8A")
    address = browser.current_url
    said = parse_qs(urlsplit(address).fragment)
    assert (said["label"], said["picture"], said["page"]) == (["Pastures"], ["b8a"], ["1"])
    browser.get("about:blank")
    browser.get(address)
    wait(browser, DRAWN)
    label = browser.find_element(By.CSS_SELECTOR, "#patches canvas").get_attribute("aria-label")
    assert str(label).endswith(": B8A")
    _open(browser, page, "#label=Nothing&picture=../x&per=7&page=999")  # of another dataset: what is not known is left
    assert len(_ids(browser)) == 12 or _status(browser).startswith("Page 4 of 4")
    assert console_errors(browser) == []


def test_combinations_have_the_colours_of_their_bands(browser: webdriver.Chrome, page: Path, sample_run: Run) -> None:
    """Mean red, green and blue on the screen, of the first patch, against those of its TIFFs."""
    _open(browser, page, "#per=1&beside=")
    (patch,) = _ids(browser)
    key = patch.split("_")[5][1:] + "_" + patch.split("_")[2][:8]
    full = {"B02": 0.25, "B03": 0.25, "B04": 0.25, "B08": 0.5, "B8A": 0.5, "B11": 0.4, "B12": 0.4}
    with ShardReader(sample_run.data / "patches" / f"{key}.tar") as shard:
        means = {
            band: (255 * np.clip(read_pixels(shard.read(f"{patch}_{band}")) / 10_000 / most, 0, 1) ** (2 / 3)).mean()
            for band, most in full.items()
        }
    seen = {}
    for name, bands in {
        "true-colour": ("B04", "B03", "B02"),
        "infrared": ("B08", "B04", "B03"),
        "shortwave": ("B12", "B8A", "B04"),
        "agriculture": ("B11", "B08", "B02"),
        "b08": ("B08", "B08", "B08"),
    }.items():
        _open(browser, page, f"#per=1&beside=&picture={name}")
        seen[name] = _picture(browser)
        assert seen[name] == pytest.approx([means[band] for band in bands], abs=6), name
    assert np.ptp([means[band] for band in full]) > 40  # a wrong band or order would be seen
    _open(browser, page, "#per=1&beside=&picture=radar")
    assert browser.find_element(By.CSS_SELECTOR, "#patches canvas").get_attribute("aria-label") == (
        f"{patch}: All three (VV, VH, VV/VH)"
    )
    mixed = _picture(browser)
    for at, name in enumerate(("vv", "vh", "vv-vh")):
        _open(browser, page, f"#per=1&beside=&picture={name}")
        assert _picture(browser) == pytest.approx([mixed[at]] * 3, abs=3), name


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_nothing_is_cut_off_and_nothing_comes_from_elsewhere(
    browser: webdriver.Chrome, page: Path, size: tuple[int, int]
) -> None:
    requested(browser)
    _open(browser, page, "#per=48", size=size)
    for summary in browser.find_elements(By.CSS_SELECTOR, "#patches summary")[:2]:
        summary.click()
    wait(browser, "document.querySelectorAll('#patches .files').length === 2")
    scrolled, seen = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert scrolled <= seen == size[0]
    asked = requested(browser)
    assert {f"{(page.parent / name).as_uri()}" for name in ("viewer/patches.js", "viewer/files.js")} < asked
    assert [address for address in asked if not address.startswith(LOCAL)] == []
    assert browser.execute_script(UNNAMED) == []
    assert console_errors(browser) == []


def test_each_patch_names_its_files(browser: webdriver.Chrome, page: Path, extracted: Path) -> None:
    """With length, sha256 and md5 of what tar unpacks."""
    _open(browser, page, "#per=1")
    browser.find_element(By.CSS_SELECTOR, "#patches summary").click()
    lines = wait(browser, "[...document.querySelectorAll('#patches .files > li')].map(e => e.innerText.split('\\n'))")
    assert len(lines) == 15
    for name, *facts in lines:
        (file,) = extracted.rglob(name)
        assert [f"{file.stat().st_size:,}", file_hash(file), file_hash(file, "md5")] == facts[1::2]
    link = browser.find_element(By.CSS_SELECTOR, "#files a")
    link.click()
    wait(browser, "location.pathname.endsWith('index.html') && location.hash === '#files'")


def test_it_can_be_read_in_light_and_dark_and_printed(browser: webdriver.Chrome, page: Path) -> None:
    for scheme in ("light", "dark"):
        _open(browser, page, scheme=scheme)
        ground = colour(browser, "body", "backgroundColor")
        assert (luminance(ground) > 0.8) == (scheme == "light")
        for selector in (
            "body",
            ".lead",
            "#choose label",
            "#status",
            ".keys",
            "h3 a",
            ".labels",
            ".partner",
            "summary",
        ):
            assert contrast(colour(browser, selector, "color"), ground) >= 4.5, (scheme, selector)
        assert contrast(colour(browser, "select", "color"), colour(browser, "select", "backgroundColor")) >= 4.5
    _open(browser, page, size=PAPER, media="print", scheme="dark")
    assert browser.execute_script(WIDE) == 0
    assert browser.execute_script("return getComputedStyle(document.getElementById('choose')).display") == "none"
    assert luminance(colour(browser, "body", "backgroundColor")) == 1


def test_the_keyboard_reaches_everything(browser: webdriver.Chrome, page: Path) -> None:
    _open(browser, page, "#per=1")
    seen = set()
    while "summary" not in seen:
        ActionChains(browser).send_keys(Keys.TAB).perform()
        focus = browser.switch_to.active_element
        assert focus.tag_name != "body", "the last element comes before the patches"
        assert focus.value_of_css_property("outline-style") != "none"
        seen.add(focus.get_attribute("id") or focus.get_attribute("data-step") or focus.tag_name)
    assert seen >= {"label", "country", "split", "flag", "picture", "beside", "per", "after", "last", "summary", "a"}


def test_a_picture_that_is_missing_is_named(browser: webdriver.Chrome, page: Path, tmp_path: Path) -> None:
    """Of a copy that is not whole."""
    for file in ("viewer.html", "assets/viewer.js", "assets/viewer.css", "assets/report.css", "viewer/patches.js"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes((page.parent / file).read_bytes())
    _open(browser, tmp_path / "viewer.html", "#per=1")
    (patch,) = _ids(browser)
    said = [each.text for each in browser.find_elements(By.CSS_SELECTOR, "#patches .none")]
    assert said == [f"viewer/{patch}.webp is missing", f"viewer/{patch}.png is missing"]
    (tmp_path / "viewer" / "patches.js").unlink()
    show(browser, (tmp_path / "viewer.html").as_uri())
    wait(
        browser,
        "document.getElementById('status').textContent === 'viewer/patches.js is missing: copy the whole folder'",
    )
    console_errors(browser)  # which had to say so


def test_a_viewer_of_any_dataset_has_the_same_pictures(
    browser: webdriver.Chrome, page: Path, sample_run: Run, tmp_path: Path
) -> None:
    """By the command, which lists the files of the dataset, and replaces its own result."""
    dataset, target = sample_run.data / "dataset", tmp_path / "mine"
    wanted = str(dataset), "--to", str(target), "--patches"
    code, said = command("view", tmp_path, None, *wanted, "40")
    assert code == 0, said
    assert f"40 patches of {dataset}: open {target / 'viewer.html'}" in said
    made, there = ({path.name for path in (folder / "viewer").glob("S2*")} for folder in (target, page.parent))
    shared = made & there
    assert len(shared) > 8
    for name in shared:
        assert (target / "viewer" / name).read_bytes() == (page.parent / "viewer" / name).read_bytes()
    _open(browser, target / "viewer.html", size=PHONE)
    assert len(_all_pages(browser)) == 40
    told = {name: facts for name, *facts in browser.execute_script(FILES)}
    for name in ("metadata.parquet", "BigEarthNet-S1.tar.zst", "stac/collection.json"):
        path = dataset / name
        assert told[name] == [f"{path.stat().st_size:,}", file_hash(path), file_hash(path, "md5")]
    assert browser.execute_script("return document.documentElement.scrollWidth") <= PHONE[0]
    assert console_errors(browser) == []
    code, said = command("view", tmp_path, None, *wanted, "2", "--without-hashes")
    assert code == 0 and "Traceback" not in said, said
    assert len(list((target / "viewer").glob("*.webp"))) == 2
