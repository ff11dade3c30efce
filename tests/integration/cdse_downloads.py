"""A product of 3 MB, what the catalogue says of it, and its download."""

from __future__ import annotations

from pathlib import Path

from ben_luigi.domain.cdse.account import Credentials
from ben_luigi.domain.cdse.catalogue import CatalogueProduct
from ben_luigi.domain.cdse.download import Download
from ben_luigi.domain.cdse.http import Client, Patience, Service
from ben_luigi.domain.cdse.token import Tokens
from ben_luigi.sample.cdse_faults import Record

NAME = "S2A_MSIL1C_20170613T101031_N0205_R022_T33UUP_20170613T101608.SAFE"
ID = "f602623e-fd82-5a53-ba09-b05ce085e40c"
QUICK = Patience(tries=3, waits=50, first_pause_s=0.005, longest_pause_s=0.05, read_timeout_s=10)


def download(service: Service, record: Record, folder: Path, patience: Patience = QUICK, **options: object) -> Download:
    """A download into `folder`."""
    client = Client(service, patience)
    tokens = Tokens(client, Credentials("sample", "sample"), folder / "state")
    product, target, err = CatalogueProduct.parse(record), folder / "t.zip", folder / f"{ID}.err"
    return Download(product, target, client, tokens, err, patience, **options)  # type: ignore[arg-type]
