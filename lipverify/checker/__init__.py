"""An independent checker of certificates, in exact arithmetic; see README.md beside this file.

Imports nothing else of lipverify.
"""

from lipverify.checker.check import LIMIT, Report, Session, check
from lipverify.checker.errors import Rejected, Unreadable

__all__ = ["LIMIT", "Rejected", "Report", "Session", "Unreadable", "check"]
