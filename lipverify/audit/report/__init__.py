"""Reports of an audit. A new format is one file like `markdown.py`, and one line here."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from lipverify.audit.report.html import html_report
from lipverify.audit.report.json_report import json_report
from lipverify.audit.report.markdown import markdown_report
from lipverify.audit.report.records import csv_report

if TYPE_CHECKING:
    from lipverify.audit.run import AuditResult

REPORTS: Mapping[str, Callable[["AuditResult"], str]] = {
    "audit.json": json_report,
    "records.csv": csv_report,
    "audit.md": markdown_report,
    "report.html": html_report,
}
"""The text of each file, by its name."""

__all__ = ["REPORTS"]
