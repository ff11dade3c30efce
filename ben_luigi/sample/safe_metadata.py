"""Write the XML inside a Sentinel-2 product of 2017 (Product Specification Document 14), as far as it is read here.

L1C products of that time have their quality results as elements (`RADIOMETRIC_QUALITY_FLAG`), L2A products as
`quality_check` with an attribute `checkType`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pyproj import Transformer

from ben_luigi.domain.names import ProductName
from ben_luigi.domain.placement.grid import Square
from ben_luigi.sample.bands import BANDS

CHECKS = (
    "SENSOR_QUALITY",
    "GEOMETRIC_QUALITY",
    "GENERAL_QUALITY",
    "FORMAT_CORRECTNESS",
    "RADIOMETRIC_QUALITY",
)
"""The quality checks, in ESA's order."""


@dataclass(frozen=True)
class Facts:
    """The content of a product's metadata, L1C or L2A.

    `results` has PASSED or FAILED for each of CHECKS; `comment` is for people. `boa_offset` is what is to be added to
    the pixels of an L2A product; products before baseline 04.00 have none.
    """

    name: ProductName
    square: Square
    absolute_orbit: int
    results: dict[str, str]
    comment: str
    boa_offset: int = 0

    @property
    def level(self) -> str:
        """`Level-1C` or `Level-2A`."""
        return f"Level-{self.name.level[1:]}"

    @property
    def start_time(self) -> str:
        """Sensing start, UTC."""
        return f"{self.name.sensing_time:%Y-%m-%dT%H:%M:%S}.026Z"

    @property
    def granule(self) -> str:
        """Folder of the tile's images, from the `.SAFE`."""
        return f"GRANULE/{self.name.level}_T{self.name.mgrs}_A{self.absolute_orbit:06d}_{self.name.discriminator}"

    @property
    def datastrip(self) -> str:
        """Folder of the datastrip, from the `.SAFE`."""
        return f"DATASTRIP/DS_SGS__{self.name.discriminator}_S{self.name.discriminator}"

    @property
    def product_file(self) -> str:
        """The product's metadata file, from the `.SAFE`."""
        return f"MTD_MSI{self.name.level}.xml"

    @property
    def tile_id(self) -> str:
        """The granule's identifier in ESA's archive."""
        return self._archive_id("TL", f"A{self.absolute_orbit:06d}_T{self.name.mgrs}")

    @property
    def datastrip_id(self) -> str:
        """The datastrip's identifier in ESA's archive."""
        return self._archive_id("DS", f"S{self.name.discriminator}")

    @property
    def baseline(self) -> str:
        """Processing baseline as `02.05`."""
        return f"{self.name.baseline[1:3]}.{self.name.baseline[3:]}"

    def _archive_id(self, kind: str, rest: str) -> str:
        name = self.name
        return f"{name.mission}_OPER_MSI_{name.level}_{kind}_SGS__{name.discriminator}_{rest}_N{self.baseline}"


def product_xml(facts: Facts, images: Iterable[str]) -> bytes:
    """Return `MTD_MSIL1C.xml` or `MTD_MSIL2A.xml`; `images` are paths from the `.SAFE`, without `.jp2`."""
    level = facts.level
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<!-- {facts.comment} -->
<n1:{level}_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_{level}.xsd">
  <n1:General_Info>
{_product_info(facts, images)}
{_image_characteristics(facts)}
  </n1:General_Info>
  <n1:Geometric_Info>
    <Product_Footprint>
      <Product_Footprint>
        <Global_Footprint>
          <EXT_POS_LIST>{_footprint(facts.square)}</EXT_POS_LIST>
        </Global_Footprint>
      </Product_Footprint>
    </Product_Footprint>
  </n1:Geometric_Info>
  <n1:Quality_Indicators_Info>
    <Cloud_Coverage_Assessment>0.0</Cloud_Coverage_Assessment>
    <Technical_Quality_Assessment>
      <DEGRADED_ANC_DATA_PERCENTAGE>0</DEGRADED_ANC_DATA_PERCENTAGE>
      <DEGRADED_MSI_DATA_PERCENTAGE>0</DEGRADED_MSI_DATA_PERCENTAGE>
    </Technical_Quality_Assessment>
    <Quality_Control_Checks>
      <Quality_Inspections>
{_inspections(facts)}
      </Quality_Inspections>
      <Failed_Inspections/>
    </Quality_Control_Checks>
  </n1:Quality_Indicators_Info>
</n1:{level}_User_Product>
""".encode()


def _product_info(facts: Facts, images: Iterable[str]) -> str:
    name = facts.name
    files = "\n".join(f"            <IMAGE_FILE>{image}</IMAGE_FILE>" for image in images)
    return f"""    <Product_Info>
      <PRODUCT_START_TIME>{facts.start_time}</PRODUCT_START_TIME>
      <PRODUCT_STOP_TIME>{facts.start_time}</PRODUCT_STOP_TIME>
      <PRODUCT_URI>{name}</PRODUCT_URI>
      <PROCESSING_LEVEL>{facts.level}</PROCESSING_LEVEL>
      <PRODUCT_TYPE>S2MSI{name.level[1:]}</PRODUCT_TYPE>
      <PROCESSING_BASELINE>{facts.baseline}</PROCESSING_BASELINE>
      <GENERATION_TIME>{_iso(name.discriminator)}.000000Z</GENERATION_TIME>
      <PREVIEW_IMAGE_URL>Not applicable</PREVIEW_IMAGE_URL>
      <PREVIEW_GEO_INFO>Not applicable</PREVIEW_GEO_INFO>
{_datatake(facts, "Datatake")}
      <Query_Options completeSingleTile="true">
        <PRODUCT_FORMAT>SAFE_COMPACT</PRODUCT_FORMAT>
      </Query_Options>
      <Product_Organisation>
        <Granule_List>
          <Granule datastripIdentifier="{facts.datastrip_id}" granuleIdentifier="{facts.tile_id}" \
imageFormat="JPEG2000">
{files}
          </Granule>
        </Granule_List>
      </Product_Organisation>
    </Product_Info>"""


def _image_characteristics(facts: Facts) -> str:
    return f"""    <Product_Image_Characteristics>
      <Special_Values>
        <SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT>
        <SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX>
      </Special_Values>
      <Special_Values>
        <SPECIAL_VALUE_TEXT>SATURATED</SPECIAL_VALUE_TEXT>
        <SPECIAL_VALUE_INDEX>65535</SPECIAL_VALUE_INDEX>
      </Special_Values>
{_quantification(facts.name.level)}{_offsets(facts)}
      <Spectral_Information_List>
{_spectral_information()}
      </Spectral_Information_List>
    </Product_Image_Characteristics>"""


def tile_xml(facts: Facts) -> bytes:
    """Return `MTD_TL.xml` of the granule, which says where the images lie."""
    square, level, half = facts.square, facts.level, "S" if facts.name.is_southern else "N"
    pixels_m = sorted({band.pixel_m for band in BANDS.values()})
    sizes = "\n".join(
        f'      <Size resolution="{pixel_m}"><NROWS>{square.side_m // pixel_m:.0f}</NROWS>'
        f"<NCOLS>{square.side_m // pixel_m:.0f}</NCOLS></Size>"
        for pixel_m in pixels_m
    )
    positions = "\n".join(
        f'      <Geoposition resolution="{pixel_m}"><ULX>{square.left:.0f}</ULX><ULY>{square.top:.0f}</ULY>'
        f"<XDIM>{pixel_m}</XDIM><YDIM>-{pixel_m}</YDIM></Geoposition>"
        for pixel_m in pixels_m
    )
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<!-- {facts.comment} -->
<n1:{level}_Tile_ID xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_{level}_Tile_Metadata.xsd">
  <n1:General_Info>
    <TILE_ID metadataLevel="Brief">{facts.tile_id}</TILE_ID>
    <DATASTRIP_ID metadataLevel="Standard">{facts.datastrip_id}</DATASTRIP_ID>
    <DOWNLINK_PRIORITY metadataLevel="Standard">NOMINAL</DOWNLINK_PRIORITY>
    <SENSING_TIME metadataLevel="Standard">{facts.start_time}</SENSING_TIME>
  </n1:General_Info>
  <n1:Geometric_Info>
    <Tile_Geocoding metadataLevel="Brief">
      <HORIZONTAL_CS_NAME>WGS84 / UTM zone {facts.name.zone}{half}</HORIZONTAL_CS_NAME>
      <HORIZONTAL_CS_CODE>EPSG:{square.epsg}</HORIZONTAL_CS_CODE>
{sizes}
{positions}
    </Tile_Geocoding>
  </n1:Geometric_Info>
</n1:{level}_Tile_ID>
""".encode()


def datastrip_xml(facts: Facts) -> bytes:
    """Return `MTD_DS.xml` of the datastrip."""
    level = facts.level
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<!-- {facts.comment} -->
<n1:{level}_DataStrip_ID xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_{level}_Datastrip_Metadata.xsd">
  <n1:General_Info>
    <DATASTRIP_ID metadataLevel="Standard">{facts.datastrip_id}</DATASTRIP_ID>
{_datatake(facts, "Datatake_Info")}
  </n1:General_Info>
</n1:{level}_DataStrip_ID>
""".encode()


def report_xml(check: str, result: str) -> bytes:
    """Return the head of a quality report in `QI_DATA`."""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<Earth_Explorer_File xmlns="http://eop-cfi.esa.int/CFI">
  <Data_Block type="xml">
    <report xmlns="http://gs2.esa.int/DATA_STRUCTURE/olqcReport" globalStatus="{result}" name="{check}"/>
  </Data_Block>
</Earth_Explorer_File>
""".encode()


def _iso(compact: str) -> str:
    date, time = compact.split("T")
    return f"{date[:4]}-{date[4:6]}-{date[6:]}T{time[:2]}:{time[2:4]}:{time[4:]}"


def _datatake(facts: Facts, tag: str) -> str:
    name = facts.name
    identifier = f"G{name.mission}_{name.sensing}_{facts.absolute_orbit:06d}_N{facts.baseline}"
    return f"""      <{tag} datatakeIdentifier="{identifier}">
        <SPACECRAFT_NAME>Sentinel-{name.mission[1:]}</SPACECRAFT_NAME>
        <DATATAKE_TYPE>INS-NOBS</DATATAKE_TYPE>
        <DATATAKE_SENSING_START>{facts.start_time}</DATATAKE_SENSING_START>
        <SENSING_ORBIT_NUMBER>{int(name.orbit[1:])}</SENSING_ORBIT_NUMBER>
        <SENSING_ORBIT_DIRECTION>DESCENDING</SENSING_ORBIT_DIRECTION>
      </{tag}>"""


def _quantification(level: str) -> str:
    if level == "L1C":
        return '      <QUANTIFICATION_VALUE unit="none">10000</QUANTIFICATION_VALUE>'
    return """      <QUANTIFICATION_VALUES_LIST>
        <BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>
        <AOT_QUANTIFICATION_VALUE unit="none">1000.0</AOT_QUANTIFICATION_VALUE>
        <WVP_QUANTIFICATION_VALUE unit="cm">1000.0</WVP_QUANTIFICATION_VALUE>
      </QUANTIFICATION_VALUES_LIST>"""


def _offsets(facts: Facts) -> str:
    if not facts.boa_offset:
        return ""
    lines = "\n".join(
        f'        <BOA_ADD_OFFSET band_id="{number}">{facts.boa_offset}</BOA_ADD_OFFSET>'
        for number in range(len(BANDS))
    )
    return f"\n      <BOA_ADD_OFFSET_VALUES_LIST>\n{lines}\n      </BOA_ADD_OFFSET_VALUES_LIST>"


def _spectral_information() -> str:
    return "\n".join(
        f'        <Spectral_Information bandId="{number}" physicalBand="{band.physical}">'
        f"<RESOLUTION>{band.pixel_m}</RESOLUTION>"
        f'<Wavelength><CENTRAL unit="nm">{band.central_nm}</CENTRAL></Wavelength></Spectral_Information>'
        for number, band in enumerate(BANDS.values())
    )


def _footprint(square: Square) -> str:
    """Return the corners from the upper left, clockwise and closed: latitude before longitude, in degrees."""
    west, south, east, north = square.bounds
    to_degrees = Transformer.from_crs(square.epsg, 4326, always_xy=True)
    corners = [(west, north), (east, north), (east, south), (west, south), (west, north)]
    degrees = [to_degrees.transform(*corner) for corner in corners]
    return " ".join(f"{latitude:.6f} {longitude:.6f}" for longitude, latitude in degrees)


def _inspections(facts: Facts) -> str:
    if facts.name.level == "L1C":
        lines = [f"<{check}_FLAG>{facts.results[check]}</{check}_FLAG>" for check in CHECKS]
    else:
        lines = [f'<quality_check checkType="{check}">{facts.results[check]}</quality_check>' for check in CHECKS]
    return "\n".join(f"        {line}" for line in lines)
