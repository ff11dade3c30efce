"""A headless Chromium for pages that people look at: Debian's, which CI installs; skipped where there is none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

DESKTOP, PHONE, PAPER = (1280, 900), (375, 800), (718, 1000)
"""Width and height in pixels: of screens, and of what an A4 page has room for."""
PATIENCE_S = 60
LOCAL = ("file:", "data:", "about:", "blob:", "chrome:", "chrome-untrusted:")
"""What an address begins with that needs no network: files, and pages of the browser itself, as it starts."""

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
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        yield browser
    finally:
        browser.quit()


def console_errors(browser: webdriver.Chrome) -> list[str]:
    """What the console of the page has said so far that is bad."""
    said: list[dict[str, Any]] = browser.get_log("browser")
    return [str(line["message"]) for line in said if line["level"] in ("SEVERE", "WARNING")]


def requested(browser: webdriver.Chrome) -> set[str]:
    """The addresses that were requested since this was last asked, files too."""
    events = [json.loads(line["message"])["message"] for line in browser.get_log("performance")]
    return {event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"}


def show(browser: webdriver.Chrome, page: str, size: tuple[int, int] = DESKTOP, **media: str) -> None:
    """Open the page at an address in a window of this size; `media` may say `scheme` and `media` of CSS."""
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": media.get("scheme", "light")}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media.get("media", ""), "features": features})
    browser.get(page)


def wait(browser: webdriver.Chrome, script: str) -> Any:
    """What an expression of JavaScript gives, once that is true."""
    return WebDriverWait(browser, PATIENCE_S).until(lambda browser: browser.execute_script(f"return {script}"))


def contrast(one: list[float], other: list[float]) -> float:
    """Contrast of two colours by WCAG 2, from 1 to 21."""
    light, dark = sorted(map(luminance, (one, other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def colour(browser: webdriver.Chrome, selector: str, which: str) -> list[float]:
    """Red, green and blue of a property of the first element that a selector finds."""
    script = f"return getComputedStyle(document.querySelector('{selector}')).{which}"
    return [float(part) for part in browser.execute_script(script).partition("(")[2].rstrip(")").split(",")[:3]]


def luminance(colour: list[float]) -> float:
    """Relative luminance of a colour by WCAG 2, from 0 to 1."""
    linear = [part / 255 / 12.92 if part <= 10.3 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
