"""The safety argument of a record, in the terms of GSN; reports write it in their own formats.

A goal is claimed only if its property is verified and no checker rejected its certificate. Goals
that are open or refuted stay in it, undeveloped, and say so.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from lipverify import figures
from lipverify.evidence.bundle.record import Property, Record, Status

Kind = Literal["goal", "strategy", "solution", "context", "assumption", "justification"]


@dataclass(frozen=True)
class Element:
    """One element; `status` of goals: whether they are claimed. `counter`: evidence against."""

    id: str
    kind: Kind
    text: str
    url: str = ""
    supported_by: tuple[str, ...] = ()
    in_context_of: tuple[str, ...] = ()
    undeveloped: bool = False
    status: Status | None = None
    counter: bool = False


MEASURED = ("lipschitz", "radius")
"""Kinds that, without a threshold, ask for an interval."""


def argument(record: Record) -> tuple[Element, ...]:
    """All elements, the root goal first; every other one is referenced by one before it."""
    requirements = list(dict.fromkeys(row.requirement for row in record.traceability))
    loose = [p for p in record.properties if not p.requirements]
    goals = [f"GR{k + 1}" for k in range(len(requirements))]
    elements = [*_top(record, goals, [_goal(p) for p in loose])]
    for goal, name in zip(goals, requirements, strict=True):
        elements.append(_requirement(record, goal, name))
    for prop in record.properties:
        elements += _property(record, prop)
    return tuple(elements)


def overall(statuses: Iterable[Status]) -> Status:
    """What may be said of several together."""
    found = set(statuses)
    if "refuted" in found:
        return "refuted"
    return "open" if "open" in found else "established"


def _top(record: Record, goals: list[str], loose: list[str]) -> list[Element]:
    coverage = record.coverage
    missing = len(coverage.unanswered)
    status = overall(p.status for p in record.properties)
    if missing:
        status = overall([status, "open"])
    claimed = sum(p.status == "established" for p in record.properties)
    text = f"All {coverage.properties} properties asked of the networks hold on their regions"
    if status != "established":
        text = (
            f"NOT ESTABLISHED: {claimed} of {coverage.properties + missing} properties asked of "
            "the networks are shown to hold on their regions"
        )
    over = "each requirement" if goals else "each property"
    if goals and loose:
        over += ", and each property that stands for none"
    return [
        Element(
            "G1",
            "goal",
            text,
            "record.json",
            ("S1",),
            ("C1", *(a.id for a in record.assumptions)),
            status=status,
        ),
        Element("S1", "strategy", f"Argument over {over}", "traceability.csv", (*goals, *loose)),
        Element("C1", "context", _tool(record), "record.json"),
        *(Element(a.id, "assumption", a.text, "record.json") for a in record.assumptions),
    ]


def _tool(record: Record) -> str:
    runs = record.runs
    return f"lipverify {runs[0].lipverify}, run {runs[0].started}; networks: " + ", ".join(
        network.path for network in record.networks
    )


def _requirement(record: Record, goal: str, name: str) -> Element:
    rows = [p for p in record.properties if name in p.requirements]
    status = overall(p.status for p in rows)
    claimed = sum(p.status == "established" for p in rows)
    text = f"Requirement {name} is met, as far as {_count(len(rows))} state it"
    if status != "established":
        text = f"NOT ESTABLISHED: requirement {name} ({claimed} of {_count(len(rows))} shown)"
    return Element(
        goal, "goal", text, "traceability.csv", tuple(_goal(p) for p in rows), status=status
    )


def _count(number: int) -> str:
    return "1 property" if number == 1 else f"{number} properties"


def _goal(prop: Property) -> str:
    return f"G{prop.id}"


def _property(record: Record, prop: Property) -> list[Element]:
    spec = record.spec(prop.spec)
    what = f"{spec.name}[{prop.index}]: {prop.asked}"
    network = record.network(spec.network)
    context = Element(
        f"C{prop.id}",
        "context",
        f"Region: {spec.region.shape}, {spec.region.volume_note}. Network {network.path}, SHA-256 "
        f"{network.sha256[:12]}...",
        prop.spec,
    )
    if prop.status == "established":
        return [_claimed(prop, what, context), context, *_solutions(prop)]
    against: list[Element] = []
    if prop.status == "refuted":
        assert prop.counterexample is not None
        text = f"REFUTED: {what}"
        against = [
            Element(
                f"CX{prop.id}",
                "context",
                f"Counter-evidence, replayed on the original network: "
                f"{prop.counterexample.statement}",
                "record.json",
                counter=True,
            )
        ]
    else:
        text = f"NOT SHOWN: {what} ({why_open(prop)})"
    contexts = (context.id, *(element.id for element in against))
    goal = Element(
        _goal(prop),
        "goal",
        text,
        prop.spec,
        in_context_of=contexts,
        undeveloped=True,
        status=prop.status,
    )
    return [goal, context, *against]


def why_open(prop: Property) -> str:
    """Why a property is not claimed, in words."""
    if prop.verdict == "verified":
        certificate = prop.certificate
        if certificate is not None and certificate.checker == "rejected":
            return "the checker rejects its certificate"
        if certificate is not None and certificate.claim == "differs":
            return f"its certificate states something else: {certificate.claim_detail}"
        return "its witness is not confirmed"
    if prop.verdict == "falsified":
        return "reported as falsified, but the counterexample could not be replayed"
    return prop.reason or "unknown"


def _claimed(prop: Property, what: str, context: Element) -> Element:
    bound = prop.bound
    known = "" if bound is None else figures.interval(bound.lower, bound.upper)
    if prop.kind in MEASURED and prop.threshold is None:
        text = f"{what} lies in {known}"
    else:
        text = f"{what} holds at every point of the region" + (
            f"; interval {known}" if known else ""
        )
    return Element(
        _goal(prop),
        "goal",
        text,
        prop.spec,
        tuple(element.id for element in _solutions(prop) if element.kind == "solution"),
        (context.id, f"J{prop.id}"),
        status="established",
    )


def _solutions(prop: Property) -> list[Element]:
    certificate = prop.certificate
    checked = certificate is not None and certificate.proves
    by = (
        "A separate checker re-proves it in exact arithmetic from the certificate"
        if checked
        else "Bounds come from the proving side, moved outward by a bound of the rounding error; "
        "subproblems are closed halves, so they cover the region. Not checked independently"
    )
    count = "1 subproblem" if prop.subproblems == 1 else f"{prop.subproblems} subproblems"
    answer = f"Solver's answer ({prop.method}, {count})"
    found = [
        Element(f"J{prop.id}", "justification", by, "record.json"),
        Element(f"Sn{prop.id}", "solution", answer, "record.json"),
    ]
    if certificate is not None:
        text = f"Certificate, {certificate.word}"
        found.append(Element(f"Sn{prop.id}C", "solution", text, certificate.path))
    return found
