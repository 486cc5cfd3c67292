"""What a bounding method of the Jacobian is given, and what it returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from lipverify.bounds.propagation import gate_slopes
from lipverify.graph import BackwardGraph
from lipverify.interval import Interval
from lipverify.norms import AbstractNorm
from lipverify.operators import Choice, Gate
from lipverify.operators.gate import product


@dataclass(frozen=True, eq=False)
class JacobianProblem:
    """Bound rows J(x) [r, n] over all gates that the preactivations allow.

    `preactivations` holds [1, *shape] intervals by forward node; `memory` is in bytes. `fixed`
    holds gates' slopes, by gate name, that a search narrowed beyond what the preactivations tell
    (on the half z <= 0 a ReLU's gate is 0, although z = 0 belongs to it: the other slopes at the
    kink are covered by the other half and by convexity).
    """

    backward: BackwardGraph
    rows: Tensor
    preactivations: Mapping[str, Interval]
    memory: float = 4e9
    fixed: Mapping[str, Interval] = field(default_factory=dict)

    @cached_property
    def slopes(self) -> Mapping[str, Interval]:
        """The range of every gate's slope, [1, *shape] by gate name."""
        return gate_slopes(self.backward, self.preactivations) | dict(self.fixed)

    @property
    def seed(self) -> Tensor:
        return self.rows.reshape(-1, *self.backward.forward.output_shape)

    def at_rows(self, rows: Tensor) -> "JacobianProblem":
        """The problem of some rows alone."""
        return replace(self, rows=self.rows[rows])


@dataclass(frozen=True, eq=False)
class JacobianBounds:
    """Proved bounds, about the gate-product set.

    `elements` [r, n] bounds each entry; `row_norms` [r] bounds the dual of the asked input norm of
    each row from above, where the method has more to say of it than the elements do.
    """

    elements: Interval
    row_norms: Tensor | None = None
    adjoints: Mapping[str, Interval] | None = None
    """Interval of the adjoint that each gate multiplies, [r, *shape] by gate name."""
    joint: float | None = None
    """A bound of the l2 norm of all rows together, where the method has one."""

    def intersect(self, other: "JacobianBounds") -> "JacobianBounds":
        norms = [bounds for bounds in (self.row_norms, other.row_norms) if bounds is not None]
        joint = [bounds.joint for bounds in (self, other) if bounds.joint is not None]
        adjoints = self.adjoints or other.adjoints
        if self.adjoints and other.adjoints:
            adjoints = {
                name: mine.intersect(other.adjoints[name]) for name, mine in self.adjoints.items()
            }
        return JacobianBounds(
            self.elements.intersect(other.elements),
            torch.stack(norms).amin(0) if norms else None,
            adjoints,
            min(joint) if joint else None,
        )

    def at_rows(self, rows: Tensor) -> "JacobianBounds":
        """The bounds of some rows alone."""
        adjoints = self.adjoints
        return JacobianBounds(
            pick_rows(self.elements, rows),
            None if self.row_norms is None else self.row_norms[rows],
            adjoints and {name: pick_rows(bounds, rows) for name, bounds in adjoints.items()},
        )

    def with_rows(self, rows: Tensor, found: "JacobianBounds") -> "JacobianBounds":
        """These bounds, with those of some rows replaced by `found`."""
        assert self.adjoints is not None and found.adjoints is not None
        norms = self.row_norms
        if found.row_norms is not None:
            if norms is None:
                norms = torch.full((len(self.elements.lower),), torch.inf, dtype=torch.float64)
            norms = norms.index_copy(0, rows, found.row_norms)
        return JacobianBounds(
            with_rows(self.elements, rows, found.elements),
            norms,
            {
                name: with_rows(old, rows, found.adjoints[name])
                for name, old in self.adjoints.items()
            },
        )

    def row_norm(self, dual: AbstractNorm) -> Tensor:
        """Bounds [r] of each row in the norm `dual`, from elements and `row_norms`; not rounded."""
        from_elements = dual.of(self.elements.magnitude)
        if self.row_norms is None:
            return from_elements
        return torch.minimum(from_elements, self.row_norms)


def pick_rows(known: Interval, rows: Tensor) -> Interval:
    return Interval(known.lower[rows], known.upper[rows])


def with_rows(known: Interval, rows: Tensor, found: Interval) -> Interval:
    """`known` with some of its rows replaced."""
    return Interval(
        known.lower.index_copy(0, rows, found.lower), known.upper.index_copy(0, rows, found.upper)
    )


def interval(problem: JacobianProblem) -> JacobianBounds:
    """Interval arithmetic on the backward graph, rounded outward."""
    backward = problem.backward
    values = {BackwardGraph.SEED: Interval(problem.seed, problem.seed)}
    for node in backward:
        if isinstance(node.operator, Gate):
            values[node.name] = product(problem.slopes[node.name], values[node.inputs[1]])
        elif isinstance(node.operator, Choice) and node.inputs[-1] in problem.slopes:
            share = problem.slopes[node.inputs[-1]]
            values[node.name] = node.operator.mixed(share, *(values[i] for i in node.inputs))
        elif node.operator is not None:
            values[node.name] = node.operator.interval(*(values[name] for name in node.inputs))
    elements = values[backward.jacobian].reshape(problem.rows.shape[0], -1)
    adjoints = {gate.name: values[gate.inputs[1]] for gate in backward.gates}
    return JacobianBounds(elements, None, adjoints)
