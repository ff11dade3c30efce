"""Addresses of the services that are asked: those of the configuration, else the services' own."""

from __future__ import annotations

from ben_luigi import config
from ben_luigi.domain.vocabulary import GOOGLE_URL

_EEA = "https://image.discomap.eea.europa.eu/arcgis/rest/services"
_CDSE = "dataspace.copernicus.eu"


def land_cover_api_url() -> str:
    """Return the interface that takes the service key."""
    return str(config.land_cover().api_url).rstrip("/") or "https://land.copernicus.eu/api"


def land_cover_url() -> str:
    """The layer of CORINE's polygons."""
    return str(config.land_cover().service_url) or f"{_EEA}/Corine/CLC2018_LAEA/MapServer/0"


def catalogue_url() -> str:
    """Return the OData root of the catalogue."""
    return str(config.cdse().catalogue_url) or f"https://catalogue.{_CDSE}/odata/v1"


def token_url() -> str:
    """Return the OpenID Connect token endpoint."""
    return str(config.cdse().token_url) or f"https://identity.{_CDSE}/auth/realms/CDSE/protocol/openid-connect/token"


def download_url() -> str:
    """Return the OData root of the downloads."""
    return str(config.cdse().download_url) or f"https://download.{_CDSE}/odata/v1"


def google_url() -> str:
    """Return the address of the public bucket."""
    return str(config.sources().google_url).rstrip("/") or GOOGLE_URL


def mirrors() -> list[str]:
    """Return the URL templates of the user's mirrors."""
    return str(config.sources().mirrors).replace(",", " ").split()


def trace_url() -> str:
    """Return the root of CDSE's traces; empty if CDSE is not asked, or if a service without traces replaces it."""
    service = config.cdse()
    if service.trace_url or service.catalogue_url or "cdse" not in config.source_order() or config.is_sample():
        return str(service.trace_url)
    return f"https://trace.{_CDSE}/api/v1"
