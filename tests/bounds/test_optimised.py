"""Gates that see their preactivations: auto_LiRPA's numbers against hand-written ones, batches
against single questions; what optimising gains and never loses, and when it stops."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lipverify.bounds.cuts import CutRegion
from lipverify.bounds.effort import Effort
from lipverify.bounds.jacobian import JacobianBounds, JacobianProblem, interval
from lipverify.bounds.linear import linear
from lipverify.bounds.lirpa.gates import GateEngine
from lipverify.bounds.mean_split import mean_split
from lipverify.bounds.methods import METHODS, STAGES, Setting
from lipverify.bounds.mixtures import (
    ForwardPart,
    Mixtures,
    Question,
    forward_part,
    gate_of,
    proved_upper,
)
from lipverify.bounds.reduced_graph import reduce_graph
from lipverify.config import GateConfig
from lipverify.interval import Interval
from lipverify.norms import norm_named
from lipverify.numerics import DTYPE
from lipverify.operators import Activation, Relaxation
from lipverify.operators.gate import relax_chords
from lipverify.operators.gate_planes import PLANES
from lipverify.region import AbstractRegion, Box
from tests.bounds import cases, dense_gates
from tests.graph.test_backward import ODD
from tests.oracles import autodiff, boxes, networks, originals
from tests.oracles.budget import quickly
from tests.oracles.networks import LARGER, PIECEWISE, Tiny

AGREE = 1e-9
STAGE = "linear (optimised gates)"
INF = norm_named("inf")
SHORT = GateConfig(iterations=3)


def close(mine: Tensor, theirs: Tensor) -> None:
    scale = 1.0 + float(theirs.abs().amax())
    torch.testing.assert_close(mine, theirs, rtol=0, atol=AGREE * scale)


def known_of(setting: Setting) -> tuple[JacobianProblem, JacobianBounds]:
    """All rows, and what linear bound propagation says of them."""
    rows = torch.eye(setting.network.graph.output_size, dtype=DTYPE)
    problem = setting.problem(rows, setting.crown_preactivations)
    start = interval(problem).intersect(mean_split(problem))
    engine = setting.native_engine(relax_chords)
    return problem, start.intersect(linear(problem, engine, relax_chords, INF, start))


def question_of(setting: Setting, specs: int = 4) -> Question:
    """Random functions of every row of the Jacobian."""
    problem, known = known_of(setting)
    assert known.adjoints is not None
    backward = setting.backward
    shape = backward[backward.jacobian].shape
    return Question(
        backward.jacobian,
        torch.randn(specs, len(problem.rows), *shape, dtype=DTYPE),
        problem.rows,
        forward_part(backward.forward, problem.preactivations),
        problem.slopes,
        known.adjoints,
        (setting.region,),
    )


def open_gates(setting: Setting, question: Question) -> dict[str, Tensor]:
    found = {}
    for name, gate in gate_of(setting.backward).items():
        slope = question.slopes[gate.name]
        index = (slope.lower < slope.upper).any(0).flatten().nonzero().flatten()
        if index.numel():
            found[name] = index
    return found


def random_mixtures(setting: Setting, question: Question) -> Mixtures:
    index, weights, choices = open_gates(setting, question), {}, {}
    for name, positions in index.items():
        shape = (*question.size, positions.numel())
        share = -torch.rand(2, PLANES, *shape, dtype=DTYPE).log()
        weights[name] = (share / share.sum(1, keepdim=True))[:, 1:]
        operator = setting.network.graph[name].operator
        assert isinstance(operator, Activation)
        if operator.has_choice:
            choices[name] = torch.rand(shape, dtype=DTYPE)
    return Mixtures(index, weights, choices)


def no_mixtures() -> Mixtures:
    return Mixtures({}, {}, {})


CHAINS = (
    (PIECEWISE[0], 0.0),
    (PIECEWISE[2], 0.25),
    (PIECEWISE[5], 0.0),
    (LARGER[0], 0.0),
    (LARGER[1], 0.25),
    (networks.dense((5, 8, 7, 6, 3), 3), 0.0),
)


@pytest.mark.parametrize("kind", ["centered", "offset", "thin", "slice"])
@pytest.mark.parametrize(("tiny", "negative"), CHAINS, ids=str)
def test_the_operator_agrees_with_a_hand_written_evaluation(
    tiny: Tiny, negative: float, kind: str
) -> None:
    setting = cases.setting_of(tiny, kind)
    assert isinstance(setting.region, Box)
    question = question_of(setting)
    engine = GateEngine(setting.backward)
    for mixtures in (random_mixtures(setting, question), no_mixtures()):
        theirs = dense_gates.evaluate(tiny, negative, setting.region, question, mixtures)
        close(engine.evaluate(question, mixtures), theirs)


@pytest.mark.parametrize(
    ("tiny", "kind"), quickly(cases.every((*PIECEWISE, *LARGER, *ODD), ("offset", "l2 ball")), 20)
)
def test_without_parameters_it_is_linear_bound_propagation(tiny: Tiny, kind: str) -> None:
    setting = cases.setting_of(tiny, kind)
    question = question_of(setting)
    problem, known = known_of(setting)
    assert known.adjoints is not None
    plain = setting.native_engine(relax_chords).backward_upper(
        question.target,
        question.objective,
        question.rows,
        problem.preactivations,
        known.adjoints,
        problem.slopes,
    )
    close(GateEngine(setting.backward).evaluate(question, no_mixtures()), plain)


@pytest.mark.parametrize(
    ("tiny", "kind"), quickly(cases.every((*PIECEWISE, *LARGER, *ODD), ("offset", "l1 ball")), 20)
)
def test_the_reduced_graph_gives_the_same_numbers(tiny: Tiny, kind: str) -> None:
    """Residual sums, convolutions and smooth gates too: any parameters found there hold here."""
    setting = cases.setting_of(tiny, kind)
    question = question_of(setting)
    reduced = reduce_graph(setting.backward, setting.region, setting.crown_preactivations)
    small = reduced.question(question)
    assert small is not None
    index = {name: torch.arange(len(places)) for name, places in reduced.index.items()}
    engine = GateEngine(reduced.backward)
    found = engine.optimise(small, index, SHORT)
    there = engine.evaluate(small, found)
    full = GateEngine(setting.backward)
    close(full.evaluate(question, reduced.mixtures(found)), there)
    if not reduced.origin:
        assert not index
    for node in setting.backward.forward.activations:
        adjoint = gate_of(setting.backward)[node.name].inputs[1]
        shape = setting.backward[adjoint].shape
        objective = torch.zeros(1, len(question.rows), *shape, dtype=DTYPE)
        asked = reduced.question(replace(question, target=adjoint, objective=objective))
        assert (asked is None) == (node.name not in reduced.origin.values())


def test_the_reduced_graph_is_the_network_on_the_region() -> None:
    for tiny in (*PIECEWISE[:12], LARGER[0], LARGER[6], LARGER[7]):
        setting = cases.setting_of(tiny, "offset")
        reduced = reduce_graph(setting.backward, setting.region, setting.crown_preactivations)
        points = cases.points_of(tiny, "offset")
        values = {"input": points}
        for node in reduced.backward.forward:
            if node.operator is not None:
                values[node.name] = node.operator.evaluate(*(values[n] for n in node.inputs))
        close(values[reduced.backward.forward.output], tiny(points))


# --- Batches: copies are rows on subproblems, each with its own intervals and region.


def subproblems(tiny: Tiny) -> list[Setting]:
    """The box, its halves, and the box cut by half-spaces through its centre."""
    box = boxes.centered(tiny.inputs, 1.0)
    slopes = torch.randn(2, tiny.inputs, dtype=DTYPE)
    offsets = 0.1 - slopes @ box.center
    regions: list[AbstractRegion] = [box, *box.halves(0), CutRegion(box, slopes, offsets)]
    network = originals.network(tiny)
    return [Setting(network, region, cases.ALPHA, gates=SHORT) for region in regions]


def stacked(questions: list[Question]) -> Question:
    """One batch of all, on the first one's graph."""

    def joined(intervals: list[Interval], copies: list[int]) -> Interval:
        ends = [
            torch.cat(
                [
                    getattr(one, end).expand(count, *one.shape[1:])
                    for one, count in zip(intervals, copies, strict=True)
                ]
            )
            for end in ("lower", "upper")
        ]
        return Interval(*ends)

    copies = [one.size[1] for one in questions]
    first = questions[0]

    def relaxations(which: str) -> dict[str, Relaxation]:
        fields = ("lower_slope", "lower_intercept", "upper_slope", "upper_intercept")
        parts = [getattr(one.forward, which) for one in questions]
        return {
            name: Relaxation(
                *(
                    torch.cat(
                        [
                            getattr(part[name], field).expand(count, *node.shape[1:])
                            for part, count in zip(parts, copies, strict=True)
                        ]
                    )
                    for field in fields
                )
            )
            for name, node in first.forward.intervals.items()
        }

    return Question(
        first.target,
        torch.cat([one.objective for one in questions], 1),
        torch.cat([one.rows for one in questions]),
        ForwardPart(
            {
                name: joined([one.forward.intervals[name] for one in questions], copies)
                for name in first.forward.intervals
            },
            relaxations("relaxations"),
            relaxations("lines"),
        ),
        {n: joined([one.slopes[n] for one in questions], copies) for n in first.slopes},
        {n: joined([one.adjoints[n] for one in questions], copies) for n in first.adjoints},
        [one.regions[0] for one in questions for _ in range(one.size[1])],
    )


BATCHED = (PIECEWISE[0], PIECEWISE[9], PIECEWISE[11], LARGER[1], LARGER[6], LARGER[7])


@pytest.mark.parametrize("tiny", BATCHED, ids=str)
def test_a_batch_is_each_of_its_copies(tiny: Tiny) -> None:
    """Rows on subproblems with their own regions, together and one by one."""
    settings = subproblems(tiny)
    questions = [question_of(setting, specs=3) for setting in settings]
    together = stacked(questions)
    engine = GateEngine(settings[0].backward)
    index = open_gates(settings[0], questions[0])
    found = engine.optimise(together, index, SHORT)
    values = engine.evaluate(together, found)
    proved = proved_upper(engine, settings[0].backward, together, found)
    assert bool((values < proved).all()), "not rounded up"
    start = 0
    for one in questions:
        copies = slice(start, start + one.size[1])
        start = copies.stop
        mine = Mixtures(
            found.index,
            {name: share[:, :, :, copies] for name, share in found.weights.items()},
            {name: choice[:, copies] for name, choice in found.choices.items()},
        )
        close(engine.evaluate(one, mine), values[:, copies])
        close(engine.evaluate(one, engine.optimise(one, index, SHORT)), values[:, copies])


@pytest.mark.parametrize("tiny", (PIECEWISE[0], PIECEWISE[2], LARGER[1], LARGER[6]), ids=str)
def test_half_spaces_tighten_and_hold(tiny: Tiny) -> None:
    """What splits of neurons imply reaches the bound through the gates' preactivations."""
    setting = cases.setting_of(tiny, "centered")
    question = question_of(setting, specs=6)
    points = cases.points_of(tiny, "centered")
    points = points[autodiff.distance_to_kinks(tiny, points) > 0]
    slope = torch.randn(1, tiny.inputs, dtype=DTYPE)
    offset = -slope @ points.mean(0)
    cut = CutRegion(setting.region, slope, offset)
    engine = GateEngine(setting.backward)
    index = open_gates(setting, question)
    inside = replace(question, regions=(cut,))
    there = points[cut.contains(points)]
    truth = autodiff.jacobians(tiny, there)
    values = torch.einsum("pri,sri->psr", truth, question.objective.flatten(2)).amax(0)
    drawn, best = random_mixtures(setting, question), engine.optimise(inside, index, SHORT)
    for mixtures in (drawn, best):
        bound = proved_upper(engine, setting.backward, inside, mixtures)
        without = proved_upper(engine, setting.backward, question, mixtures)
        assert bool((bound <= without + AGREE).all())
        cases.check_above(bound, values, "inside the cut")
    bound, without = (engine.evaluate(one, drawn) for one in (inside, question))
    assert bool((bound < without - 1e-6).any()), "the cut reaches no bound"


# --- The stage: what it gains, never loses, and leaves.


def found_by(setting: Setting, config: GateConfig, known: JacobianBounds, norm: str = "inf"):
    setting = Setting(setting.network, setting.region, setting.config, gates=config)
    rows = torch.eye(setting.network.graph.output_size, dtype=DTYPE)
    return STAGES[STAGE](setting, rows, norm_named(norm), known)


def linear_of(setting: Setting, norm: str = "inf") -> JacobianBounds:
    rows = torch.eye(setting.network.graph.output_size, dtype=DTYPE)
    return STAGES["linear (alpha-CROWN)"](setting, rows, norm_named(norm), None)


@pytest.mark.parametrize("norm", ["inf", "2", "1"])
@pytest.mark.parametrize("tiny", (LARGER[0], LARGER[2], LARGER[3], CHAINS[-1][0]), ids=str)
def test_it_gains(tiny: Tiny, norm: str) -> None:
    setting = cases.setting_of(tiny, "offset")
    known = linear_of(setting, norm)
    found = found_by(setting, GateConfig(), known, norm)
    assert cases.inside(found.elements, known.elements)
    dual = norm_named(norm).dual
    before, after = known.row_norm(dual), found.row_norm(dual)
    assert bool((after <= before).all())
    assert float(after.sum()) < 0.999 * float(before.sum())
    cases.check_above(after, dual.of(cases.jacobians_of(tiny, "offset")).amax(0), STAGE)


@pytest.mark.parametrize(
    ("tiny", "kind"),
    quickly(cases.every((*PIECEWISE, *LARGER), ("offset", "centered", "l2 ball", "wide")), 12),
)
def test_steps_never_lose(tiny: Tiny, kind: str) -> None:
    """The best parameters are kept, and the start is linear bound propagation's."""
    setting = cases.setting_of(tiny, kind)
    question = question_of(setting)
    engine, index = GateEngine(setting.backward), open_gates(setting, question)
    bounds = [
        proved_upper(
            engine,
            setting.backward,
            question,
            engine.optimise(question, index, GateConfig(iterations=steps)),
        )
        for steps in (0, 2, 6)
    ]
    slack = AGREE * (1 + float(bounds[0].abs().amax()))
    assert bool((bounds[1] <= bounds[0] + slack).all())
    assert bool((bounds[2] <= bounds[1] + slack).all())
    close(bounds[0], proved_upper(engine, setting.backward, question, no_mixtures()))
    objective = question.objective.flatten(2)
    truth = torch.einsum("pri,sri->psr", cases.jacobians_of(tiny, kind), objective).amax(0)
    cases.check_above(bounds[2], truth, "functions of the Jacobian")


def test_told_to_stop_it_returns_what_is_known() -> None:
    setting = cases.setting_of(LARGER[0], "offset")
    rows, known = torch.eye(3, dtype=DTYPE), linear_of(setting)
    assert known.row_norms is not None
    found = STAGES[STAGE](setting, rows, INF, known, Effort(lambda: True))
    assert torch.equal(found.elements.lower, known.elements.lower)
    assert found.row_norms is not None and bool((found.row_norms <= known.row_norms).all())
    idle = found_by(setting, GateConfig(work=0.0), known)
    assert torch.equal(idle.elements.upper, known.elements.upper)


def test_rows_that_are_low_enough_are_left() -> None:
    setting = cases.setting_of(LARGER[2], "offset")
    rows, known = torch.eye(2, dtype=DTYPE), linear_of(setting)
    assert known.row_norms is not None
    middle = float(known.row_norms.min())
    found = STAGES[STAGE](setting, rows, INF, known, Effort(enough=middle))
    assert found.row_norms is not None
    low = known.row_norms <= middle
    assert bool(low.any()) and not bool(low.all())
    assert torch.equal(found.row_norms[low], known.row_norms[low])
    assert torch.equal(found.elements.lower[low], known.elements.lower[low])
    assert bool((found.row_norms[~low] < known.row_norms[~low]).all())
    same = STAGES[STAGE](setting, rows, INF, known, Effort(enough=1e9))
    assert same is known


def test_parts_of_the_work_change_nothing_but_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few entries at once, rows one by one: the same parameters are found."""
    setting = cases.setting_of(LARGER[0], "offset")
    known, config = linear_of(setting), GateConfig(iterations=3, gain=0.0)
    whole = found_by(setting, config, known, "2")
    monkeypatch.setattr("lipverify.bounds.optimised.AT_ONCE", 1)
    parts = found_by(setting, config, known, "2")
    close(parts.elements.lower, whole.elements.lower)
    close(parts.elements.upper, whole.elements.upper)
    assert parts.row_norms is not None and whole.row_norms is not None
    close(parts.row_norms, whole.row_norms)


def test_auto_optimises_gates_only_where_the_quadratic_dual_is_weak() -> None:
    method = METHODS["auto"]
    smooth, piecewise = (cases.setting_of(tiny, "offset") for tiny in (LARGER[2], LARGER[0]))
    assert method.late_on(smooth) == (*method.late, STAGE)
    assert method.late_on(piecewise) == method.late
    wide = networks.dense((4, 400, 300, 2), 0)
    many = Setting(originals.network(wide), boxes.centered(4, 2.0), cases.ALPHA)
    assert STAGE in method.late_on(many)
    assert METHODS["linear"].stages == ("linear (alpha-CROWN)", STAGE)
