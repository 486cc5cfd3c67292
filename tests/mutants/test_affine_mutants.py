"""Planted bugs in affine operators: the sweep's checks catch each."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from pytest import MonkeyPatch
from torch import Tensor

from lipverify.numerics import DTYPE
from lipverify.operators import (
    Add,
    AveragePool,
    Conv,
    Dense,
    Pad,
    Transpose,
    base,
)
from tests.mutants.planted import Claim, Mutant, assert_caught, replaced
from tests.rules import cases
from tests.rules.claims import affine as affine_claims
from tests.rules.instances import FORWARD_INSTANCES

SEEDS = range(4)


def affine(claim: Callable, kind: type, draws: bool = True) -> Claim:
    """The claim, for every instance of that operator; `draws`: it takes a generator."""

    def sweep() -> None:
        for instance in FORWARD_INSTANCES:
            if isinstance(instance.operator, kind):
                for seed in SEEDS if draws else [0]:
                    claim(instance, *([cases.generator(seed)] if draws else []))

    return sweep


def transpose_without_padding(self: Conv, g: Tensor, operand: int = 0) -> Tensor:
    padded = original_conv_transpose(
        replace(self, input_shape=self.padded_shape, padding=tuple((0, 0) for _ in self.padding)),
        g,
    )
    return padded[(slice(None), slice(None), *(slice(0, n) for n in self.input_shape[1:]))]


def pad_without_offset(self: Pad, g: Tensor, operand: int = 0) -> Tensor:
    return g[(slice(None), *(slice(0, size) for size in self.source))]


def forward_order(self: Transpose, g: Tensor, operand: int = 0) -> Tensor:
    return g.permute(0, *(dimension + 1 for dimension in self.order))


original_conv_transpose = Conv.transpose

MUTANTS = [
    Mutant(
        "the transpose of a convolution drops the padding",
        replaced(Conv, "transpose", transpose_without_padding),
        affine(affine_claims.transpose_is_adjoint, Conv),
    ),
    Mutant(
        "the transpose of padding drops its offset",
        replaced(Pad, "transpose", pad_without_offset),
        affine(affine_claims.transpose_is_adjoint, Pad),
    ),
    Mutant(
        "the transpose of a transposition uses its own order",
        replaced(Transpose, "transpose", forward_order),
        affine(affine_claims.linear_is_its_definition, Transpose, draws=False),
    ),
    Mutant(
        "the transpose of a difference drops the sign",
        replaced(Add, "transpose", lambda operator, g, operand=0: g),
        affine(affine_claims.transpose_is_adjoint, Add),
    ),
    Mutant(
        "pools count padding where they must not",
        replaced(
            AveragePool,
            "_counts",
            property(lambda operator: torch.tensor(operator.kernel, dtype=DTYPE).prod()),
        ),
        affine(affine_claims.linear_is_its_definition, AveragePool, draws=False),
    ),
    Mutant(
        "the absolute value of weights is dropped",
        replaced(Dense, "absolute", property(lambda operator: operator)),
        affine(affine_claims.linear_is_its_definition, Dense, draws=False),
    ),
    Mutant(
        "sums are said to have one term",
        replaced(Dense, "terms", property(lambda operator: 1)),
        affine(affine_claims.terms_cover_every_sum, Dense, draws=False),
    ),
    Mutant(
        "rounding of sums is ignored",
        replaced(base, "gamma", lambda operations: 0.0),
        affine(affine_claims.interval_is_exact, Dense),
    ),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.story)
def test_mutant_is_caught(mutant: Mutant, monkeypatch: MonkeyPatch) -> None:
    assert_caught(mutant, monkeypatch)
