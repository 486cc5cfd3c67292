"""report.html: one page that stands alone, readable on paper."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from lipverify import figures
from lipverify.errors import MissingDependency
from lipverify.evidence.bundle.argument import overall, why_open
from lipverify.evidence.bundle.certificates import Split
from lipverify.evidence.bundle.gsn_svg import gsn_svg
from lipverify.evidence.bundle.plots import margin_plot, timeline_plot, tree_plot
from lipverify.evidence.bundle.record import Interval, Property, Record, Stage

COLOURS = {"established": "#cfe8d5", "refuted": "#f3c9cf", "open": "#f6e3b0"}
WORDS = {"established": "shown", "refuted": "refuted", "open": "not shown"}
LISTED = 12
"""Longer points are cut in the page; record.json has all of them."""


def html_report(record: Record, graphs: Mapping[str, str], trees: Mapping[str, list[Split]]) -> str:
    """`graphs` holds drawings by their paths in the bundle, `trees` those of certificates.

    `MissingDependency` without jinja2.
    """
    try:
        import jinja2
    except ImportError as error:
        raise MissingDependency(
            "jinja2 is needed to write report.html; install it with: pip install jinja2"
        ) from error
    text = files("lipverify.evidence.bundle").joinpath("report.html.jinja").read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["interval"] = _interval
    environment.filters["figure"] = _figure
    environment.filters["short"] = _short
    return environment.from_string(text).render(
        record=record,
        headline=_headline(record),
        colours=COLOURS,
        words=WORDS,
        argument=gsn_svg(record),
        graphs=graphs,
        properties=[_property(record, prop, trees) for prop in record.properties],
        requirements=bool(record.traceability),
    )


def _headline(record: Record) -> str:
    coverage = record.coverage
    status = overall(p.status for p in record.properties)
    known = (
        f"{coverage.verified} of {coverage.properties} properties verified "
        f"({coverage.certified} with a checked certificate), {coverage.falsified} falsified, "
        f"{coverage.unknown} unknown"
    )
    if coverage.unanswered:
        known += f"; {len(coverage.unanswered)} without an answer"
        status = overall([status, "open"])
    said = {
        "established": "All that was asked is shown.",
        "open": "Not all that was asked is shown.",
        "refuted": "Some of what was asked does not hold.",
    }
    return f"{said[status]} {known}."


def _property(record: Record, prop: Property, trees: Mapping[str, list[Split]]) -> dict[str, Any]:
    tree = trees.get(prop.id)
    return {
        "of": prop,
        "spec": record.spec(prop.spec),
        "timeline": timeline_plot(prop),
        "margins": margin_plot(prop),
        "tree": tree_plot(tree) if tree and len(tree) > 1 else "",
        "nodes": len(tree) if tree else 0,
        "leaves": sum(not node.label for node in tree) if tree else 0,
        "why": why_open(prop) if prop.status == "open" else "",
    }


def _interval(ends: Interval | Stage) -> str:
    """Rounded outward; an end that is not known is unbounded."""
    return figures.interval(ends.lower, ends.upper)


def _figure(value: float | None) -> str:
    return "?" if value is None else f"{value:.6g}"


def _short(values: list[float | None]) -> str:
    shown = ", ".join(_figure(value) for value in values[:LISTED])
    rest = len(values) - LISTED
    return f"[{shown}, and {rest} more]" if rest > 0 else f"[{shown}]"
