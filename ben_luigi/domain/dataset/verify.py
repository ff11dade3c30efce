"""Verify that a finished dataset is complete and consistent: everything that its files say is compared.

- Rows of the metadata against the rules: split, country, v1 and S1 name (`verify_rules`).
- `patches.parquet` against rows, places and products (`verify_patches`), and against the files in the archives.
- STAC, Croissant, `comparison.json`, `provenance.json`, README, LICENSE and CITATION.cff against rows and files
  (`verify_documents` and others).
- The archives, or the folders unpacked from them, each read once: are the members exactly the files of the patches of
  both metadata files, in order (`verify_archives`)? Is each TIFF as published, on the square of its patch, and do the
  labels follow from the reference map (`verify_ground`)? Does every file match the hash lists?

Memory: about 1 KB per patch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ben_luigi.domain.dataset import sentinel1, stac
from ben_luigi.domain.dataset.comparison import COMPARISON
from ben_luigi.domain.dataset.croissant import CROISSANT
from ben_luigi.domain.dataset.form import FORM_V2, HASH_LISTS, NOMENCLATURE, RECIPE, Form, hash_list
from ben_luigi.domain.dataset.geoparquet import PATCHES
from ben_luigi.domain.dataset.provenance import PROVENANCE
from ben_luigi.domain.dataset.readme import CITATION, LICENSE, README
from ben_luigi.domain.dataset.report_files import FOLDER, others_of_report
from ben_luigi.domain.dataset.time_series import TIME_SERIES
from ben_luigi.domain.dataset.verify_archives import Archive, Check, Contents, Count, contents_of
from ben_luigi.domain.dataset.verify_claims import SIZE, Claims, Values
from ben_luigi.domain.dataset.verify_documents import (
    STAC,
    check_comparison,
    check_croissant,
    check_readme,
    check_rights,
    check_stac,
    title_in,
)
from ben_luigi.domain.dataset.verify_findings import Findings
from ben_luigi.domain.dataset.verify_ground import Ground, LabelsOf
from ben_luigi.domain.dataset.verify_json import entry
from ben_luigi.domain.dataset.verify_patches import check_patches, check_time_series
from ben_luigi.domain.dataset.verify_provenance import Provenance, check_provenance, read_provenance, squares_of
from ben_luigi.domain.dataset.verify_rows import Rows, read_rows
from ben_luigi.domain.dataset.verify_rules import NO_REFERENCES, References, check_rows
from ben_luigi.domain.given import listed
from ben_luigi.domain.placement.grid import TILE_SIDE_M, PatchGrid
from ben_luigi.domain.products.product import BANDS
from ben_luigi.domain.progress import OnFraction, ignore_fraction
from ben_luigi.domain.tiles import layers, patches, reference_maps

REPORT = f"{FOLDER}/index.html"


def required(form: Form) -> tuple[str, ...]:
    """Return the files without which it is no dataset."""
    return (*form.tables, *(f"{name}.tar.zst" for name in form.archives))


def described(form: Form) -> tuple[str, ...]:
    """Return the files that STAC and Croissant describe, Croissant with the time series, if there is one."""
    return (*form.tables, PATCHES, *(f"{name}.tar.zst" for name in form.archives))


def also_listed(form: Form) -> tuple[str, ...]:
    """Return the other files that STAC lists: with those described, all of the dataset but STAC and the report."""
    of_recipe = (README, LICENSE, CITATION, RECIPE, NOMENCLATURE, TIME_SERIES)
    own = (COMPARISON, README, LICENSE) if form.about.is_v2 else of_recipe
    return (*map(hash_list, form.archives), CROISSANT, PROVENANCE, *own)


def added(form: Form) -> tuple[str, ...]:
    """Return the files that this pipeline adds to the published ones. A subset has no report."""
    hash_lists = [*map(hash_list, form.archives)]
    rest = [file for file in also_listed(form) if file not in (*hash_lists, CROISSANT)]
    return (PATCHES, *hash_lists, STAC, CROISSANT, *rest, REPORT)


def others_in(folder: Path, form: Form) -> list[str]:
    """Return the entries of a dataset's folder that are no part of it, folders with a slash, without hidden ones.

    Archives may be unpacked there. In the folder of the report those are no part of it that its pages do not name.
    """
    parts = {name.partition("/")[0] for name in (*described(form), *added(form), *form.archives)}
    others = [path for path in listed(folder) if path.name not in parts]
    return [*(f"{path.name}/" if path.is_dir() else path.name for path in others), *others_of_report(folder)]


OURS, DESCRIBED, ALSO_LISTED = added(FORM_V2), described(FORM_V2), also_listed(FORM_V2)
"""The same for BigEarthNet v2."""


@dataclass(frozen=True)
class Verdict:
    """The findings about a dataset, and what was not checked for which reason, one sentence each.

    `sha256` has the hash of each archive by file name, if any file says what it should be.
    """

    wrong: list[str]
    not_looked_at: list[str]
    sha256: dict[str, str]


def verify_dataset(
    folder: Path,
    labels_of: LabelsOf,
    progress: OnFraction = ignore_fraction,
    *,
    side_m: int = TILE_SIDE_M,
    form: Form = FORM_V2,
    references: References = NO_REFERENCES,
    require_all: bool = False,
    recorded: Mapping[str, str] | None = None,
) -> Verdict:
    """Verify the dataset in `folder`. A finding names up to ten rows or members.

    `labels_of` returns the labels of a reference map's codes (row, col). `progress` receives the fraction of the files
    that has been read. `side_m` is the side of a tile that `provenance.json` does not describe, `form` what
    the dataset consists of by its recipe. With `require_all` everything that the pipeline makes must exist; else what
    is missing is not checked. `recorded` has the recorded sha256 of files by their path in `folder`.
    """
    if not folder.is_dir():
        return Verdict(["no such folder"], [], {})
    look = _Look(folder, require_all, form)
    for file, digest in (recorded or {}).items():
        look.claims.add(file, "the record of what was made", {"sha256": digest})
    provenance = read_provenance(folder, look.findings) if look.has(PROVENANCE) else None
    rows = read_rows(folder, look.findings, form)
    squares = squares_of(rows, provenance, side_m, form.patch_m)
    listed = provenance.listed(form.patch_m) if provenance else ()
    check_rows(rows, squares, references, look.findings, form, listed)
    grids = {tile: PatchGrid(tile, square, form.patch_m) for tile, square in squares.items()}
    if provenance is not None:
        check_provenance(rows, provenance, look.findings)
    stated = None
    if look.has(PATCHES):
        stated = check_patches(folder, rows, grids, provenance.tiles if provenance else None, look.findings, form)
    look.at_documents(rows, provenance)
    ground = Ground(rows, grids, labels_of, stated, look.findings, form)
    look.at_archives(rows, provenance, ground, progress)
    look.at_files()
    if provenance is None or not provenance.is_subset:
        look.has(REPORT)
    others = [f"{name}: it is no part of a dataset" for name in others_in(folder, form)]
    not_looked_at = [*look.findings.not_looked_at, *references.missing(form), *others]
    sha256 = {file: str(values["sha256"]) for file, values in look.hashes.items()}
    return Verdict(look.findings.lines(), not_looked_at, sha256)


class _Look:
    """Check the contents of a dataset's folder."""

    def __init__(self, folder: Path, require_all: bool, form: Form) -> None:
        self.findings = Findings()
        self.claims = Claims()
        self._also_listed = Claims()
        self._folder = folder
        self._require_all = require_all
        self._form = form
        self._required = {*required(form), *(added(form) if require_all else ())}
        self.hashes: dict[str, Values] = {}

    def has(self, file: str) -> bool:
        """Return whether a file exists. If not, add a finding if it is required, else note that it was not checked."""
        if (self._folder / file).is_file():
            return True
        if file in self._required:
            self.findings.add(file, "missing")
        else:
            self.findings.skip(f"{file}: it is not there")
        return False

    def at_documents(self, rows: Rows, provenance: Provenance | None) -> None:
        """Check STAC, Croissant, README, LICENSE and the comparison."""
        collection, form = None, self._form
        has_report = provenance is None or not provenance.is_subset
        if self.has(STAC):
            listed = {described(form): self.claims, also_listed(form): self._also_listed}
            keys = stac.keys_of(provenance.tiles.values()) if provenance else {}
            about = {"has_report": has_report, "is_complete": rows.complete}
            collection = check_stac(self._folder, listed, self.findings, form, keys=keys, **about)
        if self.has(CROISSANT):
            of = (*described(form), *(() if form.about.is_v2 else (TIME_SERIES,)))
            check_croissant(self._folder, of, collection, self.claims, self.findings, form)
        if self.has(README):
            missing = provenance.missing if provenance else {}
            lacking = provenance.lacking if provenance else {}
            check_readme(self._folder, rows, collection, has_report, self.findings, form, missing, lacking)
        title = title_in(self._folder, collection)
        for file in (LICENSE, *(() if form.about.is_v2 else (CITATION,))):
            if self.has(file):
                check_rights(self._folder, file, rows, self.findings, form, title)
        if not form.about.is_v2:
            self._at_recipe(provenance)
        elif self.has(COMPARISON):
            hashed = dict.fromkeys(required(FORM_V2), "md5")
            hashed |= dict.fromkeys(HASH_LISTS.values(), "sha256")
            check_comparison(self._folder, rows, provenance, hashed, self.claims, self.findings)

    def _at_recipe(self, provenance: Provenance | None) -> None:
        """Check that the recipe is the one of which the provenance speaks."""
        for file in (RECIPE, NOMENCLATURE):
            self.has(file)
        if self.has(TIME_SERIES) and self.has(PATCHES):
            check_time_series(self._folder, self.findings)
        if provenance is None:
            return
        for name, value in (("name", self._form.about.name), ("version", self._form.about.version)):
            if (found := entry(provenance.recipe, name)) != value:
                self.findings.differ(PROVENANCE, f"recipe: another {name} than in {RECIPE}", name, value, found)
        for file, key in ((RECIPE, "sha256"), (NOMENCLATURE, "nomenclature_sha256")):
            self.claims.add(file, PROVENANCE, {"sha256": str(entry(provenance.recipe, key))})

    def at_archives(
        self, rows: Rows, provenance: Provenance | None, ground: Ground, progress: Callable[[float], None]
    ) -> None:
        """Check the archives, one after the other."""
        if not rows.complete:
            self.findings.skip("surplus members: there are rows that are missing or cannot be used")
        form = self._form.with_lacking(provenance.tiles) if provenance else self._form
        listed = _files_listed(rows, provenance, form)
        radar = len(sentinel1.BANDS) * self._form.has_sentinel1
        files = len(BANDS) + 1 + radar + sum(len(layer.kinds) for layer in self._form.layers)
        count = Count(len(rows) * files, progress)
        checks = _checks(ground, self._form)
        for contents in contents_of(rows, form):
            if lacking := int((contents.keys == b"").sum()):
                self.findings.skip(f"{contents.file}: {lacking:,} patches of products without this layer")
            name = contents.name
            archive = Archive(contents, hash_list(name), checks[name], self.findings, hashing=ground.wants_hashes)
            if self.has(hash_list(name)):
                archive.read_list(self._folder, listed.get(name))
            if self._is_unpacked(contents):
                archive.verify_folder(self._folder, count)
                continue
            hashes = archive.verify(self._folder, count, hashed=contents.file in self.claims.files())
            if hashes is not None:
                self.hashes[contents.file] = {SIZE: hashes.size_bytes, "md5": hashes.md5, "sha256": hashes.sha256}

    def _is_unpacked(self, contents: Contents) -> bool:
        """Return whether to check the unpacked folder of an archive, since the archive itself does not exist."""
        is_archive, is_folder = ((self._folder / name).exists() for name in (contents.file, contents.name))
        if is_archive and is_folder:
            self.findings.skip(f"{contents.name}/: {contents.file} beside it was looked at")
        if is_archive or not is_folder or self._require_all:
            return False
        self.findings.skip(f"{contents.file}: it is not there, and {contents.name}/ was looked at")
        return True

    def at_files(self) -> None:
        """Check length and hashes of all files for which they are stated anywhere."""
        self.claims.check(self._folder, self.hashes, self._required, self.findings)
        # What else is wrong with one of these files tells more than that STAC means another; if nothing is, STAC is.
        listed = self._also_listed.without(lambda file: self.findings.has(file) or not (self._folder / file).is_file())
        for file in listed.files():
            listed.add(file, "its content", {})
        listed.check(self._folder, {}, self._required, self.findings)


def _checks(ground: Ground, form: Form) -> dict[str, Check]:
    """Return how the files of each archive are checked, by its name."""
    of_layers = {layers.archive_of(layer.name): partial(ground.check_layer, layer) for layer in form.layers}
    own = {patches.ARCHIVE: ground.check_s2, reference_maps.ARCHIVE: ground.check_map}
    return {**own, sentinel1.ARCHIVE: ground.check_s1, **of_layers}


def _files_listed(rows: Rows, provenance: Provenance | None, form: Form) -> dict[str, int]:
    """Return the number of files that each hash list must have, by archive, as far as it is known.

    The lists of what is cut, and that of reference maps, have all files that were made; that of S1 patches that are
    taken as they are only those in the archive. All lists of a subset have only those in its archives.
    """
    cut = {patches.ARCHIVE: len(BANDS), **{layers.archive_of(layer.name): len(layer.kinds) for layer in form.layers}}
    cut |= {sentinel1.ARCHIVE: len(sentinel1.BANDS)} if form.cuts_sentinel1 else {}
    listed = {}
    if provenance is not None and provenance.is_subset and rows.complete:
        there = {one.name: int((one.keys != b"").sum()) for one in contents_of(rows, form)}
        listed = {**{name: files * there[name] for name, files in cut.items()}, reference_maps.ARCHIVE: len(rows)}
    elif provenance is not None and not provenance.is_subset:
        without = form.lacking
        listed = {name: files * provenance.count("patches", without.get(name, ())) for name, files in cut.items()}
        listed[reference_maps.ARCHIVE] = provenance.count("reference_maps")
    if rows.complete and not form.cuts_sentinel1:
        listed[sentinel1.ARCHIVE] = len(sentinel1.BANDS) * len(np.unique(rows.s1_names))
    return listed
