"""Every answer as a row: records.csv, and the table of the Python API."""

import csv
import io
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lipverify.audit.answer import Answer, Pair
from lipverify.audit.context import Context
from lipverify.audit.store import Store

if TYPE_CHECKING:
    from lipverify.audit.run import AuditResult

COLUMNS: tuple[str, ...] = (
    "record",
    "feature",
    "region",
    "direction",
    "verdict",
    "reason",
    "detail",
    "lower",
    "upper",
    "before",
    "after",
    "output_before",
    "output_after",
    "engine",
    "worst_before",
    "worst_after",
    "worst_output_before",
    "worst_output_after",
    "inputs_before",
    "inputs_after",
    "parts",
    "method",
    "certificates",
    "seconds",
)


def record_rows(context: Context, store: Store) -> Iterator[dict[str, Any]]:
    """One row per answer, by question and record; None where there is nothing to say."""
    for answer in store.answers():
        yield record_row(context, answer)


def record_row(context: Context, answer: Answer) -> dict[str, Any]:
    """`lower` and `upper` enclose the derivative (of an insensitive feature: the change).

    `before` and `after` are the feature's values of the smallest violation, `inputs_before` and
    `inputs_after` all features there; the outputs are the original network's. `certificates` are
    the files' names with their SHA-256.
    """
    question = context.audit.questions[answer.question]
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    row.update(
        record=answer.record or None,
        feature=question.feature,
        region=question.region.name,
        direction=question.direction.value,
        verdict=answer.found.value,
        reason=None if answer.reason is None else answer.reason.value,
        detail=answer.detail or None,
        lower=_finite(answer.lower),
        upper=_finite(answer.upper),
        parts=json.dumps([part.as_json() for part in answer.parts]) if answer.parts else None,
        method=answer.method,
        seconds=answer.seconds,
    )
    if answer.certificate is not None:
        row["certificates"] = json.dumps(dict(answer.certificate.files))
    if answer.pair is not None:
        row.update(_ends(context, question.feature, answer.pair, ""), engine=answer.pair.engine)
        row["inputs_before"] = json.dumps(inputs_shown(context, answer.pair.before))
        row["inputs_after"] = json.dumps(inputs_shown(context, answer.pair.after))
    if answer.worst is not None:
        row.update(_ends(context, question.feature, answer.worst, "worst_"))
    return row


def inputs_shown(context: Context, inputs: tuple[float, ...]) -> dict[str, str | float]:
    """All features of an input [n], in the table's words and units."""
    return {
        name: feature.shown([inputs[at] for at in feature.inputs])
        for name, feature in context.features.items()
    }


def _ends(context: Context, name: str, pair: Pair, prefix: str) -> dict[str, Any]:
    feature = context.features[name]
    return {
        f"{prefix}before": feature.shown([pair.before[at] for at in feature.inputs]),
        f"{prefix}after": feature.shown([pair.after[at] for at in feature.inputs]),
        f"{prefix}output_before": pair.output_before,
        f"{prefix}output_after": pair.output_after,
    }


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None


def csv_report(result: "AuditResult") -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in record_rows(result.context, result.store):
        writer.writerow(row)
    return text.getvalue()
