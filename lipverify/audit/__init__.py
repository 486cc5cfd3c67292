"""Audits: expected directions of a model's features, asked of every record of a table.

`run_audit` answers an audit file; `export_columns` writes the columns of a fitted scikit-learn
transformer for one.
"""

from lipverify.audit.export import UnsupportedTransformer, export_columns
from lipverify.audit.report import REPORTS
from lipverify.audit.run import AuditConfig, AuditProgress, AuditResult, run_audit

__all__ = [
    "REPORTS",
    "AuditConfig",
    "AuditProgress",
    "AuditResult",
    "UnsupportedTransformer",
    "export_columns",
    "run_audit",
]
