"""Serve a product's nodes as CDSE does: its folders and files, one by one, from its zip."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from urllib.parse import unquote

NODES = re.compile(r"/download/odata/v1/Products\(([^)]*)\)((?:/Nodes\([^)]*\))*)/(Nodes|\$value)")
"""Path of a request: id, nodes from the product's folder on, and what is requested of the last one."""

_NODE = re.compile(r"/Nodes\(([^)]*)\)")


def member_of(nodes: str) -> str:
    """Return the member of the zip that `/Nodes(a)/Nodes(b)` stands for."""
    return "/".join(unquote(name) for name in _NODE.findall(nodes))


def listing(path: Path, folder: str, base_url: str) -> bytes | None:
    """Return the nodes in a folder of the zip at `path`, as CDSE lists them; None if there is no such folder."""
    start = f"{folder}/" if folder else ""
    with zipfile.ZipFile(path) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
    inside = [name.removeprefix(start) for name in sizes if name.startswith(start) and name != start]
    if not inside:
        return None
    names = sorted({name.partition("/")[0] for name in inside})
    return json.dumps({"result": [_node(name, inside, sizes, start, base_url) for name in names]}).encode()


def _node(name: str, inside: list[str], sizes: dict[str, int], start: str, base_url: str) -> dict[str, object]:
    below = {one.split("/")[1] for one in inside if one.startswith(f"{name}/") and one != f"{name}/"}
    is_folder = any(one.startswith(f"{name}/") for one in inside)
    return {
        "Id": name,
        "Name": name,
        "ContentLength": 0 if is_folder else sizes[start + name],
        "ChildrenNumber": len(below),
        "Nodes": {"uri": f"{base_url}/Nodes({name})/Nodes"},
    }


def content(path: Path, member: str) -> bytes | None:
    """Return a file of the zip at `path`; None if there is none with this name."""
    with zipfile.ZipFile(path) as archive:
        try:
            return archive.read(member)
        except KeyError:
            return None
