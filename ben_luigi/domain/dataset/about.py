"""What a dataset is called, and under which licence and citation it is published."""

from __future__ import annotations

from dataclasses import dataclass

from ben_luigi.domain.recipe.model import DEFAULT, Recipe, is_own_license


@dataclass(frozen=True)
class About:
    """Name, version, SPDX identifier of the licence, and citation as BibTeX, which may be empty."""

    name: str
    version: str
    license: str
    citation: str

    @classmethod
    def of(cls, recipe: Recipe) -> About:
        """Return what a recipe says."""
        return cls(recipe.name, recipe.version, recipe.license, recipe.citation)

    @property
    def license_url(self) -> str:
        """The page with the text of the licence; empty for one of the user's own, of which SPDX knows none."""
        return "" if is_own_license(self.license) else f"https://spdx.org/licenses/{self.license}.html"

    @property
    def is_v2(self) -> bool:
        """Whether it is BigEarthNet v2."""
        return self.name == DEFAULT


V2 = About(
    DEFAULT,
    "2.0.0",
    "CDLA-Permissive-1.0",
    "@misc{clasen2024reben, title={reBEN: Refined BigEarthNet Dataset for Remote Sensing Image Analysis}, "
    "author={Kai Norman Clasen and Leonard Hackel and Tom Burgert and Gencer Sumbul and Begüm Demir and "
    "Volker Markl}, year={2024}, eprint={2407.03653}, archivePrefix={arXiv}}",
)
"""BigEarthNet v2."""
