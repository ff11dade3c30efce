"""CITATION.cff and LICENSE, as a recipe says them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ben_luigi.domain.dataset import croissant, rights
from ben_luigi.domain.dataset.about import V2, About
from ben_luigi.domain.dataset.form import FORM_V2

OWN = About("alps", "1.0.0", "CC-BY-4.0", "")
BOOK = """@article{mine2024,
  title = {Labels of the {Alps}, and "more"},
  author = "Maria Anna van Beek and Dem{\\"i}r, Ali and Öz Ünal",
  year = 2024, journal={Remote Sensing}, doi = {10.1000/182}
}
"""


def parsed(text: str) -> dict[str, object]:
    """The subset of YAML that is written: maps of JSON's texts, and lists of such maps."""
    found: dict[str, object] = {}
    path: list[tuple[int, object]] = [(0, found)]
    for line in text.splitlines():
        indent, rest = len(line) - len(line.lstrip()), line.strip()
        while path[-1][0] > indent:
            path.pop()
        if rest.startswith("- "):
            people: object = path[-1][1]
            person: dict[str, object] = {}
            assert isinstance(people, list)
            people.append(person)
            path.append((indent + 2, person))
            indent, rest = indent + 2, rest[2:]
        name, _, value = rest.partition(": ") if ": " in rest else (rest.removesuffix(":"), "", "")
        parent = path[-1][1]
        assert isinstance(parent, dict), line
        if value:
            parent[name] = json.loads(value) if value[0] == '"' or value.isdecimal() else value
            continue
        parent[name] = [] if name == "authors" else {}
        path.append((indent + 1, parent[name]))
    return found


def test_the_citation_of_a_recipe_is_what_its_bibtex_says() -> None:
    about = About("alps", "1.2.0", "CC-BY-4.0", BOOK)
    found = parsed(rights.citation('The Alps: "2023"', about))
    people = [
        {"family-names": "Beek", "given-names": "Maria Anna", "name-particle": "van"},
        {"family-names": "Demïr", "given-names": "Ali"},
        {"family-names": "Ünal", "given-names": "Öz"},
    ]
    assert found == {
        "cff-version": "1.2.0",
        "message": "If you use this dataset, cite it as below.",
        "type": "dataset",
        "title": 'The Alps: "2023"',
        "version": "1.2.0",
        "license": "CC-BY-4.0",
        "authors": people,
        "preferred-citation": {
            "type": "article",
            "title": 'Labels of the Alps, and "more"',
            "year": 2024,
            "doi": "10.1000/182",
            "journal": "Remote Sensing",
            "authors": people,
        },
    }


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r"Ren\'e Erd\H{o}s", "René Erdős"),
        (r"{\v S}imon Fran\c{c}ois", "Šimon François"),
        (r"na\"{\i}ve Stra{\ss}e", "naïve Straße"),
        (r"{\O}rsted, \AA ngstr\"om, {\L}ukasz, \u{g}", "Ørsted, Ångström, Łukasz, ğ"),
        (r"\'{\i} and {\'{E}}cole, Mu\~noz", "í and {É}cole, Muñoz".replace("{É}", "É")),
        (r"Caf\'{e} \& B\_1, 50\%", "Café & B_1, 50%"),
        (r"a \{set\} of 1--2, ``so''", "a {set} of 1\u20132, \u201cso\u201d"),
        ("Begüm Ångström", "Begüm Ångström"),
        ("Be\u0301zier", "Bézier"),
        (r"\textit{kept}", r"\textitkept"),
    ],
)
def test_commands_of_latex_are_the_characters_that_they_mean(written: str, meant: str) -> None:
    """So that programs that know no LaTeX have names and titles as people write them, composed as in NFC."""
    about = About("alps", "1", "MIT", f"@misc{{x, author={{A B}}, title={{{written}}}}}")
    reference = parsed(rights.citation("x", about))["preferred-citation"]
    assert isinstance(reference, dict) and reference["title"] == meant


def test_addresses_are_not_read_as_latex() -> None:
    url = "https://x.org/~me/a--b\\_c"
    about = About("alps", "1", "MIT", f"@misc{{x, author={{A B}}, title={{T}}, url={{{url}}}}}")
    reference = parsed(rights.citation("x", about))["preferred-citation"]
    assert isinstance(reference, dict) and reference["url"] == "https://x.org/~me/a--b_c"


def test_authors_are_divided_as_bibtex_does() -> None:
    text = r"Charles Joseph de la Vall{\'e}e Poussin and {ESA and Friends} and King, Jr, Martin and van Beek, M."
    assert list(rights.authors(rights.fields(f"@misc{{x, author={{{text}}}}}")["author"])) == [
        {"family-names": "Vallée Poussin", "given-names": "Charles Joseph", "name-particle": "de la"},
        {"name": "ESA and Friends"},
        {"family-names": "King", "given-names": "Martin", "name-suffix": "Jr"},
        {"family-names": "Beek", "given-names": "M.", "name-particle": "van"},
    ]


@pytest.mark.parametrize("text", ["Doe, Jane and others", "Doe, Jane AND others"])
def test_others_are_no_author(text: str) -> None:
    assert list(rights.authors(text)) == [{"family-names": "Doe", "given-names": "Jane"}]


def test_authors_may_be_joined_in_capitals() -> None:
    assert [one["family-names"] for one in rights.authors("Doe, Jane AND Roe, Rick")] == ["Doe", "Roe"]


@pytest.mark.parametrize(
    "text",
    [
        "% as of 2024\n@misc{x, author={Doe, Jane}, title={The {Alps}}}\n% the end }",
        '@string{who = "Jane"}\n@misc{x, author="Doe, " # {Ja} # "ne", title={The } # {{Alps}}}',
        "% @misc{y, author={Roe, Rick}}\n@comment{z, author={Roe}}\n @misc{x, title={The {Alps}}, author={Doe, Jane}}",
    ],
)
def test_what_is_around_an_entry_is_a_comment_and_texts_may_be_joined(text: str) -> None:
    found = rights.fields(text)
    assert found == {"ENTRYTYPE": "misc", "author": "Doe, Jane", "title": "The {Alps}"}


def test_a_preprint_is_cited_by_its_address() -> None:
    """As the paper on BigEarthNet v2 is, whose BibTeX has braces, umlauts and six authors."""
    found = rights.fields(V2.citation)
    assert found["author"].count(" and ") == 5 and found["year"] == "2024"
    reference = parsed(rights.citation("x", V2))["preferred-citation"]
    assert isinstance(reference, dict)
    assert reference["url"] == "https://arxiv.org/abs/2407.03653" and reference["type"] == "generic"
    assert reference["authors"][4] == {"family-names": "Demir", "given-names": "Begüm"}


@pytest.mark.parametrize(
    ("citation", "message"),
    [
        ("", "If you use this dataset, cite it as below."),
        ("A. Author: The\nAlps. 2024.", "If you use this dataset, cite: A. Author: The Alps. 2024."),
        ("@misc{broken, title={never closed", "If you use this dataset, cite: @misc{broken, title={never closed"),
    ],
)
def test_without_bibtex_the_dataset_stands_as_its_own_author(citation: str, message: str) -> None:
    """The format requires one. A citation in words is passed on as it is."""
    found = parsed(rights.citation("The Alps", About("alps", "1", "MIT", citation)))
    assert found["authors"] == [{"name": "The Alps"}] and found["message"] == message
    assert "preferred-citation" not in found


@pytest.mark.parametrize(
    ("years", "said"),
    [([2023], "data 2023."), ([2017, 2018], "data 2017 and 2018."), ([2021, 2022, 2023], "data 2021, 2022 and 2023.")],
)
def test_the_licence_names_what_has_to_stay_with_the_data(years: list[int], said: str) -> None:
    text = rights.licence("The Alps", OWN, years, ["The land cover: its makers."])
    assert text.startswith("SPDX-License-Identifier: CC-BY-4.0\n")
    assert "- The Alps, version 1.0.0\n" in text and f"- Contains modified Copernicus Sentinel {said}\n" in text
    assert text.endswith("- The land cover: its makers.\n") and "BigEarthNet" not in text


def test_a_licence_of_ones_own_is_no_licence_of_spdx() -> None:
    """It has no page there, and CFF does not allow it."""
    own = About("alps", "1.0.0", "LicenseRef-mine", "")
    text = rights.licence("The Alps", own, [2023], [])
    assert text.startswith("SPDX-License-Identifier: LicenseRef-mine\n\nSPDX has no such licence")
    assert "license" not in parsed(rights.citation("The Alps", own)) and "spdx.org" not in text
    described = croissant.describe({}, "t", "d", replace(FORM_V2, about=replace(V2, license=own.license)))
    assert described["license"] == "LicenseRef-mine"
    assert OWN.license_url == "https://spdx.org/licenses/CC-BY-4.0.html"
