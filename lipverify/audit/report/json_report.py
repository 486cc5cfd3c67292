"""audit.json."""

import json
from typing import TYPE_CHECKING

from lipverify.audit.report.summary import summarise

if TYPE_CHECKING:
    from lipverify.audit.run import AuditResult


def json_report(result: "AuditResult") -> str:
    return json.dumps(summarise(result).facts, indent=2, allow_nan=False) + "\n"
