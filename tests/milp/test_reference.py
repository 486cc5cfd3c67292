"""A network of the collection whose local Lipschitz constant is known exactly."""

import json
from pathlib import Path

import pytest
import torch

from lipverify.bounds.linear import linear
from lipverify.bounds.mean_split import mean_split
from lipverify.bounds.methods import Setting
from lipverify.config import PreactivationConfig
from lipverify.graph import row_jacobian
from lipverify.milp import SOLVERS
from lipverify.milp.bounds import SolveSettings, milp_norm_upper
from lipverify.milp.problem import MilpProblem
from lipverify.network import load_network
from lipverify.norms import norm_named
from lipverify.numerics import DTYPE
from lipverify.operators.gate import relax_chords
from lipverify.spec import bind, read_spec

CASE = "B1a_2x20_eps0.1"
METHOD = "own MILP in HiGHS (exact)"


@pytest.mark.shared
def test_the_exact_constant_of_a_small_network(shared: Path) -> None:
    folder = shared / "reference"
    entries = json.loads((folder / "results.json").read_text())
    known = [e["bound"] for e in entries if e["case"] == CASE and e["method"] == METHOD]
    assert len(known) == 1
    file = read_spec(folder / f"{CASE}.yaml")
    network = load_network(file.network)
    spec = bind(file, network.graph.input_size, network.graph.output_size)
    setting = Setting(network, spec.region, PreactivationConfig())
    rows = torch.eye(network.graph.output_size, dtype=DTYPE)
    problem = setting.problem(rows, setting.crown_preactivations)
    engine, norm = setting.native_engine(relax_chords), norm_named("inf")
    start = linear(problem, engine, relax_chords, norm, mean_split(problem))
    program = MilpProblem(
        setting.backward, spec.region, rows, problem.preactivations, start.elements, start.adjoints
    )
    settings = SolveSettings(SOLVERS["highs"], time=120.0, largest_only=True)
    found = milp_norm_upper(program, norm, settings, start.row_norms)
    assert found.complete
    assert known[0] - 1e-9 <= float(found.upper.max()) <= known[0] + 1e-5
    attained = row_jacobian(setting.backward, found.points, rows).abs().sum(-1)
    assert float(attained.max()) == pytest.approx(known[0], abs=1e-5)
