"""Every row of the operator and norm tables is swept, under its own name."""

import pytest

from lipverify.errors import UnsupportedNorm
from lipverify.norms import NORMS, norm_named
from lipverify.operators import ACTIVATIONS, AFFINE, Activation, AffineOperator, Factor, Pullback
from tests.rules.curves import CURVES
from tests.rules.instances import ACTIVATION_INSTANCES, FORWARD_INSTANCES, PULLBACK_INSTANCES


def test_every_activation_has_an_instance() -> None:
    swept = {type(instance.operator) for instance in ACTIVATION_INSTANCES}
    curves = {type(instance.operator) for instance in CURVES}
    assert not swept & curves
    assert swept | curves == {*ACTIVATIONS.values(), Factor}


def test_every_affine_operator_has_an_instance() -> None:
    swept = {type(instance.operator) for instance in FORWARD_INSTANCES}
    assert swept == set(AFFINE.values())


def test_every_operand_is_pulled_back() -> None:
    operands = sum(len(instance.shapes) for instance in FORWARD_INSTANCES)
    assert len(PULLBACK_INSTANCES) == operands
    assert all(isinstance(instance.operator, Pullback) for instance in PULLBACK_INSTANCES)


@pytest.mark.parametrize("table", [ACTIVATIONS, AFFINE, NORMS])
def test_rows_have_their_own_name(table) -> None:
    assert table
    assert all(row.name == name for name, row in table.items())


def test_kinds_are_right() -> None:
    assert all(issubclass(row, Activation) for row in ACTIVATIONS.values())
    assert all(issubclass(row, AffineOperator) for row in AFFINE.values())


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (1, "1"),
        (2, "2"),
        (1.0, "1"),
        (2.0, "2"),
        ("1", "1"),
        ("l2", "2"),
        ("L1", "1"),
        ("inf", "inf"),
        ("linf", "inf"),
        (float("inf"), "inf"),
        (" Inf ", "inf"),
        ("infinity", "inf"),
    ],
)
def test_norms_by_name(text, name) -> None:
    assert norm_named(text).name == name


@pytest.mark.parametrize("text", ["", "0", "3", "-1", "nan", "l", "1.5", None, "in"])
def test_other_norms_are_refused(text) -> None:
    with pytest.raises(UnsupportedNorm):
        norm_named(text)
