"""Define where everything is in a sample world."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ben_luigi.domain.names import ProductName


@dataclass(frozen=True)
class World:
    """The paths of the sample world in `folder`."""

    folder: Path

    @property
    def products(self) -> Path:
        """Folder of the L1C products, zipped as CDSE zips them."""
        return self.folder / "products"

    def product_zip(self, product: ProductName) -> Path:
        """Return the zip of one L1C product."""
        return self.products / f"{product.stem}.zip"

    @property
    def catalogue(self) -> Path:
        """CDSE's catalogue: a JSON list of products; `File` is relative to `folder`."""
        return self.folder / "products.json"

    @property
    def l2a_process(self) -> Path:
        """The stand-in for Sen2Cor's `L2A_Process`; the one file that differs between machines."""
        return self.folder / "bin" / "L2A_Process"

    @property
    def tile_names_csv(self) -> Path:
        """Version 1 patch, L1C product, link."""
        return self.folder / "tile_names_and_links.csv"

    @property
    def v1_spatial_dir(self) -> Path:
        """Folder of the version 1 geometries, one GeoParquet file per UTM zone."""
        return self.folder / "v1_spatial"

    @property
    def s1s2_mapping_csv(self) -> Path:
        """Version 1 patch, Sentinel-1 patch."""
        return self.folder / "s1s2_mapping.csv"

    @property
    def snow_csv(self) -> Path:
        """Version 1 patches with seasonal snow."""
        return self.folder / "patches_with_seasonal_snow.csv"

    @property
    def cloud_csv(self) -> Path:
        """Version 1 patches with cloud or shadow."""
        return self.folder / "patches_with_cloud_and_shadow.csv"

    @property
    def s1_dir(self) -> Path:
        """Folder of the Sentinel-1 patches, extracted."""
        return self.folder / "s1"

    @property
    def clc_gpkg(self) -> Path:
        """CORINE Land Cover 2018."""
        return self.folder / "U2018_CLC2018_V2020_20u1.gpkg"

    @property
    def countries_geojson(self) -> Path:
        """Natural Earth's countries."""
        return self.folder / "ne_110m_admin_0_countries.geojson"

    @property
    def region_polygons(self) -> Path:
        """Regions of a user's own; in the worlds of L2A products."""
        return self.folder / "regions.geojson"

    @property
    def land_cover_raster(self) -> Path:
        """Codes of ESA WorldCover, in degrees; in the world of the southern product."""
        return self.folder / "land_cover.tif"
