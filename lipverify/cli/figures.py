"""Numbers as people read them."""

from lipverify.figures import interval, lower, upper

__all__ = ["count_noun", "interval", "lower", "seconds", "upper"]


def seconds(value: float) -> str:
    return f"{value:.2f} s" if value < 10 else f"{value:.1f} s" if value < 100 else f"{value:.0f} s"


def count_noun(count: int, noun: str, plural: str | None = None) -> str:
    """ "1 gate", "2 gates"."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"
