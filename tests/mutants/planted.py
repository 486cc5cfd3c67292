"""Planted bugs: patches on our code, each of which a named check of the sweeps has to catch.

Most have been found in real verifiers.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from pytest import MonkeyPatch

Patch = Callable[[MonkeyPatch], object]
Claim = Callable[[], object]


@dataclass(frozen=True)
class Mutant:
    """`claim` passes without the patch, and raises AssertionError with it."""

    story: str
    patch: Patch
    claim: Claim


def replaced(owner: object, name: str, new: object) -> Patch:
    return lambda monkeypatch: monkeypatch.setattr(owner, name, new)


def assert_caught(mutant: Mutant, monkeypatch: MonkeyPatch) -> None:
    mutant.claim()
    mutant.patch(monkeypatch)
    with pytest.raises(AssertionError):
        mutant.claim()
