"""Export a finished dataset in a form, and verify that a form has the pixels of its dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from ben_luigi.domain.dataset.verify_findings import Findings
from ben_luigi.domain.errors import BadInput, DamagedFile, PipelineError, TooLittleMemory
from ben_luigi.domain.files import atomic_write
from ben_luigi.domain.forms import lmdb, parquet, stac_geoparquet, webdataset, zarr
from ben_luigi.domain.forms.form import NOTE, Options, PatchForm, Shown, read_note, write_note
from ben_luigi.domain.forms.pixels import Digests, pixels_of
from ben_luigi.domain.forms.selecting import selected
from ben_luigi.domain.forms.source import S1, Source
from ben_luigi.domain.progress import OnFraction, ignore_fraction

_WEBDATASET = PatchForm(
    "webdataset",
    "WebDataset shards by split, shuffled",
    (),
    webdataset.write,
    webdataset.read,
    options=("seed", "file_mb"),
)
_LMDB = PatchForm(
    "lmdb", "LMDB of safetensors, as rico-hdl writes it", lmdb.LIBRARIES, lmdb.write, lmdb.read, lmdb.kinds
)
_PARQUET = PatchForm(
    "parquet",
    "Parquet by split, a column per band",
    (),
    parquet.write,
    parquet.read,
    options=("file_mb", "pixels"),
)
_GEOPARQUET = PatchForm(
    "geoparquet",
    "tars with a GeoParquet of places in them",
    (),
    stac_geoparquet.write,
    stac_geoparquet.read,
    options=("file_mb",),
)
_ZARR = PatchForm("zarr", "Zarr v3, an array per group of bands", zarr.LIBRARIES, zarr.write, zarr.read)

FORMS = {form.name: form for form in (_WEBDATASET, _LMDB, _PARQUET, _GEOPARQUET, _ZARR)}
"""All forms, by name."""


def export(
    form: PatchForm, source: Source, folder: Path, options: Options, progress: OnFraction = ignore_fraction
) -> None:
    """Write a form of a dataset to `folder`, in the place of what is there; it appears as a whole.

    Raise BadInput if a library is missing, DamagedFile or BadArchive about an archive, NoRoomError if the disk is
    full, TooLittleMemory if the form needs more than there is.
    """
    form.require_libraries()
    _check_target(folder)
    with atomic_write(folder) as work:
        work.mkdir()
        form.write(source, work, options, progress)
        write_note(work, form, source, options)


def _check_target(folder: Path) -> None:
    """Raise BadInput if something else than a form is in the place of the form."""
    is_form = (folder / NOTE).is_file() or (folder.is_dir() and not any(folder.iterdir()))
    if folder.exists() and not is_form:
        raise BadInput(
            folder,
            expected="a folder of an earlier export, which is replaced, or none",
            found="something else, which is kept",
            remedy="name another folder, or move away what is there",
        )


def verify(source: Source, folder: Path, progress: OnFraction = ignore_fraction) -> list[str]:
    """Return what is wrong with the form in `folder`: each pixel of each patch is compared with the dataset's TIFFs.

    Memory: 10 bytes per file. Raise BadInput if a library is missing, and errors about the dataset itself.
    """
    findings = Findings()
    try:
        note = read_note(folder)
        form = FORMS[note.form]
    except (DamagedFile, KeyError) as error:
        findings.add(NOTE, f"not the note of a form that is known ({getattr(error, 'found', error)})")
        return findings.lines()
    form.require_libraries()
    source = replace(selected(source, {} if source.selection else note.selection), left_out=note.left_out)
    if note.patches != len(source.rows):
        findings.differ(NOTE, "another number of patches", "patches", len(source.rows), note.patches)
    digests = _digests(source, form.kinds(source), progress)
    rows = _rows_by_name(source)
    try:
        for shown in _read(form, folder):
            of_rows = rows(shown.name)
            judged = [digests.judge(row, shown.kind, shown.pixels) for row in of_rows] if of_rows else ["surplus"]
            for what in dict.fromkeys(filter(None, judged)):
                findings.add(form.name, what, f"{shown.name} {shown.kind}")
    except TooLittleMemory:
        raise  # it is no fault of the form
    except PipelineError as error:
        findings.add(form.name, f"cannot be read further ({error.subject}: {error.found})")
    patch_ids = source.rows["patch_id"]
    for row, kind in digests.missing():
        findings.add(form.name, "missing", f"{patch_ids[row].as_py()} {kind}")
    return findings.lines()


def _read(form: PatchForm, folder: Path) -> Iterator[Shown]:
    """Yield all pixels that a form has. Raise DamagedFile if it cannot be read."""
    try:
        yield from form.read(folder)
    except (PipelineError, MemoryError):
        raise
    except Exception as error:  # a damaged byte can make the readers of others raise anything
        found = f"{type(error).__name__}: {error}"
        raise DamagedFile(folder, expected="a form that can be read", found=found) from error


def _digests(source: Source, kinds: tuple[str, ...], progress: OnFraction) -> Digests:
    """Read all pixels of the dataset."""
    digests, total, done = Digests(len(source.rows), kinds), max(1, len(source.rows) * len(source.archives)), 0
    for archive in source.archives:
        names = source.names(archive)
        for patch in source.patches(archive):
            wanted = {kind: data for kind, data in patch.files.items() if kind in kinds}
            pixels = pixels_of(wanted, source.form.patch_m, names[patch.row].as_py())
            for kind, values in pixels.items():
                digests.note(patch.row, kind, values)
            done += 1
            progress(done / total)
    return digests


def _rows_by_name(source: Source) -> Callable[[str], tuple[int, ...] | None]:
    """Return a function that finds the row of a patch id, or the rows of an S1 name."""
    rows = {name: (row,) for row, name in enumerate(source.rows["patch_id"].to_pylist())}
    for row, name in enumerate(source.names(S1).to_pylist()):
        if name is not None and row not in rows.get(name, ()):
            rows[name] = (*rows.get(name, ()), row)
    return rows.get
