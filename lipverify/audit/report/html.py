"""report.html: one file, no network, readable on paper."""

from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from lipverify.audit.answer import Answer, Found
from lipverify.audit.lines import Line, walked
from lipverify.audit.question import Direction, Question
from lipverify.audit.regions import moving_range
from lipverify.audit.report import plots, words
from lipverify.audit.report.records import inputs_shown
from lipverify.audit.report.summary import certified_line, effect, headline, summarise
from lipverify.errors import MissingDependency

if TYPE_CHECKING:
    from lipverify.audit.run import AuditResult

PLOTTED = 2
"""Records whose lines are drawn, per question."""


def html_report(result: "AuditResult") -> str:
    """`MissingDependency` without jinja2."""
    try:
        import jinja2
    except ImportError as error:
        raise MissingDependency(
            "jinja2 is needed to write report.html; install it with: pip install jinja2"
        ) from error
    summary = summarise(result)
    text = files("lipverify.audit.report").joinpath("template.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    questions = [
        _question(result, number, question, summary.worst[number])
        for number, question in enumerate(result.context.audit.questions)
    ]
    return environment.from_string(text).render(
        facts=summary.facts,
        headline=headline(summary.facts),
        certified=certified_line(summary.facts),
        totals=[_total(row) for row in summary.facts["totals"]],
        heat=_heat(result),
        colours={found.value: colour for found, colour in plots.COLOURS.items()},
        trends={trend.value: colour for trend, colour in plots.TRENDS.items()},
        questions=questions,
    )


def _total(row: dict[str, Any]) -> dict[str, Any]:
    whole = sum(row[found.value] for found in Found)
    shares = {f"{found.value}_share": words.share(row[found.value], whole) for found in Found}
    return {**row, **shares}


def _heat(result: "AuditResult") -> str:
    rows = []
    for number, question in enumerate(result.context.audit.questions):
        if question.region.per_record:
            rows.append((words.title(question), dict(result.store.verdicts(number))))
    records = [result.context.records.numbers[position] for position in result.sample]
    return plots.heat_map(rows, records) if rows else ""


def _question(
    result: "AuditResult", number: int, question: Question, worst: list[Answer]
) -> dict[str, Any]:
    """What the page shows of one question."""
    context = result.context
    return {
        "title": words.title(question),
        "claim": words.claim(context, question),
        "plots": _plots(result, number, question, worst),
        "pairs": [_pair(result, question, answer) for answer in worst],
        "undecided": [
            {"reason": reason, "detail": detail, "count": count}
            for which, reason, detail, count in result.store.reasons()
            if which == number
        ],
        "of_change": question.direction is Direction.INSENSITIVE,
    }


def _plots(
    result: "AuditResult", number: int, question: Question, worst: list[Answer]
) -> list[dict[str, str]]:
    context, found = result.context, []
    feature = context.features[question.feature]
    names = (f"{feature.name} {feature.unit}".strip(), context.target.moved_name)
    curve = result.store.curve(number)
    if curve is not None and plots.is_drawable(curve):
        sign = -1 if question.direction is Direction.DECREASING else 1
        word = "fall" if sign < 0 else "rise"
        if question.direction is not Direction.INSENSITIVE:
            text = f"Mean over {curve.count} records; the greener, the more are proved to {word}."
            found.append({"svg": plots.mean_plot(curve, sign, text, names), "text": text})
        text = f"All derivatives of {curve.count} records lie between these lines (proved)."
        slope = (names[0], f"d {names[1]} / d {feature.name}")
        found.append({"svg": plots.envelope_plot(curve, text, slope), "text": text})
    if context.walkable and not feature.is_group:
        for answer in [one for one in worst if one.parts][:PLOTTED]:
            found.append(_line(result, question, answer, names))
    return found


def _line(
    result: "AuditResult", question: Question, answer: Answer, names: tuple[str, str]
) -> dict[str, str]:
    """The line on which a counterexample lies, with what is proved of its parts."""
    context = result.context
    feature = context.features[question.feature]
    assert answer.worst is not None
    low, high = moving_range(question.region, feature)
    start = context.records.inputs.new_tensor(answer.worst.before)
    (pieces,) = walked(context.target, [Line(start, feature, low, high)])
    here = float("nan")
    who = "An input of the region" if not answer.record else f"Near record {answer.record}"
    if answer.record:
        x = context.records.inputs[context.records.numbers.index(answer.record)]
        start[feature.index] = x[feature.index]
        if bool((start == x).all()):
            who, here = f"Record {answer.record} (the dot)", float(x[feature.index])
    text = f"{who}: green parts are proved to rise, red ones to fall."
    keep = np.concatenate([[True], np.diff(pieces.nodes) > 0])
    nodes, profile = pieces.nodes[keep], pieces.profile[keep]
    svg = plots.line_plot(nodes, profile, answer.parts, here, text, names)
    return {"svg": svg, "text": text}


def _pair(result: "AuditResult", question: Question, answer: Answer) -> dict[str, Any]:
    context = result.context
    feature = context.features[question.feature]
    pair, short = answer.worst, answer.pair
    assert pair is not None and short is not None
    before, after = inputs_shown(context, pair.before), inputs_shown(context, pair.after)
    changed = [name for name in before if before[name] != after[name] and name != feature.name]
    others = [name for name in before if name not in (feature.name, *changed)]
    return {
        "record": answer.record or "any",
        "before": words.value_of(feature, pair.before),
        "after": words.value_of(feature, pair.after),
        "output_before": words.number(pair.output_before),
        "output_after": words.number(pair.output_after),
        "change": words.number(effect(answer)),
        "short_before": words.value_of(feature, short.before),
        "short_after": words.value_of(feature, short.after),
        "engine": pair.engine,
        "others": ", ".join(f"{name} {_cell(before[name])}" for name in others),
        "changed": ", ".join(
            f"{name} {_cell(before[name])} to {_cell(after[name])}" for name in changed
        ),
        "bounds": words.interval(answer.lower, answer.upper),
    }


def _cell(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"
