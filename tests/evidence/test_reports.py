"""What is written of a record: schema, argument, XML, page, tables."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import jsonschema
import pytest
import yaml

from lipverify.evidence.bundle.record import Record, published_schema, schema_text
from lipverify.evidence.bundle.report_sacm import SACM, XMI, XSI
from tests.evidence.gsn_rules import broken
from tests.evidence.sources import REQUIREMENTS


@pytest.fixture
def record(made: Path) -> Record:
    return Record.model_validate_json((made / "record.json").read_bytes())


@pytest.fixture
def gsn(made: Path) -> dict[str, Any]:
    return yaml.safe_load((made / "gsn.yaml").read_text())


def test_published_schema_is_of_the_classes(made: Path) -> None:
    assert published_schema() == schema_text(), "write schema_text() into record.schema.json"
    assert (made / "record.schema.json").read_text() == schema_text()


def test_record_follows_the_schema(made: Path) -> None:
    schema = json.loads(published_schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    document = json.loads((made / "record.json").read_text())
    validator.validate(document)
    document["properties"][0]["verdict"] = "safe"
    assert not validator.is_valid(document)
    document["properties"][0]["verdict"] = "verified"
    assert validator.is_valid(document)
    document["more"] = 1
    assert not validator.is_valid(document)


def test_what_the_record_says(record: Record) -> None:
    found = {(p.spec.removeprefix("inputs/"), p.index): p for p in record.properties}
    assert {key: (p.verdict, p.status) for key, p in found.items()} == {
        ("wine_sigmoid_robust.yaml", 0): ("verified", "established"),
        ("diabetes_tanh_not_monotone.yaml", 0): ("falsified", "refuted"),
        ("diabetes_tanh_not_monotone.yaml", 1): ("verified", "established"),
        ("digits_mlp_not_lipschitz.yaml", 0): ("unknown", "open"),
        ("digits_mlp_not_lipschitz.yaml", 1): ("verified", "established"),
        ("digits_mlp_vnnlib.yaml", 0): ("verified", "established"),
        ("digits_mlp_vnnlib.yaml", 1): ("falsified", "refuted"),
    }
    coverage = record.coverage
    assert (coverage.verified, coverage.falsified, coverage.unknown) == (4, 2, 1)
    assert coverage.certified == 0 and not coverage.unanswered
    assert found["wine_sigmoid_robust.yaml", 0].requirements == ["SR-12", "SR-14"]
    assert all(p.replay and p.replay.confirmed for p in record.properties if p.counterexample)
    assert found["digits_mlp_not_lipschitz.yaml", 1].threshold == 90.0
    wine = record.spec("inputs/wine_sigmoid_robust.yaml")
    assert wine.text.count("requirement: [SR-12, SR-14]") == 1
    assert len(wine.region.raw.lower) == 13 and wine.region.raw == wine.region.normalised
    assert any("1 of 7 properties are unknown" in text for text in record.limits)


def test_traceability(record: Record, made: Path) -> None:
    rows = {(row.requirement, row.property) for row in record.traceability}
    specs = {p.id: p for p in record.properties}
    assert {name for name, _ in rows} == {"SR-12", "SR-13", "SR-14"}
    for name, which in rows:
        assert name in REQUIREMENTS[specs[which].spec.removeprefix("inputs/")]
    table = (made / "traceability.csv").read_text().splitlines()
    assert len(table) == 1 + len(record.traceability)
    assert table[1].startswith("SR-12,P1,")


def test_gsn_keeps_the_rules(gsn: dict[str, Any]) -> None:
    assert not list(broken(gsn))
    assert len(gsn) > 20


PLANTED = {
    "V01": {"X1": {"text": "?"}},
    "V02": {"G9": {"text": "no support"}},
    "V03": {"G9": {"text": "both", "undeveloped": True, "supportedBy": ["SnP1"]}},
    "V04": {"G9": {"text": "context as support", "supportedBy": ["C1"]}},
    "V05": {"G9": {"text": "twice", "supportedBy": ["SnP1", "SnP1"]}},
    "V06": {"G9": {"text": "itself", "supportedBy": ["G9"]}},
    "C01": {"G9": {"text": "a second root", "undeveloped": True}},
    "C03": {"G9": {"text": "to nothing", "supportedBy": ["Sn99"]}},
    "C04": {"GP1": {"text": "a cycle", "supportedBy": ["GR1"]}},
    "C11": {"G9": {"text": "no list", "supportedBy": "SnP1"}},
}


@pytest.mark.parametrize("rule", PLANTED)
def test_gsn_rules_find_what_breaks_them(rule: str, gsn: dict[str, Any]) -> None:
    assert any(found.startswith(rule) for found in broken({**gsn, **PLANTED[rule]}))


def test_gsn_refers_to_files(gsn: dict[str, Any], made: Path) -> None:
    for element in gsn.values():
        assert (made / element["url"]).is_file()


def test_argument_claims_what_is_verified_only(gsn: dict[str, Any], record: Record) -> None:
    for prop in record.properties:
        goal = gsn[f"G{prop.id}"]
        if prop.verdict == "verified":
            assert goal["supportedBy"] and "undeveloped" not in goal
        else:
            assert goal["undeveloped"] is True and "supportedBy" not in goal
            assert goal["text"].startswith(("REFUTED", "NOT SHOWN"))
    assert gsn["G1"]["text"].startswith("NOT ESTABLISHED: 4 of 7")
    requirements = {g["text"] for name, g in gsn.items() if name.startswith("GR")}
    assert {text.startswith("NOT ESTABLISHED") for text in requirements} == {True, False}
    (met,) = (text for text in requirements if not text.startswith("NOT"))
    assert "SR-14" in met  # its only property is verified; SR-12 and SR-13 have others
    refuted = gsn["GP2"]
    assert any("Counter-evidence" in gsn[name]["text"] for name in refuted["inContextOf"])


@pytest.mark.parametrize("name", ["argument.sacm.xml", "junit.xml", "gsn.svg"])
def test_xml_is_well_formed(name: str, made: Path) -> None:
    Xml.parse(made / name)


def test_sacm(made: Path, record: Record) -> None:
    root = Xml.parse(made / "argument.sacm.xml").getroot()
    assert root.tag == f"{{{SACM['assurancecase']}}}AssuranceCasePackage"
    ids = [node.get(f"{{{XMI}}}id") for node in root.iter() if node.get(f"{{{XMI}}}id")]
    assert len(ids) == len(set(ids))
    for node in root.iter():
        for key in ("source", "target", "reasoning", "referencedArtifactElement"):
            assert set((node.get(key) or "").split()) <= set(ids), (key, node.attrib)
    claims = {
        node.get("gid"): node.get("assertionDeclaration")
        for node in root.iter("argumentationElement")
        if node.get(f"{{{XSI}}}type") == "argumentation:Claim"
    }
    expected = {"established": "asserted", "refuted": "defeated", "open": "needsSupport"}
    assert all(claims[f"G{p.id}"] == expected[p.status] for p in record.properties)
    assert claims["G1"] == "defeated"
    counter = [node for node in root.iter() if node.get("isCounter") == "true"]
    assert {node.get("target") for node in counter} == {"GP2", "GP7"}


def test_junit(made: Path) -> None:
    root = Xml.parse(made / "junit.xml").getroot()
    counts = [root.get(key) for key in ("tests", "failures", "errors")]
    assert counts == ["7", "2", "1"]
    assert len(root.findall(".//testcase")) == 7
    assert len(root.findall(".//failure")) == 2 and len(root.findall(".//error")) == 1
    values = {node.get("value") for node in root.findall(".//property")}
    assert values == {"SR-12", "SR-13", "SR-14"}


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset", "data", "action", "poster", "xlink:href"):
                self.links.append(value or "")


def test_page_stands_alone(made: Path, record: Record) -> None:
    text = (made / "report.html").read_text()
    found = _Links()
    found.feed(text)
    assert found.links and all(link.startswith("#") for link in found.links)
    assert not found.tags & {"script", "link", "img", "iframe", "object", "embed", "base"}
    assert "@import" not in text
    assert all(place.startswith("#") for place in re.findall(r"url\(([^)]*)\)", text))
    addresses = set(re.findall(r"https?://[^\"' <)]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg"}
    for prop in record.properties:
        assert f'id="{prop.id}"' in text
    assert "SR-13" in text and text.count("<svg") >= 10


def test_statement(made: Path) -> None:
    document = json.loads((made / "statement.json").read_text())
    assert document["_type"] == "https://in-toto.io/Statement/v1"
    names = [subject["name"] for subject in document["subject"]]
    present = {p.relative_to(made).as_posix() for p in made.rglob("*") if p.is_file()}
    assert set(names) == present - {"statement.json", "SHA256SUMS"}
    assert all(len(s["digest"]["sha256"]) == 64 for s in document["subject"])
