"""What all reports say: computed once, from the database, with memory for a few rows only."""

import heapq
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from lipverify import __version__
from lipverify.audit.answer import Answer, Found
from lipverify.audit.report import words
from lipverify.evidence.record import CLAIM
from lipverify.files import file_sha256

if TYPE_CHECKING:
    from lipverify.audit.run import AuditResult

WORST = 8
"""As many counterexamples of each question are shown."""


@dataclass(frozen=True, eq=False)
class Summary:
    """`facts` is what audit.json holds, `worst` the answers with the largest effects."""

    facts: dict[str, Any]
    worst: dict[int, list[Answer]]


def summarise(result: "AuditResult") -> Summary:
    context, store = result.context, result.store
    audit, records, target = context.audit, context.records, context.target
    seconds = store.seconds()
    facts: dict[str, Any] = {
        "lipverify": __version__,
        "kind": "audit",
        "name": audit.name,
        "audit": {"file": audit.path.name, "sha256": audit.sha256},
        "network": {
            "file": audit.network.name,
            "sha256": target.network.sha256,
            "file_sha256": file_sha256(audit.network),
        },
        "table": {
            "file": audit.table.path.name,
            "sha256": records.sha256,
            "rows": records.rows,
            "usable": len(records.numbers),
            "audited": len(result.sample),
            "skipped": dict(records.skipped),
        },
        "output": target.name,
        "slopes_of": target.moved_name,
        "claim": CLAIM,
        "margin": audit.margin,
        "features": [
            {
                "name": feature.name,
                "type": feature.type.value,
                "lower": None if feature.is_group else feature.lower,
                "upper": None if feature.is_group else feature.upper,
                "categories": list(feature.categories),
                "unit": feature.unit,
            }
            for feature in context.features.values()
        ],
        "questions": [words.claim(context, question) for question in audit.questions],
        "totals": result.totals,
        "undecided": [
            {
                "feature": audit.questions[number].feature,
                "region": audit.questions[number].region.name,
                "reason": reason,
                "detail": detail,
                "count": count,
            }
            for number, reason, detail, count in store.reasons()
        ],
        "certificates": _certificates(result),
        "complete": not result.interrupted,
        "settings": {
            "method": result.config.method,
            "timeout": result.config.timeout,
            "max_subproblems": result.config.max_subproblems,
            "sample": result.config.sample,
            "seed": result.config.seed,
            "skip_bad_rows": result.config.skip_bad_rows,
        },
        "not_shown": list(words.NOT_SHOWN),
        "seconds": {"median": median(seconds) if seconds else None, "total": sum(seconds)},
    }
    worst = {number: _worst(result, number) for number in range(len(audit.questions))}
    return Summary(facts, worst)


def _certificates(result: "AuditResult") -> dict[str, Any] | None:
    """How many answers have certificates that the checker accepted; None: not asked for."""
    if result.config.certify is None:
        return None
    questions, store = result.context.audit.questions, result.store
    count = store.certified()
    every = list(store.certificates())
    return {
        "folder": str(result.config.certify),
        "questions": [
            {
                "feature": question.feature,
                "region": question.region.name,
                "direction": question.direction.value,
                Found.VERIFIED.value: count.get((number, Found.VERIFIED), 0),
                Found.FALSIFIED.value: count.get((number, Found.FALSIFIED), 0),
            }
            for number, question in enumerate(questions)
        ],
        "without": [
            {"question": words.title(questions[number]), "detail": detail, "count": some}
            for number, detail, some in store.uncertified()
        ],
        "files": sum(len(one.files) for one in every),
        "bytes": sum(one.bytes for one in every),
    }


def certified_line(facts: dict[str, Any]) -> str:
    """How much of it is certified, in a sentence; empty where that was not asked for."""
    found = facts["certificates"]
    if found is None:
        return ""
    parts = []
    for word in (Found.VERIFIED.value, Found.FALSIFIED.value):
        whole = sum(row[word] for row in facts["totals"])
        some = sum(row[word] for row in found["questions"])
        parts.append(f"{some} of {whole} {word} answers")
    return (
        f"Certificates that the checker accepted in exact arithmetic: {' and '.join(parts)} "
        f"({found['files']} files, {found['bytes']} bytes, in {found['folder']}). With "
        "certificates asked for, an answer is verified only if its certificate was accepted."
    )


def effect(answer: Answer) -> float:
    """How far the output moves the wrong way, in the worst pair."""
    pair = answer.worst
    return 0.0 if pair is None else abs(pair.output_after - pair.output_before)


def _worst(result: "AuditResult", question: int) -> list[Answer]:
    falsified = result.store.answers("question = ? AND found = ?", question, Found.FALSIFIED.value)
    return heapq.nlargest(WORST, falsified, key=lambda answer: (effect(answer), -answer.record))


def headline(facts: dict[str, Any]) -> str:
    """The whole audit in a sentence."""
    count = {found.value: sum(row[found.value] for row in facts["totals"]) for found in Found}
    total = sum(count.values())
    parts = [
        f"{count[found.value]} {found.value} ({words.share(count[found.value], total)})"
        for found in Found
    ]
    ended = "" if facts["complete"] else " The audit was stopped before its end."
    return f"{total} answers: {', '.join(parts)}.{ended}"
