"""Export a finished dataset in a form, and verify that a form has what its dataset has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ben_luigi.domain.dataset.subset import is_area_lost
from ben_luigi.domain.dataset.verify_findings import Findings
from ben_luigi.domain.errors import BadInput, DamagedFile, some
from ben_luigi.domain.files import atomic_write
from ben_luigi.domain.forms import lmdb, parquet, stac_geoparquet, webdataset, zarr
from ben_luigi.domain.forms.form import NOTE, Options, PatchForm, read_note, write_note
from ben_luigi.domain.forms.listed import changes
from ben_luigi.domain.forms.selecting import selected
from ben_luigi.domain.forms.source import Source
from ben_luigi.domain.forms.verifying import Verification
from ben_luigi.domain.given import others
from ben_luigi.domain.progress import OnFraction, ignore_fraction

_WEBDATASET = PatchForm(
    "webdataset",
    "WebDataset shards by split, shuffled",
    (),
    webdataset.write,
    webdataset.read,
    options=("seed", "file_mb"),
    check=webdataset.check,
    tells_offset=True,
)
_LMDB = PatchForm(
    "lmdb",
    "LMDB of safetensors, as rico-hdl writes it",
    lmdb.LIBRARIES,
    lmdb.write,
    lmdb.read,
    lmdb.kinds,
    is_mapped=True,
    is_by_name=True,
)
_PARQUET = PatchForm(
    "parquet",
    "Parquet by split, a column per band",
    (),
    parquet.write,
    parquet.read,
    options=("file_mb", "pixels"),
    check=parquet.check,
    has_tiffs=True,
)
_GEOPARQUET = PatchForm(
    "geoparquet",
    "tars with a GeoParquet of places in them",
    (),
    stac_geoparquet.write,
    stac_geoparquet.read,
    options=("file_mb",),
    check=stac_geoparquet.check,
    has_tiffs=True,
)
_ZARR = PatchForm(
    "zarr",
    "Zarr v3, an array per group of bands",
    zarr.LIBRARIES,
    zarr.write,
    zarr.read,
    check=zarr.check,
    tells_classes=True,
)

FORMS = {form.name: form for form in (_WEBDATASET, _LMDB, _PARQUET, _GEOPARQUET, _ZARR)}
"""All forms, by name."""

_SHOWN = 3
_WRITTEN = 0.9
"""Part of an export that is done once all is written, and is only read again for its note."""


def export(
    form: PatchForm,
    source: Source,
    folder: Path,
    options: Options,
    progress: OnFraction = ignore_fraction,
    *,
    is_own: bool = False,
) -> None:
    """Write a form of a dataset to `folder`, in the place of an earlier one; it appears as a whole.

    In a folder that is the pipeline's own, an earlier form is replaced also if its note is damaged.

    Raise BadInput if a library is missing or something else is in the folder, DamagedFile or BadArchive about an
    archive, NoRoomError if the disk is full, TooLittleMemory if the form needs more than there is.
    """
    form.require_libraries()
    _check_target(folder, is_own=is_own)
    with atomic_write(folder) as work:
        work.mkdir()
        form.write(source, work, options, lambda part: progress(_WRITTEN * part))
        write_note(work, form, source, options, lambda part: progress(_WRITTEN + (1 - _WRITTEN) * part))


def _check_target(folder: Path, *, is_own: bool) -> None:
    """Raise BadInput if something else than a form is in the place of the form."""
    if folder.exists() and (found := _of_others(folder, is_own=is_own)):
        raise BadInput(
            folder,
            expected="a folder of an earlier export, which is replaced, or none",
            found=f"{found}, which is kept",
            remedy="name another folder, or move away what is there",
        )


def _of_others(folder: Path, *, is_own: bool) -> str:
    """Return what is in the place of a form that no export has put there; an empty text if there is nothing of it."""
    if folder.is_dir() and not any(folder.iterdir()):
        return ""
    if not (folder / NOTE).is_file():
        return "something else"
    try:
        note = read_note(folder)
    except DamagedFile as error:
        return "" if is_own else f"a {NOTE} that is not of a form ({error.found})"
    if note.form not in FORMS:
        return f"a {NOTE} of no form that is known"
    # LMDB's readers leave their lock. Older notes do not list the files.
    known = {*(note.files or ()), NOTE, lmdb.LOCK}
    found = [] if note.files is None else list(others(folder, known))
    return f"what no export has put there, {some(found, _SHOWN)}" if found else ""


def verify(
    source: Source,
    folder: Path,
    progress: OnFraction = ignore_fraction,
    on_skipped: Callable[[str], None] = lambda what: None,
) -> list[str]:
    """Return what is wrong with the form in `folder`: all that it has is compared with the dataset.

    `on_skipped` receives what cannot be checked, and why. Memory: see `Verification`. Raise BadInput if a library is
    missing, and errors about the dataset itself.
    """
    findings = Findings()
    try:
        note = read_note(folder)
        form = FORMS[note.form]
    except (DamagedFile, KeyError) as error:
        findings.add(NOTE, f"not the note of a form that is known ({getattr(error, 'found', error)})")
        return findings.lines()
    form.require_libraries()
    if note.is_as_written and not source.selection and is_area_lost(note.selection):
        on_skipped(
            f"the patches of {folder}: they were selected by {note.selection['area']}, which is not there; "
            f"put it back, or export the form again, whose {NOTE} then has the area itself"
        )
        for name, what in changes(folder, note.files or {}, lambda length: None):
            findings.add(name, what)
        return findings.lines()
    try:
        source = replace(selected(source, {} if source.selection else note.selection), left_out=note.left_out)
    except BadInput as error:
        findings.add(NOTE, f"a selection that cannot be followed ({error.subject}: {error.found})")
        return findings.lines()
    if note.patches != len(source.rows):
        findings.differ(NOTE, "another number of patches", "patches", len(source.rows), note.patches)
    Verification(form, source, folder, findings).run(note, progress)
    for what in findings.not_looked_at:
        on_skipped(what)
    return findings.lines()
