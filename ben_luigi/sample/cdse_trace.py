"""Serve CDSE's traceability service on loopback: the trace of a product, made from its zip and signed; or badly."""

from __future__ import annotations

import base64
import json
import re
import zipfile
from pathlib import Path

from ben_luigi.domain.sources.proof import new_hash
from ben_luigi.sample import signing

TRACE = re.compile(r"/trace/api/v1/traces/name/([^/]+)\.zip")
"""Path of a request for the traces of a product."""

_OTHER = "S2B_MSIL1C_20170613T101031_N0205_R022_T33UUP_20170613T101608.SAFE"


def traces(path: Path, name: str, event: str, fault: str = "") -> bytes:
    """Return the traces of the product in the zip at `path`: one of `event`, and an obsolete one that differs.

    `fault` is "" or one of `cdse_faults.TRACES`.
    """
    with zipfile.ZipFile(path) as archive:
        contents = [
            {"hash": _blake3(archive.read(info)), "path": info.filename}
            for info in archive.infolist()
            if not info.is_dir()
        ]
    product = {"name": f"{name}.zip", "hash": "", "size": path.stat().st_size, "contents": contents, "inputs": None}
    trace = {
        "product": product,
        "event": event,
        "obsolescence": None,
        "hash_algorithm": "BLAKE3",
        "signature": _signature(product, event, fault),
        "timestamp": "2023-05-02T10:00:00.000000Z",
        "origin": "sample@dataspace.copernicus.eu",
        "id": "b5c2",
    }
    if fault == "other contents outside":  # of the message: what is not signed does not count
        trace["product"] = {**product, "contents": [{**one, "hash": "0" * 64} for one in contents]}
    other = {**trace, "event": "OBSOLETE", "product": {**product, "contents": []}}
    return json.dumps([other, trace]).encode()


def _signature(product: dict[str, object], event: str, fault: str) -> dict[str, str]:
    """Return the signature over product and event, as CDSE writes them."""
    if fault == "unsigned":
        return {"signature": "", "algorithm": "", "certificate": "", "message": ""}
    about = product["name"] if fault != "other product signed" else f"{_OTHER}.zip"
    signed = {"contents": product["contents"], "hash": "", "name": about, "size": product["size"], "event": event}
    if fault == "other event signed":
        signed["event"] = "DELETE"
    message = json.dumps(signed, separators=(",", ":"))
    signature = signing.sign(message.encode())
    if fault == "wrong signature":
        signature = bytes([signature[0] ^ 1]) + signature[1:]
    if fault == "changed message":
        message = message.replace('"hash":"', '"hash":"0', 1)
    certificate = signing.certificate(expired=fault == "expired certificate")
    if fault == "no certificate":
        certificate = b"<html>503</html>"
    return {
        "signature": base64.b64encode(signature).decode(),
        "algorithm": "RSA-SHA256" if fault != "other algorithm" else "ECDSA-SHA256",
        "certificate": base64.b64encode(certificate).decode(),
        "message": message,
    }


def _blake3(content: bytes) -> str:
    made = new_hash("blake3")
    made.update(content)
    return str(made.hexdigest())
