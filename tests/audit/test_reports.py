"""What the reports hold, and that the page stands on its own."""

import csv
import io
import json
import re
from html.parser import HTMLParser

import pytest

from lipverify.audit import REPORTS, AuditResult
from lipverify.audit.answer import Found
from lipverify.audit.report import words
from lipverify.audit.report.plots import CELL, COLOURS, heat_map
from lipverify.audit.report.records import COLUMNS
from tests.audit.cases import plain_audit, ran, weights

EVIL = 'evil <script>alert("x")</script> & co'


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> tuple[AuditResult, dict[str, str]]:
    folder = tmp_path_factory.mktemp("reports")
    regions = ["line", {"kind": "neighbourhood", "share": 0.01}, "global"]
    keys = {"increasing": ["a", "b"], "insensitive": ["c"], "delta": 0.2, "regions": regions}
    path = plain_audit(folder, weights([3, 8, 8, 1], 3), 8, name=EVIL, **keys)
    result = ran(path)
    return result, {name: report(result) for name, report in REPORTS.items()}


class _Page(HTMLParser):
    """Tags, their attributes, and the text."""

    VOID = ("meta", "br", "rect", "line", "circle", "polyline", "polygon")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: dict[str, int] = {}
        self.links: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] = self.seen.get(tag, 0) + 1
        self.links += [f"{tag} {name}" for name, _ in attrs if name in ("src", "href", "srcset")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] = self.seen.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"{tag} closes another element"

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_is_whole_and_needs_nothing_else(texts) -> None:  # noqa: ANN001
    result, found = texts
    page = _Page()
    page.feed(found["report.html"])
    assert not page.open, "elements that are not closed"
    assert (
        not page.links
        and "url(" not in found["report.html"]
        and "@import" not in found["report.html"]
    )
    assert "script" not in page.seen
    text = " ".join("".join(page.text).split())
    assert EVIL in text, "names are text, not markup"
    facts = json.loads(found["audit.json"])
    for hash_ in (facts["network"]["sha256"], facts["table"]["sha256"], facts["audit"]["sha256"]):
        assert hash_ in text
    for claim in (*facts["questions"], *words.NOT_SHOWN):
        assert " ".join(claim.split()) in text
    lines = [
        question for question in result.context.audit.questions if "line" in question.region.name
    ]
    assert page.seen["svg"] >= 1 + len(lines)
    assert "nan" not in found["report.html"].lower().replace("nano", "")


def test_totals_are_those_of_the_records(texts) -> None:  # noqa: ANN001
    result, found = texts
    facts = json.loads(found["audit.json"])
    rows = list(csv.DictReader(io.StringIO(found["records.csv"])))
    assert tuple(rows[0]) == COLUMNS
    assert len(facts["totals"]) == 9
    for total in facts["totals"]:
        assert set(total) == {"feature", "region", "direction", "verified", "falsified", "unknown"}
        for word in ("verified", "falsified", "unknown"):
            count = sum(
                row["verdict"] == word
                and all(row[key] == total[key] for key in ("feature", "region", "direction"))
                for row in rows
            )
            assert count == total[word]
    assert facts["totals"] == result.totals


def test_rows_hold_what_they_promise(texts) -> None:  # noqa: ANN001
    _, found = texts
    falsified = 0
    for row in csv.DictReader(io.StringIO(found["records.csv"])):
        assert bool(row["reason"]) == (row["verdict"] == "unknown")
        pair = (row["before"], row["after"], row["output_before"], row["inputs_after"])
        assert all(pair) == any(pair) == (row["verdict"] == "falsified")
        if all(pair):
            falsified += 1
            before, after = json.loads(row["inputs_before"]), json.loads(row["inputs_after"])
            changed = [name for name in before if before[name] != after[name]]
            if row["direction"] == "increasing":
                assert changed == [row["feature"]]
                assert float(row["output_after"]) < float(row["output_before"])
    assert falsified > 5


def test_markdown_has_every_total(texts) -> None:  # noqa: ANN001
    _, found = texts
    assert "<script>" not in found["audit.md"]
    rows = [line for line in found["audit.md"].splitlines() if line.startswith("| a |")]
    assert len(rows) == 3


@pytest.mark.parametrize("value", [1 / 3, -2 / 3, 1e-9, -123456.789, 0.0])
def test_ends_are_rounded_outward(value: float) -> None:
    assert float(words.down(value)) <= value <= float(words.up(value))


def test_shares_do_not_round_to_all() -> None:
    assert words.share(9999, 10000) == "99.9 %" and words.share(10000, 10000) == "100 %"
    assert words.share(1, 100000) == "0.1 %" and words.share(0, 3) == "0 %"


def test_records_that_were_not_asked_stay_white() -> None:
    """Columns are records, not answers: the second of three was not asked."""
    verdicts = {4: Found.VERIFIED, 9: Found.FALSIFIED}
    drawn = heat_map([("one", verdicts)], [4, 7, 9])
    places = re.findall(r'<rect x="([0-9.]+)"[^>]*fill="(#[0-9a-f]+)"', drawn)
    (first, green), (last, red) = places
    assert (green, red) == (COLOURS[Found.VERIFIED], COLOURS[Found.FALSIFIED])
    assert float(last) - float(first) == pytest.approx(2 * CELL)
