"""A headless Chromium for pages that people look at: Debian's, which CI installs; skipped where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver

QUIET = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
"""No window, no sandbox (it does not run as root), and no word to the network beyond the page."""


@contextmanager
def chromium(profile: Path, width_px: int = 1280, height_px: int = 900) -> Iterator[webdriver.Chrome]:
    """A browser with an empty profile in the folder `profile`, and a window of this size."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("no chromium and chromedriver on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in (*QUIET, f"--user-data-dir={profile}", f"--window-size={width_px},{height_px}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        yield browser
    finally:
        browser.quit()


def console_errors(browser: webdriver.Chrome) -> list[str]:
    """What the console of the page has said so far that is bad."""
    said: list[dict[str, Any]] = browser.get_log("browser")
    return [str(line["message"]) for line in said if line["level"] in ("SEVERE", "WARNING")]
