"""audit.md: the tables of the report, for version control and code review."""

from typing import TYPE_CHECKING

from lipverify.audit.answer import Found
from lipverify.audit.report import words
from lipverify.audit.report.summary import certified_line, effect, headline, summarise

if TYPE_CHECKING:
    from lipverify.audit.run import AuditResult


def markdown_report(result: "AuditResult") -> str:
    summary = summarise(result)
    facts = summary.facts
    table = facts["table"]
    lines = [f"# Audit: {_plain(facts['name'])}", "", headline(facts), "", "## Questions", ""]
    lines += [f"- {_plain(question)}" for question in facts["questions"]]
    lines += ["", "## What was audited", ""]
    lines += [
        f"- network `{facts['network']['file']}`, sha256 `{facts['network']['sha256']}`",
        f"- table `{table['file']}`, sha256 `{table['sha256']}`: {table['rows']} rows, "
        f"{table['usable']} usable, {table['audited']} audited",
    ]
    lines += [f"- rows left out: {count} ({why})" for why, count in table["skipped"].items()]
    lines += ["", "## Totals", ""]
    lines += ["| feature | region | direction | verified | falsified | unknown |"]
    lines += ["|---|---|---|--:|--:|--:|"]
    for row in facts["totals"]:
        whole = sum(row[found.value] for found in Found)
        cells = [row["feature"], row["region"], row["direction"]]
        cells += [f"{row[f.value]} ({words.share(row[f.value], whole)})" for f in Found]
        lines.append(f"| {' | '.join(_plain(cell) for cell in cells)} |")
    if facts["certificates"] is not None:
        lines += ["", "## Certificates", "", _plain(certified_line(facts))]
        lines += [
            f"- {_plain(row['question'])}: {row['count']} without: {_plain(row['detail'])}"
            for row in facts["certificates"]["without"]
        ]
    lines += _worst(result, summary.worst)
    if facts["undecided"]:
        lines += ["", "## Not decided", ""]
    for row in facts["undecided"]:
        lines.append(
            f"- {_plain(row['feature'])} ({_plain(row['region'])}): {row['count']}, "
            f"{_plain(row['reason'])}: {_plain(row['detail'])}"
        )
    lines += ["", "## What this does not show", ""]
    lines += [f"- {text}" for text in facts["not_shown"]]
    return "\n".join(lines) + "\n"


def _worst(result: "AuditResult", worst: dict) -> list[str]:
    rows = []
    for number, answers in worst.items():
        question = result.context.audit.questions[number]
        feature = result.context.features[question.feature]
        for answer in answers[:3]:
            pair = answer.worst
            assert pair is not None
            rows.append(
                f"| {_plain(words.title(question))} | {answer.record or 'any'} | "
                f"{_plain(words.value_of(feature, pair.before))} | "
                f"{_plain(words.value_of(feature, pair.after))} | "
                f"{words.number(pair.output_before)} | {words.number(pair.output_after)} | "
                f"{words.number(effect(answer))} |"
            )
    if not rows:
        return []
    head = "| question | record | before | after | output before | output after | change |"
    return ["", "## Worst counterexamples", "", head, "|---|--:|--:|--:|--:|--:|--:|", *rows]


def _plain(text: object) -> str:
    """Names from files as they are: no markup, no table cells."""
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")
