"""From a network and boxes to the reduced network of each box, layer by layer.

The coefficients of every node over the columns (1, x, outputs of the open neurons so far) are
carried from the input to the output. At an activation, its preactivations are bounded on every box
(intervals first, then CROWN where a gate is still open), and each open neuron becomes a new column.

Rounding: a coefficient is a sum of products along paths of the network, so it errs by at most
gamma(operations) times the sum of the paths' magnitudes (Higham 2002, section 3.1). `reach` carries
these magnitudes, one number per node entry, and bounds are moved outward by their share of it.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lipverify.bounds.batched.boxes import Boxes
from lipverify.bounds.batched.picking import (
    fixed_factor,
    masked,
    padded_index,
    pick_columns,
    pick_interval,
    pick_relaxation,
)
from lipverify.bounds.batched.reduced import Reduced, Stage, substitute_up
from lipverify.errors import InvertedInterval, NumericalFailure, OutOfTime
from lipverify.graph import ForwardGraph, Node
from lipverify.interval import Interval
from lipverify.numerics import SMALLEST, gamma
from lipverify.operators import (
    FACTOR,
    Activation,
    AffineOperator,
    PlaneRelaxation,
    Product,
    Relaxation,
)
from lipverify.region import AbstractRegion

ACTIVATION_OPERATIONS = 24
"""Rounded operations that one relaxed activation adds to a path."""

ROWS_AT_ONCE = 512
"""Of a preactivation's bounds: the time is looked at in between."""


def reduce_network(
    forward: ForwardGraph,
    boxes: Boxes,
    region: AbstractRegion | None = None,
    known: Mapping[str, Interval] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Reduced:
    """Bound all preactivations on every box by CROWN, and reduce the network to its open neurons.

    Every bound is about the part of the box in `region`, where that is given. `known` may hold
    proved bounds [boxes or 1, *shape] by name of the preactivation's node; the result is
    intersected with them. Raises `NumericalFailure` on overflow, and `OutOfTime` where `stop` says
    so, which is asked every few hundred neurons.
    """
    builder = _Builder(forward, boxes, region, known or {}, stop)
    used = forward.ancestors(forward.output)
    for node in forward:
        if node.name not in used or node.operator is None:
            continue
        builder.look_at_time()
        if isinstance(node.operator, AffineOperator):
            builder.affine(node, node.operator)
        elif isinstance(node.operator, Product):
            builder.product(node, node.operator)
        else:
            assert isinstance(node.operator, Activation)
            builder.activation(node, node.operator)
    return builder.finish()


class _Builder:
    """Walks through the forward graph once, all boxes side by side."""

    def __init__(
        self,
        forward: ForwardGraph,
        boxes: Boxes,
        region: AbstractRegion | None,
        known: Mapping[str, Interval],
        stop: Callable[[], bool],
    ) -> None:
        batch, n = boxes.lower.shape
        self.forward = forward
        self.boxes = boxes
        self.region = region
        self.known = known
        self.stop = stop
        self.n = n
        identity = torch.eye(n + 1, dtype=boxes.lower.dtype)[:, 1:]
        self.columns: dict[str, Tensor] = {
            ForwardGraph.INPUT: identity.expand(batch, -1, -1).reshape(
                batch, n + 1, *forward.input_shape
            )
        }
        # Of the whole region where there is one, as its support is computed from its own numbers.
        magnitude = boxes.magnitude
        if region is not None:
            magnitude = torch.maximum(magnitude, region.bounding.magnitude)
        self.reach = {ForwardGraph.INPUT: magnitude.reshape(batch, *forward.input_shape)}
        self.operations = {ForwardGraph.INPUT: 1}
        # 1 where some path from an input arrives, 0 where none does; products cannot underflow.
        self.linked = {ForwardGraph.INPUT: torch.ones_like(self.reach[ForwardGraph.INPUT])}
        self.stages: list[Stage] = []
        self.width = n + 1
        self.fixed: dict[tuple[str, int], Tensor] = {}
        self.preactivations: dict[str, Interval] = {}

    def look_at_time(self) -> None:
        if self.stop():
            raise OutOfTime("the network was not reduced in time")

    def affine(self, node: Node, operator: AffineOperator) -> None:
        batch, total = len(self.boxes), None
        for operand, name in enumerate(node.inputs):
            flat = self._padded(name).reshape(batch * self.width, *self.forward[name].shape)
            part = operator.linear(flat, operand)
            total = part if total is None else total + part
        assert total is not None
        value = total.reshape(batch, self.width, *node.shape)
        if operator.constant is not None:
            value = value.clone()  # an identity operator hands back its operand itself
            value[:, 0] += operator.constant.to(value)
        self.columns[node.name] = value
        absolute = operator.absolute_cached
        self.reach[node.name] = absolute.evaluate(*(self.reach[name] for name in node.inputs))
        linked = [absolute.linear(self.linked[name], k) for k, name in enumerate(node.inputs)]
        self.linked[node.name] = (torch.stack(linked) > 0).any(0).to(value)
        longest = max(self.operations[name] for name in node.inputs)
        self.operations[node.name] = operator.terms + 4 + longest

    def activation(self, node: Node, operator: Activation) -> None:
        source, batch = node.inputs[0], len(self.boxes)
        columns = self._padded(source).reshape(batch, self.width, -1)
        bounds, influence = self._bounds(source, operator, columns)
        gate, relaxation = operator.gate(bounds), operator.relax(bounds)
        factor, is_fixed = fixed_factor(gate, relaxation)
        dead = self._dead(source, operator)
        factor, is_fixed = torch.where(dead, gate.upper, factor), is_fixed | dead

        index, valid = padded_index(~is_fixed)
        stage = Stage(
            node.name,
            0,
            index,
            valid,
            self.width,
            pick_columns(columns, index) * valid.to(columns).unsqueeze(-1),
            pick_interval(bounds, index),
            masked(pick_interval(operator.interval(bounds), index), valid),
            masked(pick_interval(gate, index), valid),
            pick_relaxation(relaxation, index, valid),
            influence.gather(1, index.unsqueeze(-1).expand(-1, -1, self.n)),
            self.reach[source].flatten(1).gather(1, index),
        )
        self.stages.append(stage)
        unit = torch.zeros(batch, stage.size, columns.shape[-1], dtype=columns.dtype)
        unit.scatter_(2, index.unsqueeze(-1), valid.to(columns).unsqueeze(-1))
        value = torch.cat([columns * factor.unsqueeze(1), unit], 1)
        self.width += stage.size
        self.columns[node.name] = value.reshape(batch, self.width, *node.shape)
        self.fixed[stage.key] = factor.reshape(batch, *node.shape)
        self.preactivations[source] = bounds.reshape(batch, *node.shape)
        highest = torch.maximum(relaxation.lower_intercept.abs(), relaxation.upper_intercept.abs())
        highest = torch.where(dead, torch.zeros_like(highest), highest)
        passes = ((gate.magnitude > 0) & ~dead).reshape(batch, *node.shape)
        self.linked[node.name] = self.linked[source] * passes
        reached = gate.magnitude * self.reach[source].reshape(batch, -1) + highest
        self.reach[node.name] = reached.reshape(batch, *node.shape)
        self.operations[node.name] = ACTIVATION_OPERATIONS + stage.size + self.operations[source]

    def product(self, node: Node, operator: Product) -> None:
        """Two stages, of all entries in all boxes: open where both factors are known, too."""
        batch = len(self.boxes)
        tables = [self._padded(name).reshape(batch, self.width, -1) for name in node.inputs]
        bounds, influences = zip(
            *(
                self._bounds(name, FACTOR, table)
                for name, table in zip(node.inputs, tables, strict=True)
            ),
            strict=True,
        )
        planes = operator.relax(*bounds)
        value = operator.interval(*bounds)
        half = Interval(value.lower / 2, value.upper / 2)
        index = torch.arange(node.size).expand(batch, -1)
        valid = torch.ones_like(index, dtype=torch.bool)
        start = self.width
        for operand in (1, 0):
            table = torch.nn.functional.pad(
                tables[operand].transpose(1, 2), (0, self.width - start)
            ).contiguous()
            stage = Stage(
                node.name,
                operand,
                index,
                valid,
                self.width,
                table,
                bounds[operand],
                half,
                bounds[1 - operand],
                _half_relaxation(planes, operand),
                influences[operand],
                self.reach[node.inputs[operand]].reshape(batch, -1),
            )
            self.stages.append(stage)
            self.width += node.size
            self.fixed[stage.key] = torch.zeros(batch, *node.shape, dtype=table.dtype)
            source = node.inputs[operand]
            self.preactivations[source] = bounds[operand].reshape(
                batch, *self.forward[source].shape
            )
        unit = torch.eye(node.size, dtype=planes.x_slope.dtype)
        columns = torch.cat([unit.new_zeros(start, node.size), unit, unit])
        self.columns[node.name] = columns.expand(batch, -1, -1).reshape(
            batch, self.width, *node.shape
        )
        highest = torch.maximum(planes.lower_intercept.abs(), planes.upper_intercept.abs())
        reach = [self.reach[name].reshape(batch, -1) for name in node.inputs]
        reached = bounds[1].magnitude * reach[0] + bounds[0].magnitude * reach[1] + highest
        self.reach[node.name] = reached.reshape(batch, *node.shape)
        linked = [self.linked[name] for name in node.inputs]
        self.linked[node.name] = torch.maximum(*linked)
        longest = max(self.operations[name] for name in node.inputs)
        self.operations[node.name] = 2 * (ACTIVATION_OPERATIONS + node.size) + longest

    def finish(self) -> Reduced:
        output, batch = self.forward.output, len(self.boxes)
        columns = self._padded(output).reshape(batch, self.width, -1)
        return Reduced(
            self.boxes,
            self.region,
            tuple(self.stages),
            columns.transpose(1, 2).contiguous(),
            self.fixed,
            self.preactivations,
            self.reach[output].reshape(batch, -1),
            self._path(output),
        )

    def _bounds(
        self, source: str, operator: Activation, columns: Tensor
    ) -> tuple[Interval, Tensor]:
        """Bounds of a preactivation [boxes, size], and its influence [boxes, size, n]."""
        slack = self._slack(source)
        bounds = self._intervals(source, columns, slack)
        for earlier in (self.preactivations.get(source), self.known.get(source)):
            if earlier is not None:
                bounds = self._meet(source, bounds, earlier)
        influence = columns[:, 1 : 1 + self.n].transpose(1, 2).abs()
        gate = operator.gate(bounds)
        index, _ = padded_index(gate.lower < gate.upper)
        size = index.shape[1]
        if size == 0 or self.width == 1 + self.n:  # nothing is open, or intervals are exact
            return bounds, influence
        table = pick_columns(columns, index)  # padding bounds some neuron too: that is no harm
        found = []
        for rows in torch.cat([table, -table], 1).split(ROWS_AT_ONCE, 1):
            self.look_at_time()
            found.append(substitute_up(self.boxes, self.region, self.stages, rows))
        ends, met = (torch.cat(parts, 1) for parts in zip(*found, strict=True))
        ends = ends + slack.gather(1, index).repeat(1, 2)
        lower = bounds.lower.scatter_reduce(1, index, -ends[:, size:], "amax")
        upper = bounds.upper.scatter_reduce(1, index, ends[:, :size], "amin")
        slope = met[..., 1 : 1 + self.n].abs()
        slope = (slope[:, :size] + slope[:, size:]) / 2
        influence = influence.scatter(1, index.unsqueeze(-1).expand(-1, -1, self.n), slope)
        return self._interval(source, lower, upper), influence

    def _dead(self, source: str, operator: Activation) -> Tensor:
        """Neurons to which no path leads (pruned ones): z, a and dz/dx are 0, whatever the gate.

        A reach of 0 alone does not say so: an input that is fixed at 0 has one, and a derivative.
        """
        dead = (self.reach[source].flatten(1) == 0) & (self.linked[source].flatten(1) == 0)
        at_zero = operator.evaluate(torch.zeros((), dtype=self.boxes.lower.dtype))
        return dead if float(at_zero) == 0.0 else torch.zeros_like(dead)

    def _intervals(self, source: str, columns: Tensor, slack: Tensor) -> Interval:
        """Interval arithmetic over the columns, for every entry: [boxes, size]."""
        inputs = Interval(self.boxes.lower, self.boxes.upper)
        values = [inputs, *(stage.value for stage in self.stages)]
        center = torch.cat([value.center for value in values], 1).unsqueeze(1)
        radius = torch.cat([value.radius for value in values], 1).unsqueeze(1)
        linear = columns[:, 1:]
        middle = columns[:, 0] + (center @ linear).squeeze(1)
        spread = (radius @ linear.abs()).squeeze(1) + slack
        bounds = self._interval(source, middle - spread, middle + spread)
        if self.region is None or self.width > 1 + self.n:
            return bounds
        table = columns.transpose(1, 2)
        lower = -self.region.support(-table[..., 1:]) + table[..., 0] - slack
        upper = self.region.support(table[..., 1:]) + table[..., 0] + slack
        return self._meet(source, bounds, Interval(lower, upper))

    def _meet(self, name: str, first: Interval, second: Interval) -> Interval:
        lower, upper = second.lower.flatten(1), second.upper.flatten(1)
        return self._interval(
            name, torch.maximum(first.lower, lower), torch.minimum(first.upper, upper)
        )

    def _interval(self, name: str, lower: Tensor, upper: Tensor) -> Interval:
        if self.region is not None:
            # A box that meets the region in no point, or hardly, may have its proved ends crossed;
            # about no point, every claim is true, so they may be crossed back.
            lower, upper = torch.minimum(lower, upper), torch.maximum(lower, upper)
        try:
            return Interval(lower, upper)
        except InvertedInterval as error:
            raise NumericalFailure(f"bounds of {name!r} are inverted or NaN") from error

    def _slack(self, name: str) -> Tensor:
        """The rounding slack of bounds of a node, [boxes, size]."""
        slack = 2 * gamma(self._path(name)) * self.reach[name].flatten(1) + SMALLEST
        if not bool(torch.isfinite(slack).all()):
            raise NumericalFailure(f"overflow while bounding {name!r}")
        return slack

    def _path(self, name: str) -> int:
        # Twice: once for the composition of the columns, once for the substitution through them.
        return 2 * (self.operations[name] + self.width + ACTIVATION_OPERATIONS)

    def _padded(self, name: str) -> Tensor:
        """A node's columns; those of open neurons found since it was computed are zero."""
        value = self.columns[name]
        missing = self.width - value.shape[1]
        if missing == 0:
            return value
        zeros = torch.zeros(value.shape[0], missing, *value.shape[2:], dtype=value.dtype)
        return torch.cat([value, zeros], 1)


def _half_relaxation(planes: PlaneRelaxation, operand: int) -> Relaxation:
    """The planes' slope in that operand, and half of their intercepts."""
    slope = (planes.x_slope, planes.y_slope)[operand]
    return Relaxation(slope, planes.lower_intercept / 2, slope, planes.upper_intercept / 2)
