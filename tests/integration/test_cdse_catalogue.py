"""Names to ids: what the catalogue may say of a product, and what is made of it."""

from __future__ import annotations

import bz2
import json
import random
from pathlib import Path

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from ben_luigi.domain.cdse.catalogue import CatalogueProduct, parse_page
from ben_luigi.domain.cdse.http import Client, Patience
from ben_luigi.domain.cdse.resolve import (
    Resolution,
    read_tile_ids,
    read_tile_names,
    require,
    resolve,
    write_states,
    write_tile_ids,
)
from ben_luigi.domain.errors import BadInput, PermanentError, TransientError
from ben_luigi.domain.names import ProductName
from ben_luigi.sample.cdse_faults import Fault, Record, Script, another_id
from ben_luigi.sample.cdse_server import CdseServer

NAME = ProductName.parse("S2A_MSIL1C_20170613T101031_N0205_R022_T33UUP_20170613T101608.SAFE")
REPROCESSED = "S2A_MSIL1C_20170613T101031_N0500_R022_T33UUP_20230815T101500.SAFE"
ID = "f602623e-fd82-5a53-ba09-b05ce085e40c"
QUICK = Patience(tries=2, first_pause_s=0.001, longest_pause_s=0.01)


def record(name: str = str(NAME), key: str = ID, **changes: object) -> Record:
    """A product as OData spells it."""
    return {"Id": key, "Name": name, "Online": True, "PublicationDate": "2017-06-13T16:00:00.000Z", **changes}


def ask(records: list[Record], known: str = ID, faults: list[Fault] | None = None) -> Resolution:
    """What comes of NAME if the catalogue holds `records`."""
    with CdseServer(records, Path(), faults or []) as server, Client(server.service, QUICK) as client:
        return resolve([NAME], client, {str(NAME): known} if known else None)[0]


OTHER = another_id(record())
STATES = {
    "exact": ([record()], ID, "exact", ID, ""),
    "found": ([record()], "", "found", ID, ""),
    "moved": ([record()], OTHER, "moved", ID, f"published as {OTHER}"),
    "superseded": ([record(REPROCESSED)], ID, "superseded", ID, f"by {REPROCESSED}"),
    "superseded and deleted": (
        [record(REPROCESSED, OTHER), record(DeletionDate="2024-05-01", DeletionCause="Obsolete")],
        ID,
        "superseded",
        OTHER,
        f"by {REPROCESSED}; {ID} deleted 2024-05-01, Obsolete",
    ),
    "offline": ([record(Online=False)], ID, "offline", ID, ""),
    "deleted": ([record(DeletionDate="2024-05-01")], ID, "deleted", ID, f"{ID} deleted 2024-05-01"),
    "gone": ([record(REPROCESSED.replace("N0500", "N0400"))], ID, "gone", "", ""),
    "the other of two, of which the published is offline": (
        [record(Online=False), record(key=OTHER)],
        ID,
        "moved",
        OTHER,
        f"published as {ID}, which is offline; the online one published last of {', '.join(sorted([ID, OTHER]))}",
    ),
    "the published of two": (
        [record(), record(key=OTHER, PublicationDate="2024-01-01")],
        ID,
        "exact",
        ID,
        f"also listed as {OTHER}",
    ),
    "the later of two": (
        [record(), record(key=OTHER, PublicationDate="2024-01-01")],
        "",
        "found",
        OTHER,
        f"the online one published last of {', '.join(sorted([ID, OTHER]))}",
    ),
    "the online of two": (
        [record(), record(key=OTHER, PublicationDate="2024-01-01", Online=False)],
        "",
        "found",
        ID,
        f"the online one published last of {', '.join(sorted([ID, OTHER]))}",
    ),
}


@pytest.mark.parametrize(("records", "known", "state", "key", "note"), STATES.values(), ids=STATES)
def test_state(records: list[Record], known: str, state: str, key: str, note: str) -> None:
    """Each thing that the catalogue can say has its state, its product and its note."""
    found = ask(records, known)
    assert (found.state, found.product.id if found.product else "", found.note) == (state, key, note)
    assert (found.problem is None) == (state in ("exact", "found", "moved"))


def test_two_ids_that_no_rule_decides_between_are_an_error_that_names_both() -> None:
    found = ask([record(), record(key=OTHER)], known="")
    assert found.state == "ambiguous"
    with pytest.raises(PermanentError, match=r"T33UUP.*ambiguous") as caught:
        require([found])
    assert ID in str(caught.value) and OTHER in str(caught.value)


def test_decoys_do_not_match() -> None:
    """Other level, other tile, other date, other baseline, and a name that only begins the same."""
    base = str(NAME)
    decoys = [
        base.replace("L1C", "L2A"),
        base.replace("T33UUP", "T33UUQ"),
        base.replace("N0205", "N0204"),
        base + ".old",
        base.removesuffix(".SAFE"),
        base.lower(),
        "S2A_MSIL1C_20170613T101031_N0500_R022_T33UUQ_20230815T101500.SAFE",
    ]
    assert ask([record(decoy, another_id(record(key=f"{decoy}"))) for decoy in decoys]).state == "gone"


def test_an_empty_answer_counts_only_when_it_repeats() -> None:
    """One for all names at once, and one for the single name, are not enough to call a product gone."""
    assert ask([record()], faults=[Fault("catalogue", "empty", 2)]).state == "exact"
    assert ask([record()], faults=[Fault("catalogue", "empty", 4)]).state == "gone"


def test_an_empty_answer_of_deleted_or_reprocessed_products_counts_only_when_it_repeats() -> None:
    deleted, reprocessed = [record(DeletionDate="2024-05-01")], [record(REPROCESSED)]
    assert ask(deleted, faults=[Fault("deleted", "empty", 1)]).state == "deleted"
    assert ask(deleted, faults=[Fault("deleted", "empty", 2)]).state == "gone"
    # One question for all names, two for the single one and two for deleted ones come first, and are empty anyway.
    assert ask(reprocessed, faults=[Fault("catalogue", "empty", 6)]).state == "superseded"
    assert ask(reprocessed, faults=[Fault("catalogue", "empty", 7)]).state == "gone"


def test_a_name_that_gets_no_answer_stops_no_other() -> None:
    """But when no name gets one, the catalogue cannot be asked."""
    names = [NAME, *(NAME.parse(str(NAME).replace("T33UUP", f"T33UU{letter}")) for letter in "QRST")]
    records = [record(str(name), another_id(record(key=str(name)))) for name in names]
    faults = [Fault("catalogue", "500", None, product=str(NAME))]
    with CdseServer(records, Path(), faults) as server, Client(server.service, QUICK) as client:
        found = resolve(names, client)
        assert [one.state for one in found] == ["unanswered", *["found"] * 4]
        assert "HTTP 500" in str(found[0].problem) and "next: run again later" in str(found[0].problem)
        server.script = Script([Fault("catalogue", "500", None)])
        server.counts.clear()
        with pytest.raises(TransientError, match="HTTP 500"):
            resolve(names, client)
        assert sum(server.counts.values()) == 4 * QUICK.tries


def test_what_the_catalogue_says_does_not_forge_lines_of_the_log() -> None:
    said = {"value": [], "@odata.nextLink": "https://example.org/\n2026-01-01 all is well\x1b[2J"}
    with CdseServer([record()], Path()) as server, Client(server.service, QUICK) as client:
        _, following = parse_page(json.dumps(said).encode())
        with pytest.raises(TransientError) as caught:
            client.fetch("GET", following)
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)


def test_superseded_is_taken_only_if_the_user_says_so(tmp_path: Path) -> None:
    records = [record(REPROCESSED, OTHER)]
    with CdseServer(records, Path()) as server, Client(server.service, QUICK) as client:
        refused, accepted = (resolve([NAME], client, accept_superseded=accept)[0] for accept in (False, True))
    write_tile_ids(tmp_path / "ids.csv", [refused])
    assert read_tile_ids(tmp_path / "ids.csv") == {}
    write_tile_ids(tmp_path / "ids.csv", [accepted])
    assert read_tile_ids(tmp_path / "ids.csv") == {REPROCESSED: OTHER}
    assert refused.problem and "accept_superseded" in str(refused.problem)


def test_the_table_of_states(tmp_path: Path) -> None:
    later = NAME.parse(str(NAME).replace("T33UUP", "T33UUQ"))
    write_states(tmp_path / "states.csv", [Resolution(later, "gone"), ask([record()], OTHER)])
    assert (tmp_path / "states.csv").read_text() == (
        f"tile,state,id,note,sources\n{NAME},moved,{ID},published as {OTHER},cdse\n{later},gone,,,none\n"
    )


def test_what_cannot_be_had_is_named_product_by_product() -> None:
    with pytest.raises(PermanentError) as caught:
        require([Resolution(NAME, "gone"), Resolution(NAME, "deleted", note="2024-05-01"), Resolution(NAME, "exact")])
    assert str(caught.value).startswith("2 products;")
    assert "gone" in str(caught.value) and "deleted: 2024-05-01" in str(caught.value)


def test_as_the_real_one_the_server_gives_20_a_page_and_refuses_to_skip_far() -> None:
    names = [str(NAME).replace("T101608", f"T1016{number:02d}") for number in range(45)]
    with CdseServer([record(name, another_id(record(key=name))) for name in names], Path()) as server:
        start = "S2A_MSIL1C_20170613"
        page = requests.get(f"{server.catalogue_url}/Products?$filter=startswith(Name,'{start}')", timeout=5).json()
        assert len(page["value"]) == 20
        assert "%24skip=20" in page["@odata.nextLink"]
        assert requests.get(f"{server.catalogue_url}/Products?$filter=&$skip=0", timeout=5).status_code == 400
        url = f"{server.catalogue_url}/Products?$filter=Name eq 'x'&$skip=10001"
        assert requests.get(url, timeout=5).status_code == 422


@pytest.fixture(scope="module")
def tile_names(published: Path) -> list[ProductName]:
    """The names of the published list of v1 patches."""
    return read_tile_names(published / "tile_names_and_links.csv.bz2")


def test_the_published_ids_come_back_to_the_byte(
    tile_names: list[ProductName], published: Path, tmp_path: Path
) -> None:
    """From the catalogue of the 125 products among thousands of others, in one request."""
    path = published / "bigearthnet_s2_tile_ids.csv"
    ids = read_tile_ids(path)
    assert sorted(ids) == [str(name) for name in tile_names]
    records = [record(name, key) for name, key in ids.items()]
    records += [record(name.replace("_N02", "_N05"), another_id(record(key=name))) for name in ids]
    records += [record(name.replace("L1C", "L2A"), another_id(record(key=name + "2"))) for name in ids]
    records += [record(name.replace("_T3", "_T4"), another_id(record(key=name + "3"))) for name in ids]
    random.Random(1).shuffle(records)
    with CdseServer(records, Path()) as server, Client(server.service, QUICK) as client:
        found = resolve(tile_names, client, ids)
        assert sum(server.counts.values()) == 1
    assert {resolution.state for resolution in found} == {"exact"}
    write_tile_ids(tmp_path / "ids.csv", found)
    assert (tmp_path / "ids.csv").read_bytes() == path.read_bytes()


def test_tile_names_are_distinct_and_sorted(tmp_path: Path) -> None:
    later = str(NAME).replace("T33UUP", "T33UUQ")
    rows = [f"S2A_MSIL2A_20170613T101031_0_{number},{later if number % 2 else NAME},https://x" for number in range(6)]
    text = "\r\n".join([*rows, ""]).encode()
    (tmp_path / "names.csv").write_bytes(text)
    (tmp_path / "names.csv.bz2").write_bytes(bz2.compress(text))
    assert [str(name) for name in read_tile_names(tmp_path / "names.csv")] == [str(NAME), later]
    assert read_tile_names(tmp_path / "names.csv.bz2") == read_tile_names(tmp_path / "names.csv")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "an empty file"),
        (b"a,b\r\n", "line 1"),
        (f"p,{NAME},u\r\np,{NAME}\r\n".encode(), "line 2"),
        (f"p,{NAME},u\r\np,S2A_MSIL1C_2017,u\r\n".encode(), "line 2.*S2A_MSIL1C_2017"),
        (f"p,{NAME},u\r\np,{str(NAME).replace('L1C', 'L2A')},u\r\n".encode(), "line 2.*the name of an L1C product"),
        (b"p,\xff\xfe,u\r\n", "line 1"),
    ],
)
def test_a_bad_list_of_names_is_an_error_with_file_and_line(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_bytes(content)
    with pytest.raises(BadInput, match=f"(?s)names.csv.*{says}"):
        read_tile_names(tmp_path / "names.csv")


def test_a_list_that_is_no_bz2_or_not_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "names.csv.bz2").write_bytes(b"no")
    for name in ("names.csv.bz2", "missing.csv"):
        with pytest.raises(BadInput, match=name):
            read_tile_names(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "header"),
        (f"tile,uuid\n{NAME},{ID}\n", "header"),
        (f"tile,id\n{NAME},{ID.upper()}\n", "line 2"),
        (f"tile,id\n{NAME}\n", "line 2"),
        (f"tile,id\nS2A,{ID}\n", "line 2"),
        (f"tile,id\n{NAME},{ID}\n{NAME},{OTHER}\n", "each tile once"),
        (f"tile,id\n{NAME},{ID}\n{str(NAME).replace('T33UUP', 'T33UUQ')},{ID}\n", "each id once"),
    ],
)
def test_bad_tile_ids_are_an_error(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "ids.csv").write_text(text)
    with pytest.raises(BadInput, match=f"(?s)ids.csv.*{says}"):
        read_tile_ids(tmp_path / "ids.csv")


def test_what_is_doubtful_in_a_record_counts_as_unknown() -> None:
    product = CatalogueProduct.parse(
        record(
            ContentLength=10**30,
            PublicationDate="soon",
            Online=None,
            Checksum=[{"Value": "xyz", "Algorithm": "MD5"}, None, {"Value": "A" * 64, "Algorithm": "blake3"}, {}],
        )
    )
    assert (product.length_bytes, product.online) == (None, True)
    assert product.checksums == {"BLAKE3": "a" * 64}
    assert product.published.year == 1970


FIELDS = st.sampled_from(
    ["Id", "Name", "Online", "ContentLength", "Checksum", "Value", "Algorithm", "PublicationDate", "DeletionDate"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from([ID, str(NAME)]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(FIELDS, inner, max_size=6),
    max_leaves=6,
)


@settings(max_examples=1_500)
@given(st.lists(JSON, max_size=2), JSON, st.integers(0, 400), st.sampled_from([None, b"", b"\0", b"[", b'"', b"\xff"]))
def test_a_mangled_page_is_an_error_or_a_right_result(
    values: list[object], following: object, where: int, mangle: bytes | None
) -> None:
    """Whatever the catalogue sends: products with an id and a name, or TransientError."""
    body = json.dumps({"value": [record(), *values], "@odata.nextLink": following}).encode()
    if mangle is not None:
        body = body[:where] + mangle + body[where + 1 :]
    try:
        products, link = parse_page(body)
    except TransientError:
        return
    assert isinstance(link, str)
    assert all(len(product.id) == 36 and product.id == product.id.lower() for product in products)
    assert all(product.length_bytes is None or product.length_bytes > 0 for product in products)


@settings(max_examples=800)
@given(st.binary(max_size=60), st.integers(0, 200))
def test_a_mangled_list_of_names_is_an_error_or_a_right_result(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, where: int
) -> None:
    rows = f"p,{NAME},u\r\nq,{NAME},u\r\n".encode()
    path = tmp_path_factory.getbasetemp() / "mangled.csv"
    path.write_bytes(rows[:where] + junk + rows[where:])
    try:
        names = read_tile_names(path)
    except BadInput:
        return
    assert names and all(ProductName.parse(str(name)) == name for name in names)
