"""The picture of the report in the README: `python -m tests.integration.report_picture REPORT PICTURE`.

REPORT is the folder `dataset/report` of a sample run, PICTURE a PNG file to write.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.integration.browser import chromium

WIDTH_PX, HEIGHT_PX = 1000, 700


def picture(report: Path, profile: Path) -> bytes:
    """A PNG of the upper part of the page of a tile, in the light colours, with nothing in it but pixels."""
    with chromium(profile) as browser:
        metrics = {"width": WIDTH_PX, "height": HEIGHT_PX, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
        light = [{"name": "prefers-color-scheme", "value": "light"}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": light})
        browser.get((report / "tiles" / "31UGR_20180508.html").as_uri())
        return browser.get_screenshot_as_png()


def main() -> None:
    """Write the picture."""
    with tempfile.TemporaryDirectory() as profile:
        Path(sys.argv[2]).write_bytes(picture(Path(sys.argv[1]), Path(profile)))


if __name__ == "__main__":
    main()
