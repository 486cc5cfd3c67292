"""Exact numbers: integers at a power of two, their matrices, and what is rounded outward.

A matrix is a list of rows of integers; the power of two is kept beside it. `python-flint`
multiplies matrices faster; results are the same integers.
"""

import base64
import binascii
import struct
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from math import isfinite, isqrt
from operator import mul
from typing import Any, TypeVar

from lipverify.checker.errors import Rejected

try:
    import flint  # type: ignore[import-not-found]
except ImportError:  # the optional extra `check`
    flint = None

Rows = list[list[int]]
T = TypeVar("T")

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


def root_up(value: int) -> int:
    """The square root of an integer >= 0, rounded up."""
    root = isqrt(value)
    return root + (root * root < value)


def paired(function: Callable[..., T], *vectors: Iterable[Any]) -> list[T]:
    """Entry by entry; vectors of one length."""
    return [function(*entries) for entries in zip(*vectors, strict=True)]


def each(function: Callable[..., T], *rows: Iterable[Iterable[Any]]) -> list[list[T]]:
    """Entry by entry; matrices of one shape."""
    return [paired(function, *lines) for lines in zip(*rows, strict=True)]


def magnitude(lower: int, upper: int) -> int:
    return max(abs(lower), abs(upper))


def transposed(rows: Rows, columns: int) -> Rows:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[]] * columns


class Matrix:
    """A constant integer matrix [rows, columns] at 2^-bits, for products from the left."""

    def __init__(self, rows: Rows, columns: int, bits: int) -> None:
        self.rows, self.columns, self.bits = rows, columns, bits
        self._transposed: Matrix | None = None
        self._magnitude: Matrix | None = None
        self._cast: Any = None

    @property
    def transposed(self) -> "Matrix":
        if self._transposed is None:
            self._transposed = Matrix(
                transposed(self.rows, self.columns), len(self.rows), self.bits
            )
            self._transposed._transposed = self
        return self._transposed

    @property
    def magnitude(self) -> "Matrix":
        if self._magnitude is None:
            self._magnitude = Matrix(
                [list(map(abs, row)) for row in self.rows], self.columns, self.bits
            )
        return self._magnitude

    def after(self, left: Rows) -> Rows:
        """left @ self, exactly; its power of two is the sum of both."""
        if not left or not self.rows or not self.columns:
            return [[0] * self.columns for _ in left]
        if flint and use_flint and len(left) * len(self.rows) * self.columns > SMALL:
            if self._cast is None:
                self._cast = flint.fmpz_mat(self.rows)
            found = (flint.fmpz_mat(left) * self._cast).tolist()
            return [list(map(int, row)) for row in found]
        columns = self.transposed.rows
        return [[sum(map(mul, row, column)) for column in columns] for row in left]


def product(left: Rows, right: Rows, columns: int) -> Rows:
    return Matrix(right, columns, 0).after(left)


def common(values: Iterable[Sequence[Fraction]]) -> int:
    """The least power of two at which all these dyadic numbers are integers."""
    return max((value.denominator.bit_length() - 1 for row in values for value in row), default=0)


def at(values: Sequence[Fraction], bits: int) -> list[int]:
    """Dyadic numbers as integers at 2^-bits, which holds them."""
    return [(value.numerator << bits) // value.denominator for value in values]


def rounded(values: Sequence[float], extra: int) -> tuple[list[int], int]:
    """Numbers as integers at one power of two, off by at most 2^-extra of the largest.

    For multipliers, any value of which is sound.
    """
    largest = max(map(abs, values), default=0.0)
    if largest == 0:
        return [0] * len(values), 0
    bits = max(
        0,
        extra
        - (Fraction(largest).numerator.bit_length() - Fraction(largest).denominator.bit_length()),
    )
    return [down(value, bits) for value in values], bits
