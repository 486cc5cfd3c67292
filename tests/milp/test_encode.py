"""Programs with the input held fixed: they have to know the network at that point."""

import numpy as np
import pytest
import torch
from torch import Tensor

from lipverify.milp import SOLVERS, MilpModel
from lipverify.milp.backward_part import encode_jacobian
from lipverify.milp.encode import encode_norm_row, encode_output
from lipverify.milp.forms import Form
from lipverify.milp.forward_part import ForwardPart, encode_forward
from tests.milp.problems import box_of, problem_of
from tests.oracles import autodiff, boxes
from tests.oracles.networks import PIECEWISE, Tiny, conv_net, dense, fan_out, residual

NETWORKS = (*PIECEWISE, dense((4, 10, 8, 3), 7), conv_net(0), residual(3, "leaky"), fan_out(2))


def at_point(part: ForwardPart, model: MilpModel, x: Tensor) -> float:
    """The bound of the model with its input fixed to x."""
    lower, upper = model.lower.copy(), model.upper.copy()
    moving = part.inputs >= 0
    lower[part.inputs[moving]] = upper[part.inputs[moving]] = x.numpy()[moving]
    fixed = MilpModel(
        lower, upper, model.integral, model.matrix, model.row_lower, model.row_upper,
        model.objective, model.offset,
    )  # fmt: skip
    return SOLVERS["highs"].solve(fixed, None, 0).bound


def smooth_points(tiny: Tiny, count: int) -> Tensor:
    x = boxes.points(box_of(tiny, "offset"), 200)
    return x[autodiff.distance_to_kinks(tiny, x) > 1e-4][:: max(1, 200 // count)][:count]


@pytest.mark.parametrize("tiny", NETWORKS, ids=str)
def test_at_a_point_the_program_is_the_network(tiny: Tiny) -> None:
    problem = problem_of(tiny, "offset")
    part = encode_forward(problem)
    assert part is not None
    row = tiny.outputs - 1
    norm = encode_norm_row(part, encode_jacobian(part, row), row)
    value = encode_output(part, problem.rows[row])
    for x in smooth_points(tiny, 3):
        jacobian = autodiff.jacobians(tiny, x.unsqueeze(0))[0, row]
        expected = float(jacobian.abs().sum())
        if "identically-zero" not in tiny.name and "duplicated" not in tiny.name:
            assert at_point(part, norm, x) == pytest.approx(expected, rel=1e-5, abs=1e-5)
        assert at_point(part, norm, x) >= expected - 1e-9
        expected = float(tiny(x.unsqueeze(0))[0, row])
        assert at_point(part, value, x) == pytest.approx(expected, rel=1e-5, abs=1e-4)
        assert at_point(part, value, x) >= expected - 1e-9


def test_fixed_inputs_are_no_variables() -> None:
    tiny = dense((3, 4, 2), 3)
    problem = problem_of(tiny, "offset")
    lower, upper = problem.region.bounding.lower.clone(), problem.region.bounding.upper.clone()
    lower[1] = upper[1]
    cut = type(problem)(
        problem.backward, type(problem.region)(lower, upper), problem.rows, problem.preactivations
    )
    part = encode_forward(cut)
    assert part is not None
    assert part.inputs.tolist() == [0, -1, 1]
    point = part.point(np.array([-100.0, 100.0]))
    assert point.tolist() == [float(lower[0]), float(upper[1]), float(upper[2])]


def test_entries_leave_out_zeros_only() -> None:
    coefficients = torch.tensor([[0.5], [0.0], [1e-300], [2.0]], dtype=torch.float64)
    entry = Form(coefficients, torch.zeros(1, 1, dtype=torch.float64)).entry(0)
    assert entry.columns.tolist() == [1, 2]
    assert entry.values.tolist() == [1e-300, 2.0]
    assert entry.constant == 0.5
