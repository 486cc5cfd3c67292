"""Exit codes."""

from enum import IntEnum


class ExitCode(IntEnum):
    VERIFIED = 0
    """Everything asked was done and verified."""
    FALSIFIED = 1
    UNKNOWN = 2
    """Nothing falsified, something unknown."""
    ERROR = 3
    """Bad input or an internal error somewhere; it wins over the others."""
