"""Scaling and the removal of small coefficients only ever add points; bounds only move outward."""

import numpy as np
import pytest
from scipy import sparse

from lipverify.errors import NumericalFailure
from lipverify.milp import MilpModel, ModelBuilder
from lipverify.milp.certificate import lp_upper
from lipverify.milp.prepare import SMALL, prepare
from tests.milp.test_solvers import mixed


def sampled(model: MilpModel, seed: int, count: int = 400) -> np.ndarray:
    random = np.random.default_rng(seed)
    v = model.lower + random.random((count, model.columns)) * (model.upper - model.lower)
    v = np.where(random.random(v.shape) < 0.3, model.lower, v)
    v = np.where(random.random(v.shape) < 0.3, model.upper, v)
    return np.where(model.integral, v.round(), v)


def through(model: MilpModel, v: np.ndarray, seed: int) -> MilpModel:
    """The model with rows that hold, as tightly as can be, at the points v [count, columns]."""
    activity = v @ model.matrix.T
    wide = np.random.default_rng(seed).random(model.rows) < 0.5
    lower = np.where(wide, activity.min(0), -np.inf)
    return MilpModel(
        model.lower, model.upper, model.integral, model.matrix, lower, activity.max(0),
        model.objective, model.offset,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(10))
def test_points_and_their_values_survive(seed: int) -> None:
    model = mixed(seed)
    tiny = model.matrix.toarray() * np.where(np.random.default_rng(seed).random(9) < 0.4, 1e-11, 1)
    model = MilpModel(
        model.lower, model.upper, model.integral, sparse.csr_array(tiny), model.row_lower,
        model.row_upper, model.objective * np.where(np.arange(9) % 2, 1.0, 1e-12), model.offset,
    )  # fmt: skip
    v = sampled(model, seed, 3)
    model = through(model, v, seed)
    prepared = prepare(model)
    scaled = prepared.model
    assert (np.abs(scaled.matrix.data) >= SMALL).all(), "a solver could drop what is left"
    u = v / prepared.variables
    activity = u @ scaled.matrix.T
    assert (activity <= scaled.row_upper + 1e-12).all()
    assert (activity >= scaled.row_lower - 1e-12).all()
    assert ((u >= scaled.lower) & (u <= scaled.upper)).all()
    value = v @ model.objective + model.offset
    scaled_value = (u @ scaled.objective + scaled.offset) * prepared.objective
    assert (scaled_value >= value - 1e-12 * (1 + np.abs(value))).all()


@pytest.mark.parametrize("seed", range(10))
def test_any_multipliers_prove_a_bound(seed: int) -> None:
    v = sampled(mixed(seed), seed)
    model = through(mixed(seed), v, seed)
    random = np.random.default_rng(seed)
    best = float((v @ model.objective + model.offset).max())
    for _ in range(50):
        multipliers = random.normal(size=model.rows) * 10.0 ** random.integers(-3, 3)
        multipliers[random.random(model.rows) < 0.1] = np.nan
        assert lp_upper(model, multipliers) >= best - 1e-12 * (1 + abs(best))


def test_numbers_that_cannot_be_meant_are_refused() -> None:
    for lower, upper in ((1.0, 0.0), (np.nan, 1.0), (0.0, np.inf)):
        builder = ModelBuilder()
        builder.variable(lower, upper)
        with pytest.raises(NumericalFailure):
            builder.build(np.zeros(1), 0.0)
    builder = ModelBuilder()
    builder.row(np.array([builder.variable(0.0, 1.0)]), np.array([np.nan]), 0.0, 1.0)
    with pytest.raises(NumericalFailure):
        builder.build(np.zeros(1), 0.0)


def test_rows_without_variables_are_a_program_too() -> None:
    """All inputs fixed at a kink: the rows are constant, and there is nothing to scale."""
    builder = ModelBuilder()
    builder.row(np.zeros(0, dtype=int), np.zeros(0), 0.0, np.inf)
    prepared = prepare(builder.build(np.zeros(0), 2.5))
    assert prepared.model.rows == 1 and prepared.model.columns == 0
    assert prepared.outward(2.5) >= 2.5
