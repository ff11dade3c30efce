"""The pictures of report and viewer in the documentation: `python -m tests.integration.report_picture REPORT FOLDER`.

REPORT is the folder `dataset/report` of a sample run, FOLDER where the PNG files go: docs/.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.integration.browser import chromium, show, wait


class Picture(NamedTuple):
    """A picture: a page of the report, with what follows in its address, and width and height in pixels."""

    page: str
    size: tuple[int, int]


PICTURES = {
    "report.png": Picture("tiles/31UGR_20180508.html", (1000, 700)),
    "viewer.png": Picture("viewer.html#picture=infrared", (1280, 900)),
    "viewer-phone.png": Picture("viewer.html#label=Pastures&picture=true-colour&beside=radar", (375, 1150)),
}
"""Those in docs/, by name."""


def picture(report: Path, name: str, profile: Path) -> bytes:
    """A PNG of the upper part of a page, in the light colours, with nothing in it but pixels."""
    page, size = PICTURES[name]
    with chromium(profile) as browser:
        browser.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
        show(browser, f"{report.as_uri()}/{page}", size)
        wait(browser, "!document.querySelector('#patches[aria-busy=true]')")
        return browser.get_screenshot_as_png()


def main() -> None:
    """Write the pictures."""
    for name in PICTURES:
        with tempfile.TemporaryDirectory() as profile:
            (Path(sys.argv[2]) / name).write_bytes(picture(Path(sys.argv[1]), name, Path(profile)))


if __name__ == "__main__":
    main()
