from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import psycopg2
import pytest
from luigi.configuration import get_config
from luigi.task_register import Register

from ben_luigi import config
from ben_luigi.domain.products.l1c import BANDS
from ben_luigi.sample import safe
from ben_luigi.sample.cdse_faults import Record
from ben_luigi.sample.cdse_server import CdseServer
from ben_luigi.sample.layout import World
from ben_luigi.state import database
from ben_luigi.state import tables as own_tables
from ben_luigi.state.server import close_server, open_server
from tests.integration import own_install
from tests.integration.cdse_downloads import ID, NAME
from tests.integration.database_rows import PRODUCTS, Set, fill
from tests.integration.fault_table import FaultTable
from tests.integration.right_rows import ROWS, insert
from tests.integration.running import Run, pipeline
from tests.integration.server_users import ask, processes


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[FaultTable]:
    """The faults of a module's tests, printed after the last."""
    faults = FaultTable()
    yield faults
    capture = request.config.pluginmanager.get_plugin("capturemanager")
    assert capture
    with capture.global_and_fixture_disabled():
        # In a worker of pytest-xdist only stderr reaches the terminal.
        print(faults, file=sys.stderr if "PYTEST_XDIST_WORKER" in os.environ else sys.stdout)


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an environment in which the package is installed."""
    folder = tmp_path_factory.mktemp("installed")
    own_install.install(folder, tmp_path_factory.mktemp("source"))
    return folder


@pytest.fixture(scope="session")
def sample_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The default run, from nothing to the finished dataset of the sample world; not to be changed.

    The parts of `scripts/test` share one, in the folder that BEN_SAMPLE_RUN names.
    """
    shared = os.environ.get("BEN_SAMPLE_RUN")
    folder = Path(shared) if shared else tmp_path_factory.mktemp("sample-run")
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ended = folder / "ended.json"
        if not ended.exists():
            run = pipeline(folder)
            if run.code == 0:
                run.keep_database()
            ended.write_text(json.dumps([run.code, run.said]))
        code, said = json.loads(ended.read_text())
    run = Run(code, said, folder / "data")
    assert run.code == 0, run.said
    return run


@pytest.fixture(scope="session")
def sample_world(sample_run: Run) -> World:
    """The sample world that the run made."""
    return World(sample_run.data / "sample")


@pytest.fixture(scope="session")
def l2a_dir(sample_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The L2A products of the run, in one folder, as a user has them who converted them before."""
    folder = tmp_path_factory.mktemp("l2a")
    for product in sorted((sample_run.data / "l2a").glob("*/*.SAFE")):
        (folder / product.name).symlink_to(product)
    return folder


@pytest.fixture(scope="session")
def extracted(sample_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset as its users have it: extracted by the real tar and zstd into one folder."""
    folder = tmp_path_factory.mktemp("extracted")
    for archive in sorted((sample_run.data / "dataset").glob("*.tar.zst")):
        subprocess.run(["tar", "--zstd", "-xf", archive, "-C", folder], check=True)
    for path in (sample_run.data / "dataset").glob("*.parquet"):
        shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a product of 3 MB."""
    folder, random = tmp_path_factory.mktemp("cdse"), Random(5)
    granule = "GRANULE/L1C_T33UUP_A010309_20170613T101608"
    members = {f"{granule}/IMG_DATA/T33UUP_20170613T101031_{band}.jp2": random.randbytes(240_000) for band in BANDS}
    members["manifest.safe"] = safe.manifest(members, "L1C")
    safe.write_zip(members, folder / "product.zip", NAME, datetime(2017, 6, 13))
    return folder


@pytest.fixture
def record(root: Path) -> Record:
    """What the catalogue says of it."""
    content = (root / "product.zip").read_bytes()
    checksum = [{"Value": hashlib.md5(content).hexdigest(), "Algorithm": "MD5"}]
    return {"Id": ID, "Name": NAME, "ContentLength": len(content), "Checksum": checksum, "File": "product.zip"}


@pytest.fixture
def server(root: Path, record: Record) -> Iterator[CdseServer]:
    """CDSE with that product."""
    with CdseServer([record], root) as running:
        yield running


@pytest.fixture(scope="module")
def database_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder with a server that lives as long as this module's tests."""
    folder = tmp_path_factory.mktemp("data")
    open_server(folder / "database")
    yield folder
    database._idle.clear()
    close_server(folder / "database")


@pytest.fixture
def settings() -> Iterator[Set]:
    """Set options of luigi.cfg until the end of the test."""
    parser = get_config()
    before: list[tuple[str, str, str | None]] = []

    def forget() -> None:
        Register.clear_instance_cache()
        config.is_sample.cache_clear()
        config.given_input.cache_clear()

    def change(section: str, option: str, value: str) -> None:
        old = parser.get(section, option) if parser.has_option(section, option) else None
        before.append((section, option, old))
        parser.set(section, option, value)
        forget()

    yield change
    for section, option, old in reversed(before):
        parser.remove_option(section, option) if old is None else parser.set(section, option, old)
    forget()


@pytest.fixture
def tables(database_folder: Path, settings: Set) -> Path:
    """Empty tables, but for the products and patches of two tiles."""
    settings("dataset", "data_dir", str(database_folder))
    with database.transaction() as cursor:
        cursor.execute("TRUNCATE product, marker CASCADE")
    for name in PRODUCTS[:2]:
        fill(name)
    return database_folder


@pytest.fixture
def own_database(tmp_path: Path, settings: Set) -> Iterator[Path]:
    """A data folder with a server that no other test uses, so that it can be damaged."""
    settings("dataset", "data_dir", str(tmp_path))
    open_server(tmp_path / "database")
    yield tmp_path
    database.forget()
    database._idle.clear()
    database._with_tables.clear()
    close_server(tmp_path / "database")


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A connection to a server with our tables, for a module's tests."""
    folder = tmp_path_factory.mktemp("tables")
    address = open_server(folder)
    connection = psycopg2.connect(host=address.host, user=address.user, dbname=address.database)
    with connection, connection.cursor() as cursor:
        own_tables.make(cursor)
    yield connection
    connection.close()
    close_server(folder)


@pytest.fixture
def cursor(connection: Any) -> Iterator[Any]:
    """A cursor with one right row in every table; undone at the end."""
    with connection.cursor() as cursor:
        for table, row in ROWS.items():
            insert(cursor, table, row)
        yield cursor
    connection.rollback()


@pytest.fixture(scope="module")
def made_cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("server") / "database"
    address = open_server(folder)
    ask(address, "CREATE TABLE kept (value integer)", "INSERT INTO kept VALUES (42)")
    close_server(folder)
    return folder


@pytest.fixture
def folder(made_cluster: Path) -> Iterator[Path]:
    """A folder with a cluster that holds a table; no server runs before or after a test."""
    assert not processes(made_cluster)
    yield made_cluster
    close_server(made_cluster)
    assert not processes(made_cluster)
