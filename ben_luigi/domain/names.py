"""The naming rules of products, patches and v1 patches; the one place that parses a name.

A *product* is one Sentinel-2 acquisition over one MGRS square:

>>> name = ProductName.parse("S2A_MSIL1C_20170613T101031_N0205_R022_T33UUP_20170613T101608.SAFE")
>>> name.tile_key, name.epsg
('33UUP_20170613', 32633)

The *tile key* is short and unique over the dataset's products; `TileKey` is its type. The L2A product, as Sen2Cor names
it, gives the *tile name*, the folder of the tile's patches; `TileName` is its type:

>>> name.converted().tile_name
'S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP'
>>> patch = PatchId(name.converted().tile_name, x=26, y=7)
>>> str(patch), str(patch.tile.key)
('S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_07', '33UUP_20170613')

Patch names of BigEarthNet v1 carry no tile and have two bugs: an hour without its leading zero, and seconds of 60 and
more:

>>> v1_sensing_time("S2B_MSIL2A_20180204T94160_20_72")
datetime.datetime(2018, 2, 4, 9, 41, 59)

A Sentinel-1 patch is named after its acquisition (the *S1 tile*), an MGRS square and a position:

>>> s1_tile("S1B_IW_GRDH_1SDV_20170612T165809_33UUP_26_57")
'S1B_IW_GRDH_1SDV_20170612T165809'
>>> s1_sensing_time("S1B_IW_GRDH_1SDV_20170612T165809")
datetime.datetime(2017, 6, 12, 16, 58, 9)

Names of patches of all kinds end with their position, and those of their files with the band:

>>> split_position("S1B_IW_GRDH_1SDV_20170612T165809_33UUP_26_57")
('S1B_IW_GRDH_1SDV_20170612T165809_33UUP', '26', '57')
>>> split_band("S1B_IW_GRDH_1SDV_20170612T165809_33UUP_26_57_VH")
('S1B_IW_GRDH_1SDV_20170612T165809_33UUP_26_57', 'VH')
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from ben_luigi.domain.errors import BadName

_TIME = "%Y%m%dT%H%M%S"
_TILE_FORM = (
    r"(?P<mission>S2[A-D])_MSI(?P<level>L1C|L2A)_(?P<sensing>\d{8}T\d{6})_(?P<baseline>N\d{4})"
    r"_(?P<orbit>R\d{3})_T(?P<mgrs>\d{2}[C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V])"
)
_TILE = re.compile(_TILE_FORM, re.ASCII)
_PRODUCT = re.compile(rf"{_TILE_FORM}_(?P<discriminator>\d{{8}}T\d{{6}})\.SAFE", re.ASCII)
_TILE_KEY = re.compile(
    r"(?P<mgrs>(?:0[1-9]|[1-5]\d|60)[C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V])_(?P<date>\d{8}(?:T\d{6})?)", re.ASCII
)
TILE_NAME_CHARACTERS = len("S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP")
_OLD_PRODUCT = re.compile(r"S2[A-D]_(OPER|USER)_PRD_MSIL(1C|2A)_.+")
PATCH_FORM = r"(?P<tile>S2[A-D]_MSIL2A_\d{8}T\d{6}_N\d{4}_R\d{3}_T\d{2}[A-Z]{3})_(?P<x>\d{2,5})_(?P<y>\d{2,5})"
V1_FORM = (
    r"S2[AB]_MSIL2A_(?P<date>\d{8})T(?P<hour>\d{1,2})(?P<minute>[0-5]\d)(?P<second>\d\d)"
    r"_(?P<x>\d{1,5})_(?P<y>\d{1,5})"
)
S1_FORM = r"(?P<tile>S1[A-D]_IW_GRDH_1S(?:DV|DH)_\d{8}T\d{5,6})_(?P<mgrs>\d{2}[A-Z]{3})_(?P<x>\d{1,5})_(?P<y>\d{1,5})"
"""Regular expressions for the names of patches, of v1 patches and of S1 patches."""

_PATCH = re.compile(PATCH_FORM, re.ASCII)
_V1, _S1 = re.compile(V1_FORM, re.ASCII), re.compile(S1_FORM, re.ASCII)

ZONE_FORM = r"_T(\d\d)"
"""Regular expression that finds the UTM zone in the names of tiles and patches, for columns of millions of them."""

MAP_SUFFIX = "_reference_map"
"""What follows the patch id in the name of a reference map's file, before `.tif`."""

SEN2COR_BASELINE = "N9999"
"""The baseline that Sen2Cor gives to products that a user converts."""


@dataclass(frozen=True, order=True)
class TileKey:
    """A tile's short name, `33UUP_20170613`: MGRS square and sensing date (UTC), unique over the dataset's products.

    Where several datatakes show a tile on one day, the date is followed by the time: `33UUP_20170613T101031`.
    """

    mgrs: str
    date: str

    @classmethod
    def parse(cls, text: str) -> TileKey:
        """Parse `<MGRS square>_<YYYYMMDD>`, with or without `Thhmmss`.

        Raise BadName for another form, or a date that does not exist.
        """
        match = _TILE_KEY.fullmatch(text)
        try:
            if match is None:
                raise ValueError("another form")
            datetime.strptime(match["date"], _TIME if "T" in match["date"] else "%Y%m%d")
        except ValueError as error:
            raise BadName(
                f"tile {text}",
                expected="a tile key, MGRS square and sensing date, as 33UUP_20170613",
                found="another form",
                remedy="correct the tile key",
            ) from error
        return cls(match["mgrs"], match["date"])

    def __str__(self) -> str:
        return f"{self.mgrs}_{self.date}"


@dataclass(frozen=True, order=True)
class TileName:
    """A product name without processing time and suffix: the name of a tile, and of the folder of its patches."""

    mission: str
    level: str
    sensing: str
    baseline: str
    orbit: str
    mgrs: str

    @classmethod
    def parse(cls, name: str) -> TileName:
        """Parse `S2A_MSIL2A_..._T33UUP`. Raise BadName if it is malformed."""
        match = _TILE.fullmatch(name)
        if match is None:
            raise _bad_name(f"tile name {name!r}", "S2x_MSIL1C or L2A_<sensing>_Nxxxx_Rxxx_Txxxxx")
        _time(match["sensing"], name)
        return cls(**match.groupdict())

    def __str__(self) -> str:
        return self.tile_name

    @property
    def tile_name(self) -> str:
        """The name as text."""
        return f"{self.mission}_MSI{self.level}_{self.sensing}_{self.baseline}_{self.orbit}_T{self.mgrs}"

    @property
    def key(self) -> TileKey:
        """MGRS square and sensing date."""
        return TileKey(self.mgrs, self.sensing[:8])

    @property
    def tile_key(self) -> str:
        """The key as text, as tasks, folders and tables name the tile."""
        return str(self.key)

    @property
    def timed_key(self) -> str:
        """The key with the sensing time, `33UUP_20170613T101031`, for tiles of several datatakes on one day."""
        return str(TileKey(self.mgrs, self.sensing))

    @property
    def processing_baseline(self) -> str:
        """The processing baseline as the metadata spell it, `05.10`."""
        return f"{self.baseline[1:3]}.{self.baseline[3:]}"

    @property
    def is_southern(self) -> bool:
        """Whether the tile is in a latitude band south of the equator."""
        return self.mgrs[2] < "N"

    @property
    def sensing_time(self) -> datetime:
        """Start of the datatake's sensing, UTC (no tzinfo)."""
        return _time(self.sensing, str(self))

    @property
    def mgrs_parts(self) -> tuple[str, str, str]:
        """UTM zone, latitude band and 100 km square of the MGRS square, `33`, `U` and `UP`."""
        return self.mgrs[:2], self.mgrs[2], self.mgrs[3:]

    @property
    def zone(self) -> int:
        """UTM zone, 1 to 60."""
        return int(self.mgrs[:2])

    @property
    def epsg(self) -> int:
        """EPSG code of the tile's UTM zone, north or south."""
        return (32700 if self.is_southern else 32600) + self.zone


@dataclass(frozen=True, order=True)
class ProductName(TileName):
    """A parsed Sentinel-2 product name (ESA, Sentinel-2 naming convention of December 2016)."""

    discriminator: str

    @classmethod
    def parse(cls, name: str) -> ProductName:
        """Parse `S2A_MSIL1C_..._.SAFE`. Raise BadName if it is malformed."""
        match = _PRODUCT.fullmatch(name)
        if match is None:
            raise _bad_name(f"product name {name!r}", "S2x_MSIL1C or L2A_<sensing>_Nxxxx_Rxxx_Txxxxx_<time>.SAFE")
        _time(match["sensing"], name), _time(match["discriminator"], name)
        return cls(**match.groupdict())

    def __str__(self) -> str:
        return f"{self.stem}.SAFE"

    @property
    def stem(self) -> str:
        """The name without `.SAFE`."""
        return f"{self.tile_name}_{self.discriminator}"

    def converted(self) -> ProductName:
        """Return the L2A product that Sen2Cor makes of it, except for its processing time, which is not known
        beforehand.
        """
        return replace(self, level="L2A", baseline=SEN2COR_BASELINE) if self.level == "L1C" else self


def tile_keys(names: Iterable[TileName]) -> dict[str, str]:
    """Return the key of each of these tiles by its name, with the sensing time where there are several of a day."""
    of_name = {name.tile_name: name for name in names}
    by_day = Counter(name.tile_key for name in of_name.values())
    return {text: name.timed_key if by_day[name.tile_key] > 1 else name.tile_key for text, name in of_name.items()}


def is_tile_key(text: str) -> bool:
    """Return whether a text has the form of a tile key, `33UUP_20170613`, with an existing date."""
    try:
        TileKey.parse(text)
    except BadName:
        return False
    return True


def tile_name_of(file_name: str) -> str:
    """Return the tile name at the beginning of a patch id, or of the name of a patch's file.

    The name is not checked, since hash lists have millions of them: another kind of name gives another text.
    """
    return file_name[:TILE_NAME_CHARACTERS]


def patch_id_of(file_stem: str) -> str:
    """Return the patch id in the name of an S2 file (`<patch id>_<band>`) or reference map, unchecked."""
    return file_stem.removesuffix(MAP_SUFFIX) if file_stem.endswith(MAP_SUFFIX) else split_band(file_stem)[0]


def split_band(file_stem: str) -> tuple[str, str]:
    """Return patch and band in the name of a file of S2 or S1, unchecked."""
    patch, _, band = file_stem.rpartition("_")
    return patch, band


def split_position(name: str) -> tuple[str, str, str]:
    """Return what precedes the position in a patch id, v1 or S1 name, and x and y as they stand there.

    The name is not checked: another kind of name gives other texts.
    """
    before, _, y = name.rpartition("_")
    start, _, x = before.rpartition("_")
    return start, x, y


def is_old_format(name: str) -> bool:
    """Return whether a product name is older than December 2016, such as `S2A_OPER_PRD_MSIL1C_PDMC_..._V....SAFE`."""
    return _OLD_PRODUCT.match(name) is not None


def _time(text: str, name: str) -> datetime:
    try:
        return datetime.strptime(text, _TIME)
    except ValueError as error:
        raise _bad_name(f"name {name!r}", "a time YYYYMMDDThhmmss", text) from error


def _bad_name(subject: str, expected: str, found: str = "something else") -> BadName:
    return BadName(
        subject, expected=expected, found=found, remedy="correct the list, folder or option that it comes from"
    )


@dataclass(frozen=True, order=True)
class PatchId:
    """A patch: its tile's L2A name and its position, `x` to the east and `y` to the south, from 0.

    Both are padded to `digits`; see `position_digits`.
    """

    tile_name: str
    x: int
    y: int
    digits: int = field(default=2, compare=False)

    @classmethod
    def parse(cls, text: str) -> PatchId:
        """Parse `<tile name>_<x>_<y>`. Raise BadName if it is malformed."""
        match = _PATCH.fullmatch(text)
        if match is None:
            raise _bad_name(f"patch id {text!r}", "<L2A product name without time>_<x>_<y>")
        return cls(match["tile"], int(match["x"]), int(match["y"]), min(len(match["x"]), len(match["y"])))

    def __str__(self) -> str:
        return f"{self.tile_name}_{self.position}"

    @property
    def position(self) -> str:
        """`x` and `y` as at the end of the patch id, `26_07`."""
        return f"{self.x:0{self.digits}d}_{self.y:0{self.digits}d}"

    @property
    def tile(self) -> TileName:
        """The parsed name of the tile. Raise BadName if its time does not exist."""
        return TileName.parse(self.tile_name)


def position_digits(patches_a_side: int) -> int:
    """Return how many digits column and row of a patch have in its id: 2 for up to 100 patches a side, else more."""
    return max(2, len(str(patches_a_side - 1)))


def is_v1_name(name: str) -> bool:
    """Return whether a name has the form of a BigEarthNet v1 patch; its time is not checked."""
    return _V1.fullmatch(name) is not None


def v1_sensing_time(name: str) -> datetime:
    """Return the sensing time, UTC, in a BigEarthNet v1 patch name. Both of v1's bugs are handled. Raise BadName."""
    match = _V1.fullmatch(name)
    if match is None:
        raise _bad_name(f"v1 patch name {name!r}", "S2x_MSIL2A_<date>T<h>mmss_<x>_<y>", "another form")
    second = min(int(match["second"]), 59)
    return _time(f"{match['date']}T{int(match['hour']):02d}{match['minute']}{second:02d}", name)


def s1_tile(s1_name: str) -> str:
    """Return the folder of an S1 patch in the archive: its name without the MGRS square, x and y. Raise BadName.

    That is its S1 acquisition. Where the name is the id of its S2 patch, as other recipes may have it, that of the S2
    product without the square.
    """
    match = _S1.fullmatch(s1_name)
    if match is None and _PATCH.fullmatch(s1_name):
        return s1_name.rsplit("_", 3)[0]
    if match is None:
        raise _bad_name(f"S1 patch name {s1_name!r}", "S1x_IW_GRDH_1SDV_<time>_<MGRS>_<x>_<y>", "another form")
    return match["tile"]


def s1_place(s1_name: str) -> tuple[str, int, int] | None:
    """Return MGRS square, x and y in the name of an S1 patch; None if it is not such a name."""
    match = _S1.fullmatch(s1_name)
    if match is None or str(int(match["x"])) != match["x"] or str(int(match["y"])) != match["y"]:
        return None
    return match["mgrs"], int(match["x"]), int(match["y"])


def is_patch_id(name: str) -> bool:
    """Return whether a name has the form of a patch id; its time is not checked."""
    return _PATCH.fullmatch(name) is not None


def s1_part(s1_name: str) -> str:
    """Return acquisition and MGRS square of an S1 patch name: the name without x and y, unchecked."""
    return s1_name.rsplit("_", 2)[0]


def s1_sensing_time(acquisition: str) -> datetime:
    """Return the time in the name of an S1 acquisition, UTC (no tzinfo). Raise BadName if there is none.

    As in v1, the hour may lack its leading zero.
    """
    day, _, clock = acquisition.rpartition("_")[2].partition("T")
    return _time(f"{day}T{clock.zfill(6)}", acquisition)
