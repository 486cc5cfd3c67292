"""What can go wrong: a certificate that proves nothing, and files that cannot be read."""


class Rejected(Exception):
    """The certificate does not prove its claim (exit code 1)."""


class Unreadable(Exception):
    """The network is missing, damaged, or uses what this checker does not know (exit code 3)."""
