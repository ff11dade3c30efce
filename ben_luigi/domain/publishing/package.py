"""Gather what is published of a dataset or of an exported form: files with their names there, title, licence."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from ben_luigi.domain import files
from ben_luigi.domain.dataset.about import About
from ben_luigi.domain.dataset.form import NOMENCLATURE, RECIPE, Form
from ben_luigi.domain.dataset.readme import CITATION, LICENSE, README, title_of
from ben_luigi.domain.dataset.report_files import FOLDER, files_of_report
from ben_luigi.domain.dataset.subset import area_file
from ben_luigi.domain.dataset.verify import others_in
from ben_luigi.domain.errors import BadInput, reason
from ben_luigi.domain.formats.tables import opened
from ben_luigi.domain.forms.export import FORMS
from ben_luigi.domain.forms.form import NOTE, Note, read_note
from ben_luigi.domain.forms.listed import is_within
from ben_luigi.domain.forms.source import KINDS, MAP, S1
from ben_luigi.domain.given import FILE, NOTHING, is_hidden, kind, others

_V2_TITLE = "BigEarthNet v2 (reBEN)"
_BESIDE = (LICENSE, CITATION, RECIPE, NOMENCLATURE)
"""Files of the dataset that go with each of its forms."""
_WITHOUT_LABELS = "lmdb"
"""The form that has pixels alone."""
_TIME = (1980, 1, 1, 0, 0, 0)
"""The time of all files in a zip, so that the same files give the same bytes."""
_MODE = 0o100644 << 16
_CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class Item:
    """A file to send: its name there, with slashes between folders, and the file here."""

    name: str
    path: Path
    size_bytes: int

    @classmethod
    def of(cls, name: str, path: Path) -> Item:
        """Return the item of a file. Raise OSError if it cannot be looked at."""
        return cls(name, path, path.stat().st_size)


@dataclass(frozen=True)
class Package:
    """What is published: `folder` is that of the dataset or form, `dataset` that of the dataset.

    `form` is the name of the form, or empty for the dataset itself; `patches` is the number of patches, `left_out`
    names what lies in the folder and is not sent, with the reason; `kinds` are the kinds of files that a patch has in
    what is sent, besides further layers.
    """

    folder: Path
    dataset: Path
    title: str
    about: About
    patches: int
    items: tuple[Item, ...]
    form: str = ""
    left_out: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Return the length of all files together."""
        return sum(item.size_bytes for item in self.items)

    @property
    def has_sentinel1(self) -> bool:
        """Whether there is Sentinel-1 in what is sent."""
        return any(kind in self.kinds for kind in KINDS[S1])

    @property
    def description(self) -> str:
        """Return in a paragraph what it is."""
        radar = " and Sentinel-1" if self.has_sentinel1 else ""
        with_them = ["reference maps of land cover"] if not self.form or MAP in self.kinds else []
        with_them += ["labels"] if self.form != _WITHOUT_LABELS else []
        more = f" with {' and '.join(with_them)}" if with_them else ""
        what = f"{self.patches:,} patches of Sentinel-2{radar}{more}"
        shape = f" The form: {FORMS[self.form].title}." if self.form else ""
        return f"{self.title}, version {self.about.version}: {what}.{shape} Verified with ben_luigi."


def of_dataset(folder: Path, form: Form) -> Package:
    """Return what is published of a dataset. Raise BadInput if it is unpacked, or has what cannot be sent."""
    unpacked = [name for name in form.archives if (folder / name).is_dir()]
    for name in unpacked:
        if not (folder / f"{name}.tar.zst").is_file():
            raise BadInput(
                folder,
                expected=f"the archive {name}.tar.zst",
                found=f"only the folder {name} that was unpacked from it, of very many files",
                remedy="put the archive there, or publish a form: ben-luigi export --help",
            )
    surplus = others_in(folder, form)
    sent = listed(folder, [*unpacked, *(name.rstrip("/") for name in surplus)])
    items = tuple(item for item in sent if item.name not in surplus)
    absent = [f"{name}.tar.zst" for name in form.archives if not (folder / f"{name}.tar.zst").is_file()]
    left_out = [f"{name}/ (unpacked; its archive is sent)" for name in unpacked]
    left_out += [f"{name} (not there)" for name in absent]
    left_out += [f"{name} (no part of a dataset)" for name in surplus]
    patches = sum(_rows(folder / name) for name in form.tables)
    kinds = tuple(kind for name in KINDS if (folder / f"{name}.tar.zst").is_file() for kind in KINDS[name])
    title = _title(folder, form.about)
    return Package(folder, folder, title, form.about, patches, items, left_out=tuple(left_out), kinds=kinds)


def of_form(folder: Path, dataset: Path, form: Form) -> Package:
    """Return what is published of an exported form: the files that its note lists, and the note; with licence,
    citation and recipe of its dataset.

    Raise DamagedFile if it is no form. Raise BadInput if it is one of another dataset, whose licence may be another, or
    if its note lists no files.
    """
    note = read_note(folder)
    if note.form not in FORMS:
        raise BadInput(
            folder, expected=f"one of the forms {', '.join(FORMS)}", found=note.form, remedy="export it anew"
        )
    _check_same(folder, note.dataset, form.about)
    items = {item.name: item for item in exported(folder, note)}
    left_out = [f"{name} (no part of the form)" for name in others(folder, items)]
    beside = (Item.of(name, dataset / name) for name in _BESIDE if (dataset / name).is_file())
    items = {**{item.name: item for item in beside}, **items}
    title, sent = _title(dataset, form.about), tuple(items[name] for name in sorted(items))
    return Package(folder, dataset, title, form.about, note.patches, sent, note.form, tuple(left_out), note.kinds)


def exported(folder: Path, note: Note) -> Iterator[Item]:
    """Yield the files of a form that its note lists, as far as they are there, and the note, by name.

    Raise BadInput if it lists none, as before there was a list, if it tells the area of its patches by the path of a
    file alone, or if one of its files is none, such as a FIFO.
    """
    if note.files is None:
        raise BadInput(
            folder / NOTE,
            expected="a list of the files that were exported, so that nothing else is sent",
            found="none, as in a form that was exported before there was a list",
            remedy="export it again, and verify it",
        )
    if path := area_file(note.selection.get("area", "")):
        raise BadInput(
            folder / NOTE,
            expected="the area itself by which its patches were selected, so that anybody can compare them",
            found=f"the path of a file, {path}, as in a form that was exported before the area was noted",
            remedy="export it again, and verify it",
        )
    for name in sorted(filter(is_within, {*note.files, NOTE})):
        if kind(folder / name) != NOTHING:
            yield _item(name, folder / name)


def listed(folder: Path, without: Sequence[str] = ()) -> Iterator[Item]:
    """Yield all files of a dataset by name, but those in its folders `without`, and hidden ones.

    In the folder of the report those that its pages name; links are not followed there. Raise BadInput for an entry
    that is no file, such as a FIFO.
    """
    for path, folders, names in os.walk(folder, followlinks=True):
        at_top = Path(path) == folder
        if at_top and FOLDER in folders:
            folders.remove(FOLDER)
            yield from (_item(name, folder / name) for name in sorted(files_of_report(folder)))
        folders[:] = sorted(name for name in folders if not is_hidden(name) and not (at_top and name in without))
        for name in sorted(name for name in names if not is_hidden(name)):
            file = Path(path) / name
            yield _item(file.relative_to(folder).as_posix(), file)


def _item(name: str, file: Path) -> Item:
    """Return the item of a file. Raise BadInput if it is no file."""
    if (found := kind(file)) != FILE:
        raise BadInput(file, expected="a file that can be sent", found=found, remedy="move it away")
    return Item.of(name, file)


def flattened(package: Package, work: Path) -> Package:
    """Return the package for a service without folders: each folder is a stored zip, written to `work`.

    A zip of the same files that lies there, since what sent it has failed, is taken as it is.
    """
    flat = [item for item in package.items if "/" not in item.name]
    groups: dict[str, list[Item]] = {}
    for item in package.items:
        if "/" in item.name:
            groups.setdefault(item.name.partition("/")[0], []).append(item)
    taken = {item.name for item in flat}
    for name, items in groups.items():
        if f"{name}.zip" in taken:
            raise BadInput(
                package.folder / f"{name}.zip",
                expected=f"no file of the name by which {name}/ is packed",
                found="one",
                remedy="rename it or move it away, and verify the folder again; nothing was sent",
            )
        flat.append(Item.of(f"{name}.zip", _zipped(items, work / name)))
    return replace(package, items=tuple(sorted(flat, key=lambda item: item.name)))


def _zipped(items: Sequence[Item], folder: Path) -> Path:
    """Return the zip of files in `folder`; its name says of which files as they are now. Those of others go."""
    stats = ((item.name, item.path.stat()) for item in items)
    made_of = "\n".join(f"{name}\0{stat.st_size} {stat.st_mtime_ns} {stat.st_ino}" for name, stat in stats)
    zipped = folder / f"{files.text_hash(made_of)}.zip"
    if not zipped.is_file():
        files.remove(folder)
        folder.mkdir(parents=True)
        files.check_room(folder, sum(item.size_bytes for item in items))
        with files.atomic_write(zipped) as target:
            _zip(target, items)
    return zipped


def names_when_flat(package: Package) -> list[str]:
    """Return the names that `flattened` gives, without packing anything."""
    return sorted({flat_name(item.name) for item in package.items})


def flat_name(name: str) -> str:
    """Return the name of the file that has a file of a package where there are no folders."""
    return f"{name.partition('/')[0]}.zip" if "/" in name else name


def with_item(package: Package, item: Item) -> Package:
    """Return the package with a file added, or in the place of the one of that name."""
    items = {**{each.name: each for each in package.items}, item.name: item}
    return replace(package, items=tuple(items[name] for name in sorted(items)))


def _zip(path: Path, items: Sequence[Item]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, strict_timestamps=False) as packed:
        for item in items:
            entry = zipfile.ZipInfo(item.name, _TIME)
            entry.external_attr, entry.file_size = _MODE, item.size_bytes
            with item.path.open("rb") as source, packed.open(entry, "w") as target:
                while chunk := source.read(_CHUNK_BYTES):
                    target.write(chunk)


def _check_same(folder: Path, dataset: tuple[str, str], about: About) -> None:
    """Raise BadInput unless a form was made from the dataset of this name and version."""
    if dataset != (about.name, about.version):
        raise BadInput(
            folder,
            expected=f"a form of the dataset {about.name} {about.version}",
            found=f"one of {' '.join(dataset)}",
            remedy="name the folder of the dataset that the form was made from",
        )


def _title(folder: Path, about: About) -> str:
    """Return the title in the README of a dataset; without one, its name."""
    readme = folder / README
    if readme.is_file():
        with readme.open(encoding="utf-8", errors="replace") as file:
            if title := title_of(file.readline(1000)).strip():
                return title
    return _V2_TITLE if about.is_v2 else f"{about.name} {about.version}"


def _rows(path: Path) -> int:
    try:
        with opened(path) as table:
            return int(table.metadata.num_rows)
    except (OSError, pa.ArrowException) as error:
        raise BadInput(
            path,
            expected="metadata of a dataset, as Parquet",
            found=reason(error),
            remedy="name the folder of a dataset",
        ) from error
