"""Exact numbers: integers at a power of two (n at 2^-b is n / 2^b), their matrices, and what is
rounded outward. `python-flint` multiplies matrices faster, to the same integers."""

import base64
import binascii
import struct
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from functools import cached_property
from math import isfinite, isqrt
from operator import add, mul
from typing import Any

from lipverify.checker.errors import Rejected

try:
    import flint  # type: ignore[import-not-found]
except ImportError:  # the optional extra `check`
    flint = None

Rows = list[list[int]]

SMALL = 4096
"""Products of fewer multiplications are quicker without the conversion for flint."""
use_flint = True
"""Tests set it to False to compare."""


def floats(text: str, what: str) -> list[float]:
    """An array of the certificate: base64 of little-endian float64, all finite."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Rejected(f"{what}: not base64") from None
    if len(raw) % 8:
        raise Rejected(f"{what}: {len(raw)} bytes are no array of float64")
    values = list(struct.unpack(f"<{len(raw) // 8}d", raw))
    if not all(map(isfinite, values)):
        raise Rejected(f"{what}: holds NaN or an infinity")
    return values


def counted(text: str, count: int, what: str) -> list[float]:
    values = floats(text, what)
    if len(values) != count:
        raise Rejected(f"{what}: {len(values)} numbers, expected {count}")
    return values


def scalar(text: str, what: str) -> float:
    """A number in C's hexadecimal form; the schema has checked its characters."""
    try:
        value = float.fromhex(text)
    except (ValueError, OverflowError):
        raise Rejected(f"{what}: {text[:40]!r} is no float64") from None
    if value.hex() != text:
        raise Rejected(f"{what}: {text!r} is not how this float64 is written ({value.hex()!r})")
    return value


def down(value: float | Fraction, bits: int) -> int:
    """The largest integer at 2^-bits that is <= value."""
    top, bottom = value.as_integer_ratio()
    return (top << bits) // bottom


def up(value: float | Fraction, bits: int) -> int:
    return -down(-value, bits)


def shift_up(value: int, bits: int) -> int:
    """value / 2^bits, rounded up."""
    return -(-value >> bits)


def quotient_up(top: int, bottom: int) -> int:
    """top / bottom, rounded up; bottom > 0."""
    return -(-top // bottom)


def regrid(value: int, old: int, new: int) -> int:
    """From 2^-old to 2^-new, rounded down."""
    return value << (new - old) if new >= old else value >> (old - new)


def regrid_up(value: int, old: int, new: int) -> int:
    return -regrid(-value, old, new)


def root_up(value: int) -> int:
    """The square root of an integer >= 0, rounded up."""
    return isqrt(value - 1) + 1 if value else 0


def magnitude(lower: int, upper: int) -> int:
    return max(abs(lower), abs(upper))


def paired(function: Callable[..., Any], *vectors: Sequence[Any]) -> list[Any]:
    """Entry by entry; vectors of one length."""
    if len({len(vector) for vector in vectors}) > 1:
        raise ValueError(f"vectors of lengths {', '.join(str(len(vector)) for vector in vectors)}")
    return list(map(function, *vectors))


def each(function: Callable[..., Any], *matrices: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Entry by entry; matrices of one shape."""
    return paired(lambda *rows: paired(function, *rows), *matrices)


def support(row: Sequence[int], lower: Sequence[int], upper: Sequence[int]) -> int:
    """The largest value of row . x over a box."""
    ends = zip(row, lower, upper, strict=True)
    return sum(a * (high if a > 0 else low) for a, low, high in ends if a)


class Matrix:
    """An integer matrix [rows, columns] at 2^-bits; not to be changed."""

    def __init__(self, rows: Rows, columns: int, bits: int) -> None:
        self.rows, self.columns, self.bits = rows, columns, bits

    @cached_property
    def transposed(self) -> "Matrix":
        turned = list(map(list, zip(*self.rows, strict=True))) or [[] for _ in range(self.columns)]
        found = Matrix(turned, len(self.rows), self.bits)
        found.transposed = self
        return found

    @cached_property
    def magnitude(self) -> "Matrix":
        return Matrix([list(map(abs, row)) for row in self.rows], self.columns, self.bits)

    @cached_property
    def _cast(self) -> Any:
        assert flint
        return flint.fmpz_mat(self.rows)

    def after(self, left: Rows) -> Rows:
        """left @ self, exactly; its power of two is the sum of both."""
        if not left or not self.rows or not self.columns:
            return [[0] * self.columns for _ in left]
        if flint and use_flint and len(left) * len(self.rows) * self.columns > SMALL:
            found = (flint.fmpz_mat(left) * self._cast).tolist()
            return [list(map(int, row)) for row in found]
        columns = self.transposed.rows
        return [[sum(map(mul, row, column)) for column in columns] for row in left]

    def of(self, left: "Matrix") -> "Matrix":
        """left @ self."""
        return Matrix(self.after(left.rows), self.columns, left.bits + self.bits)

    def above(self, row: list[int]) -> list[int]:
        """row @ self at the row's power of two, rounded up."""
        return [shift_up(value, self.bits) for value in self.after([row])[0]]

    def at(self, bits: int) -> "Matrix":
        """The same at a finer power of two."""
        lift = bits - self.bits
        return Matrix([[x << lift for x in row] for row in self.rows], self.columns, bits)

    def plus(self, other: "Matrix | None") -> "Matrix":
        """The sum; rows that only one of them has are zero in the other."""
        if other is None:
            return self
        bits = max(self.bits, other.bits)
        a, b = sorted((self.at(bits).rows, other.at(bits).rows), key=len)
        return Matrix(each(add, a, b[: len(a)]) + b[len(a) :], self.columns, bits)


def common(values: Iterable[Sequence[Fraction]]) -> int:
    """The least power of two at which all these dyadic numbers are integers."""
    return max((value.denominator.bit_length() - 1 for row in values for value in row), default=0)


def at(values: Sequence[Fraction], bits: int) -> list[int]:
    """Dyadic numbers as integers at 2^-bits, which holds them."""
    return [(value.numerator << bits) // value.denominator for value in values]


def rounded(values: Sequence[float | Fraction], extra: int) -> tuple[list[int], int]:
    """Numbers >= 0, or multipliers any value of which is sound, rounded up at one power of two:
    2^-extra of the largest or finer."""
    top, bottom = max(map(abs, values), default=0).as_integer_ratio()
    bits = max(0, extra - top.bit_length() + bottom.bit_length()) if top else 0
    return [up(value, bits) for value in values], bits
