"""What is wrong with a spec file, and where in it."""

from collections.abc import Iterable
from difflib import get_close_matches

Location = tuple[str | int, ...]
"""Keys and list positions that lead from the top of a spec file to a value."""

LISTED = 12
"""As many known names are listed in a message."""


class Misfit(ValueError):
    """A value that a spec file may not hold; `at` leads to it from the value being checked.

    The reading of spec files turns it into a `SpecError` with file and line; a `ValueError`, so
    that it passes through pydantic.
    """

    def __init__(self, message: str, *at: str | int) -> None:
        super().__init__(message)
        self.at: Location = at

    def under(self, *at: str | int) -> "Misfit":
        """The same problem, seen from further up."""
        return Misfit(str(self), *at, *self.at)


def dotted(at: Location) -> str:
    """A location as users write it: properties[0].outputs."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in at)
    return text.removeprefix(".")


def hint(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest known one, else the known ones."""
    names = list(known)
    near = get_close_matches(name, names, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    rest = ", ..." if len(names) > LISTED else ""
    return f"known: {', '.join(names[:LISTED])}{rest}"


def shown(value: object) -> str:
    """A value of a spec file in the words of YAML, cut to a readable length."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return str(value)[:40]
