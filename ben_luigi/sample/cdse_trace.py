"""Serve CDSE's traceability service on loopback: the trace of a product, made from its zip."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

from ben_luigi.domain.sources.proof import new_hash

TRACE = re.compile(r"/trace/api/v1/traces/name/([^/]+)\.zip")
"""Path of a request for the traces of a product."""


def traces(path: Path, name: str, event: str) -> bytes:
    """Return the traces of the product in the zip at `path`: one of `event`, and an obsolete one that differs."""
    with zipfile.ZipFile(path) as archive:
        contents = [
            {"path": info.filename, "hash": _blake3(archive.read(info))}
            for info in archive.infolist()
            if not info.is_dir()
        ]
    trace = {
        "id": "b5c2",
        "event": event,
        "timestamp": "2023-05-02T10:00:00.000Z",
        "hash_algorithm": "BLAKE3",
        "origin": "https://scihub.copernicus.eu",
        "product": {"name": f"{name}.zip", "size": path.stat().st_size, "hash": "", "contents": contents},
        "signature": {"algorithm": "RSA-SHA256", "certificate": "", "message": "", "signature": ""},
    }
    other = {**trace, "event": "OBSOLETE", "product": {"name": f"{name}.zip", "contents": []}}
    return json.dumps([other, trace]).encode()


def _blake3(content: bytes) -> str:
    made = new_hash("blake3")
    made.update(content)
    return str(made.hexdigest())
