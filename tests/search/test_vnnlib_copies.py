"""Files over two copies of a network: their verdicts are those of the same question as a kind of
property of its own; and pairs of inputs satisfy them."""

import random
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import lipverify
from lipverify import VerifyConfig, load_network
from lipverify.errors import SpecError
from lipverify.evidence import PropertyResult
from lipverify.network import Network
from lipverify.norms import L1, AbstractNorm, LInf
from lipverify.region import Box
from lipverify.spec import Lipschitz, Monotonicity, Spec
from lipverify.spec.vnnlib import read_vnnlib
from lipverify.spec.vnnlib.property import spec_of
from lipverify.verdict import Falsified, Unknown, Verified
from tests.oracles.budget import quickly

INPUTS = 3
CONFIG = VerifyConfig(timeout=20.0)

HEAD = """(vnnlib-version <2.0>)
(declare-network f (declare-input X Real [1,3]) (declare-output Y Real [2]))
(declare-network g (equal-to f) (declare-input A Real [1,3]) (declare-output B Real [2]))
"""


@dataclass(frozen=True, eq=False)
class Drawn:
    """A network, a box, and a way to write the same question twice."""

    network: Network
    box: Box
    draw: random.Random

    @property
    def ends(self) -> str:
        pairs = zip(self.box.lower.tolist(), self.box.upper.tolist(), strict=True)
        return "".join(
            f"(assert (and (>= {name}[0,{i}] {low!r}) (<= {name}[0,{i}] {high!r})))\n"
            for i, (low, high) in enumerate(pairs)
            for name in "XA"
        )


def drawn(seed: int) -> Drawn:
    torch.manual_seed(seed)
    draw = random.Random(seed)
    layers = torch.nn.Sequential(
        torch.nn.Linear(INPUTS, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2)
    ).double()
    with torch.no_grad():
        for part in layers.parameters():
            part.copy_((torch.randn_like(part) * 8).round() / 8)
        if draw.random() < 0.5:  # with weights of one sign, often monotone
            for layer in (layers[0], layers[2]):
                layer.weight.copy_(layer.weight.abs() - draw.choice([0.0, 0.0, 0.125]))
    lower = torch.randint(-4, 2, (INPUTS,)).double() / 4
    box = Box(lower, lower + torch.randint(1, 6, (INPUTS,)).double() / 4)
    network = load_network(layers, torch.zeros(1, INPUTS, dtype=torch.float64))
    return Drawn(network, box, draw)


def ask(given: Drawn, prop: Lipschitz | Monotonicity) -> PropertyResult:
    spec = Spec("kind", given.box, (prop,), tuple(f"x{i}" for i in range(INPUTS)))
    (result,) = lipverify.verify(spec, given.network, CONFIG)
    return result


def ask_file(given: Drawn, text: str, folder: Path) -> PropertyResult:
    path = folder / "p.vnnlib"
    path.write_text(HEAD + text)
    (result,) = lipverify.verify(spec_of(read_vnnlib(path)), given.network, CONFIG)
    if isinstance(result.verdict, Falsified):
        found = result.verdict.counterexample
        again = given.network.original(torch.stack(found.inputs))
        inputs = [value for point in found.inputs for value in point.tolist()]
        assert read_vnnlib(path).holds(inputs, again.flatten().tolist())
    return result


def monotone(given: Drawn) -> tuple[Monotonicity, str]:
    """Some inputs move, in given directions; the others are equal."""
    draw = given.draw
    moving = sorted(draw.sample(range(INPUTS), draw.choice([1, 2, 3])))
    up = [i for i in moving if draw.random() < 0.6]
    down = [i for i in moving if i not in up]
    weights = draw.choice([(1.0, 0.0), (0.0, 1.0), (1.0, -1.0), (0.5, 2.0)])
    margin = draw.choice([0.0, 0.0, 0.0, 0.25, -0.5]) if len(moving) == 1 else 0.0
    lines = []
    for i in range(INPUTS):
        relation = "<=" if i in up else ">=" if i in down else "=="
        lines.append(f"({relation} X[0,{i}] A[0,{i}])")
    first = "(+ " + " ".join(f"(* {w} Y[{j}])" for j, w in enumerate(weights)) + ")"
    second = "(+ " + " ".join(f"(* {w} B[{j}])" for j, w in enumerate(weights)) + ")"
    if margin:
        (i,) = moving
        least = margin if up else -margin
        step = f"(* {least} (- A[0,{i}] X[0,{i}]))"
        lines.append(
            f"(< (- {second} {first}) {step})" if up else f"(< (- {second} {first}) {step})"
        )
    else:
        lines.append(f"(< {second} {first})")
    text = given.ends + "(assert (and " + "\n ".join(lines) + "))\n"
    return Monotonicity(weights, tuple(up), tuple(down), margin), text


def lipschitz(given: Drawn, share: float, norm: AbstractNorm) -> tuple[Lipschitz, str]:
    """Some output moves more than L times as far as the inputs do."""
    rows = given.draw.choice([((1.0, 0.0), (0.0, 1.0)), ((1.0, -1.0),), ((0.0, 1.0),)])
    exact = ask(given, Lipschitz(norm, LInf(), rows)).bound
    assert exact is not None
    level = max(round(share * exact.upper * 64), 1) / 64
    if norm.name == "inf":
        slopes = [
            [sign * level if i == k else 0.0 for i in range(INPUTS)]
            for k in range(INPUTS)
            for sign in (1, -1)
        ]
    else:
        signs = torch.cartesian_prod(*[torch.tensor([1.0, -1.0])] * INPUTS)
        slopes = (level * signs).tolist()
    cases = []
    for row in rows:
        for sign in (1, -1):
            moved = (
                "(+ "
                + " ".join(f"(* {sign * w} (- B[{j}] Y[{j}]))" for j, w in enumerate(row))
                + ")"
            )
            parts = []
            for slope in slopes:
                terms = " ".join(f"(* {s} (- A[0,{i}] X[0,{i}]))" for i, s in enumerate(slope))
                parts.append(f"(> {moved} (+ {terms}))")
            cases.append("(and " + "\n   ".join(parts) + ")")
    text = given.ends + "(assert (or " + "\n  ".join(cases) + "))\n"
    return Lipschitz(norm, LInf(), rows, level), text


KINDS = [(seed, kind) for seed in range(25) for kind in ("monotone", "lipschitz")]
"""Fifty questions."""


@pytest.mark.parametrize(("seed", "kind"), quickly(KINDS, 6))
def test_verdicts_agree_with_the_kinds_of_property(seed: int, kind: str, tmp_path: Path) -> None:
    given = drawn(seed)
    if kind == "monotone":
        prop, text = monotone(given)
    else:
        norm = L1() if seed % 4 == 3 else LInf()
        prop, text = lipschitz(given, given.draw.choice([0.7, 0.95, 1.05, 1.5]), norm)
    expected, found = ask(given, prop), ask_file(given, text, tmp_path)
    assert found.verdict.word == expected.verdict.word, (expected.verdict, found.verdict)
    assert not isinstance(found.verdict, Unknown)


def test_both_verdicts_occur() -> None:
    words: set[str] = set()
    for seed in range(12):
        given = drawn(seed)
        prop, _ = monotone(given)
        words.add(ask(given, prop).verdict.word)
        if len(words) == 2:
            break
    assert words == {"verified", "falsified"}


def test_one_input_twice_satisfies_what_is_not_strict(tmp_path: Path) -> None:
    given = drawn(0)
    _, text = monotone(given)
    result = ask_file(given, text.replace("(< ", "(<= "), tmp_path)
    assert isinstance(result.verdict, Falsified)
    first, second = result.verdict.counterexample.inputs
    assert torch.equal(first, second)


def test_touching_boxes_that_do_not_meet_are_never_verified(tmp_path: Path) -> None:
    """Equal inputs in different boxes: there is no pair, whatever is compared."""
    text = "".join(
        f"(assert (and (>= X[0,{i}] 0) (<= X[0,{i}] 1) (>= A[0,{i}] 2) (<= A[0,{i}] 3)))\n"
        f"(assert (== X[0,{i}] A[0,{i}]))\n"
        for i in range(INPUTS)
    )
    result = ask_file(drawn(0), text + "(assert (<= B[0] Y[0]))\n", tmp_path)
    assert isinstance(result.verdict, Verified) and "trivially" in result.remark


@pytest.mark.parametrize("share", [0.4, 3.0])
def test_a_bound_of_the_difference_of_near_inputs(share: float, tmp_path: Path) -> None:
    """|x - x'| <= d and |y - y'| >= c: refuted by a Lipschitz bound of less than c / d."""
    given = drawn(2)
    bound = ask(given, Lipschitz(LInf(), LInf(), ((1.0, 0.0),))).bound
    assert bound is not None
    reach = 0.0625
    level = round(share * bound.upper * reach * 1024) / 1024
    near = "".join(
        f"(assert (and (<= (- X[0,{i}] A[0,{i}]) {reach}) (<= (- A[0,{i}] X[0,{i}]) {reach})))\n"
        for i in range(INPUTS)
    )
    far = f"(assert (or (>= (- Y[0] B[0]) {level}) (>= (- B[0] Y[0]) {level})))\n"
    result = ask_file(given, given.ends + near + far, tmp_path)
    assert isinstance(result.verdict, Verified if share > 1 else Falsified)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(assert (< B[0] (* 2 Y[0])))", "other than differences"),
        ("(assert (< (+ B[0] A[0,0]) Y[0]))", "other than differences"),
        ("(assert (<= (+ X[0,0] A[0,0]) 1))\n(assert (< B[0] Y[0]))", "inputs of both copies"),
        ("(assert (<= X[0,0] A[0,1]))\n(assert (< B[0] Y[0]))", "inputs of both copies"),
        ("(assert (< B[0] Y[0]))", "not recognised"),
        ("(assert (<= X[0,0] A[0,0]))", "compares no outputs"),
    ],
)
def test_what_is_not_recognised_is_refused_with_its_line(
    text: str, message: str, tmp_path: Path
) -> None:
    given = drawn(0)
    with pytest.raises(SpecError, match=message) as caught:
        ask_file(given, given.ends + text, tmp_path)
    assert caught.value.line is not None and caught.value.line > 3


def test_unbounded_copies_are_refused(tmp_path: Path) -> None:
    text = "".join(f"(assert (<= X[0,{i}] A[0,{i}]))\n" for i in range(INPUTS))
    with pytest.raises(SpecError, match="unbounded"):
        ask_file(drawn(0), text + "(assert (< B[0] Y[0]))\n", tmp_path)


def test_bounds_reach_the_other_copy(tmp_path: Path) -> None:
    """Only one copy has ends; the other is equal, or near."""
    given = drawn(1)
    lines = []
    for i, (low, high) in enumerate(
        zip(given.box.lower.tolist(), given.box.upper.tolist(), strict=True)
    ):
        lines.append(f"(assert (and (>= X[0,{i}] {low!r}) (<= X[0,{i}] {high!r})))")
        lines.append(f"(assert (== X[0,{i}] A[0,{i}]))")
    result = ask_file(given, "\n".join(lines) + "\n(assert (< B[0] Y[0]))\n", tmp_path)
    assert isinstance(result.verdict, Verified)
