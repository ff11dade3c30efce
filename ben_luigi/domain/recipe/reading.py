"""Read a recipe and check the whole of it: everything that is wrong is found at once, with file and line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ben_luigi.domain.bounded import read_toml
from ben_luigi.domain.errors import BadInput, some
from ben_luigi.domain.findings import Finding, NotAllowed, nearest
from ben_luigi.domain.given import read_bytes
from ben_luigi.domain.recipe import declared, model, rules
from ben_luigi.domain.recipe.kinds import Kind
from ben_luigi.domain.recipe.lines import Place, lines_of
from ben_luigi.domain.recipe.model import Recipe

DEFAULT_FILE = "bigearthnet_v2.toml"
FOLDER = "recipes"
"""The folder of the packaged recipes, in that of all tracked artifacts."""

_MOST_BYTES = 2**20
_HEAD = ""


def packaged(artifacts: Path) -> dict[str, Path]:
    """Return the packaged recipes by the names of their files without suffix."""
    return {path.stem: path for path in sorted((artifacts / FOLDER).glob("*.toml"))}


def locate(named: str, artifacts: Path) -> Path:
    """Return the path of a recipe, which is given by its path or the name of a packaged one; by default the default."""
    if is_default_name(named):
        return artifacts / FOLDER / DEFAULT_FILE
    packaged_file = artifacts / FOLDER / f"{named}.toml"
    is_packaged = os.sep not in named and packaged_file.is_file()
    return packaged_file if is_packaged else Path(named).expanduser().absolute()


def is_default_name(named: str) -> bool:
    """Return whether a recipe that is named so is the packaged default one."""
    return named in ("", Path(DEFAULT_FILE).stem)


def read(path: Path, artifacts: Path) -> Recipe:
    """Return the recipe in a file. Raise BadInput that names everything that is wrong in it."""
    recipe, findings = check(path, artifacts)
    if recipe is None:
        found = some((f"{one.location}: {one.subject}: {one.found}" for one in findings), 5)
        raise BadInput(path, expected="a recipe", found=found, remedy="correct it, or type: ben-luigi new NAME")
    return recipe


def check(path: Path, artifacts: Path, name: str = "") -> tuple[Recipe | None, list[Finding]]:
    """Return the recipe in a file, and everything that is wrong; None if anything is.

    `name` is what findings call the file. Files that the recipe names are relative to its own folder, or in
    `artifacts`, the folder of what is packaged.
    """
    name = name or str(path)
    try:
        data = read_toml(path)
        lines = lines_of(read_bytes(path, _MOST_BYTES).decode("utf-8-sig"))
    except (OSError, ValueError) as error:
        line = re.search(r"at line (\d+)", str(error))
        return None, [Finding(f"{name}:{line[1]}" if line else name, "", str(error), "a recipe, as TOML")]
    checked = _Checked(name, lines)
    made = _made(data, checked, path.absolute().parent, artifacts)
    is_default = _is_default(path, data, checked, artifacts)
    for place, found, allowed in rules.broken(checked.values, checked.refused, is_default=is_default):
        checked.add(place, found, allowed)
    checked.findings.sort(key=lambda one: checked.order(one.location))
    if checked.findings:
        return None, checked.findings
    return Recipe(**checked.values[_HEAD], **made, path=path.absolute()), []


def read_enclosed(path: Path, nomenclature: Path, artifacts: Path) -> Recipe:
    """Return the recipe in a finished dataset, without the files that it names but for its nomenclature.

    They need not exist where the dataset is; in the value, stand-ins take their places. Raise BadInput as `read` does.
    """
    try:
        data = _without_files(read_toml(path), path, nomenclature)
        lines = lines_of(read_bytes(path, _MOST_BYTES).decode("utf-8-sig"))
    except (OSError, ValueError) as error:
        remedy = "fetch the dataset again, or make it again"
        raise BadInput(path, expected="the recipe of the dataset, as TOML", found=str(error), remedy=remedy) from error
    checked = _Checked(str(path), lines)
    made = _made(data, checked, path.absolute().parent, artifacts)
    for place, found, allowed in rules.broken(checked.values, checked.refused, is_default=False):
        if place[-1] in _NAMING:  # other rules, some of which look into files, were checked when it was made
            checked.add(place, found, allowed)
    if checked.findings:
        found = some((f"{one.location}: {one.subject}: {one.found}" for one in checked.findings), 5)
        raise BadInput(path, expected="the recipe of a dataset", found=found, remedy="make the dataset again")
    return Recipe(**checked.values[_HEAD], **made, path=path.absolute())


_NAMING = ("name", "title", "citation")
_OPTIONS = (declared.LIST_OPTION, declared.COUNTRIES_OPTION, declared.LAND_COVER_OPTION)
_STAND_INS = {
    ("products", "list"): declared.LIST_OPTION,
    ("countries", "file"): declared.COUNTRIES_OPTION,
    ("sentinel1", "rasters"): "{tile}",
}


def _without_files(data: dict[str, Any], path: Path, nomenclature: Path) -> dict[str, Any]:
    """Return the content of a recipe with stand-ins for the files that it names."""
    stand_ins = _STAND_INS | {
        ("land_cover", "nomenclature"): str(nomenclature.absolute()),
        ("split", "file"): str(path.absolute()),
        ("land_cover", "file"): str(path.absolute()),
        ("sentinel1", "folder"): str(path.absolute().parent),
    }
    for (section, key), value in stand_ins.items():
        content = data.get(section)
        if isinstance(content, dict) and key in content and content[key] not in _OPTIONS:
            content[key] = value
    products = data.get("products")
    search = products.get("search") if isinstance(products, dict) else None
    if isinstance(search, dict) and search.get("same_as", declared.LIST_OPTION) not in _OPTIONS:
        search["same_as"] = declared.LIST_OPTION
    layers = data.get(declared.LAYERS)
    for layer in layers.values() if isinstance(layers, dict) else ():
        if isinstance(layer, dict) and "path" in layer:
            layer["path"] = "{tile}"
    return data


@dataclass
class _Checked:
    """What has been found: the valid values by section and key, the keys with others, and everything that is wrong."""

    name: str
    lines: dict[Place, int]
    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: set[Place] = field(default_factory=set)
    findings: list[Finding] = field(default_factory=list)

    def add(self, place: Place, found: str, allowed: str, near: str = "") -> None:
        """Add a finding about a key, or a section."""
        *sections, key = place
        line = next((self.lines[place[:end]] for end in range(len(place), 0, -1) if place[:end] in self.lines), None)
        subject = f"[{'.'.join(sections)}] {key}" if sections else key
        location = f"{self.name}:{line}" if line else self.name
        self.findings.append(Finding(location, subject, found, allowed, near))

    def order(self, location: str) -> int:
        """Return the line of a location, 0 if it has none."""
        number = location.rpartition(":")[2]
        return int(number) if number.isdecimal() else 0

    def table(self, place: Place, data: Mapping[str, Any], kinds: Mapping[str, Kind]) -> dict[str, Any]:
        """Check the keys of a section, and return its valid values."""
        found: dict[str, Any] = {}
        for key, value in data.items():
            if key not in kinds:
                self.add((*place, key), "no such key", ", ".join(kinds), nearest(key, kinds))
                continue
            try:
                found[key] = kinds[key].parse(value)
            except NotAllowed as error:
                self.refused.add((*place, key))
                self.add((*place, key), error.found, error.allowed or kinds[key].allowed, error.near)
        for key in (key for key, kind in kinds.items() if kind.required and key not in data):
            self.add((*place, key), "nothing", kinds[key].allowed)
        self.values[".".join(place)] = found
        return found


def _made(data: Mapping[str, Any], checked: _Checked, folder: Path, artifacts: Path) -> dict[str, Any]:
    """Check all sections, and return the values of the model by the names of their fields."""
    known = declared.sections((folder, artifacts))
    head = {key: value for key, value in data.items() if not isinstance(value, dict) and key not in known}
    checked.table((), {key: value for key, value in head.items() if key != declared.LAYERS}, declared.head())
    made = {}
    for name, section in known.items():
        content = data.get(name, {} if not section.required else None)
        if content is None:
            checked.add((name,), f"no section [{name}]", f"keys {', '.join(section.keys)}")
        elif not isinstance(content, dict):
            checked.add((name,), "a value", f"a section [{name}]")
        elif name in data:
            before = len(checked.findings)
            values = checked.table((name,), content, section.keys)
            if len(checked.findings) == before:
                made[name] = section.make(**values)
    if made.get("products") and not {"list", "search"} & data["products"].keys():
        checked.add(("products", "list"), "neither list nor search", "one of them")
    for name in (name for name, value in data.items() if isinstance(value, dict)):
        if name not in known and name != declared.LAYERS:
            checked.add((name,), "no such section", ", ".join([*known, declared.LAYERS]), _near_section(name, known))
    made["layers"] = tuple(_layers(data.get(declared.LAYERS, {}), checked, folder))
    return made


def _near_section(name: str, known: Mapping[str, Any]) -> str:
    near = nearest(name, [*known, declared.LAYERS])
    return f"[{near}]" if near else ""


def _layers(data: Any, checked: _Checked, folder: Path) -> Iterator[model.Layer]:
    if not isinstance(data, dict):
        checked.add((declared.LAYERS,), "a value", "sections [layers.<name>]")
        return
    for name, content in data.items():
        section = declared.layer(folder, name)
        if not isinstance(content, dict) or not re.fullmatch(declared.LAYER_NAME, name):
            found = "a value" if not isinstance(content, dict) else f"a name {name!r}"
            checked.add((declared.LAYERS, name), found, "[layers.<name>] of lower-case letters, digits and _")
            continue
        before = len(checked.findings)
        values = checked.table((declared.LAYERS, name), content, section.keys)
        if len(checked.findings) == before:
            yield section.make(**values)


def _is_default(path: Path, data: Mapping[str, Any], checked: _Checked, artifacts: Path) -> bool:
    """Return whether a file is the default recipe, or an unchanged copy of it."""
    original = artifacts / FOLDER / DEFAULT_FILE
    if path.absolute() == original.absolute():
        return True
    nomenclature: Path | None = checked.values.get("land_cover", {}).get("nomenclature")
    if data != read_toml(original) or nomenclature is None:
        return False
    original_codes = artifacts / str(data["land_cover"]["nomenclature"])
    return nomenclature.read_bytes() == original_codes.read_bytes()
