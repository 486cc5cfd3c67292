"""Audits: expected directions of a model's features, asked of every record of a table.

`run_audit` answers an audit file; `export_columns` writes the columns of a fitted scikit-learn
transformer for one.
"""

from lipverify.audit.report import REPORTS
from lipverify.audit.run import AuditConfig, AuditProgress, AuditResult, run_audit

__all__ = [
    "REPORTS",
    "AuditConfig",
    "AuditProgress",
    "AuditResult",
    "run_audit",
]
