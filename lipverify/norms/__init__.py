"""Norms, by the name used in spec files. A new norm is one file and one line here."""

from lipverify.errors import UnsupportedNorm
from lipverify.norms.base import AbstractNorm
from lipverify.norms.l1 import L1
from lipverify.norms.l2 import L2
from lipverify.norms.linf import LInf

NORMS: dict[str, AbstractNorm] = {norm.name: norm for norm in (L1(), L2(), LInf())}

__all__ = ["NORMS", "AbstractNorm", "norm_named"]


def norm_named(name: object) -> AbstractNorm:
    """The norm of that name: "1", "2", "inf", also as a number or with a leading l."""
    text = str(name).strip().lower().removeprefix("l").removeprefix(".")
    if text in ("1.0", "2.0"):
        text = text[0]
    if text in ("infinity", "oo"):
        text = "inf"
    if text not in NORMS:
        raise UnsupportedNorm(f"norm {name!r} is not offered; choose one of {', '.join(NORMS)}")
    return NORMS[text]
