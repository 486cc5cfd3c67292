"""A BoundedModule made straight from a backward graph and the forward graph that it shares.

Nodes are called n0, n1, ... (auto_LiRPA cannot have dots in names). The input region perturbs the
forward graph's input; the seed is a second input without perturbation, whose batch are the rows.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from auto_LiRPA import BoundedModule, BoundedTensor
from auto_LiRPA.linear_bound import LinearBound
from auto_LiRPA.perturbations import Perturbation
from torch import Tensor

from lipverify.bounds.lirpa.nodes import (
    ActivationNode,
    AffineNode,
    BoundInput,
    BoundRelu,
    GateNode,
    ProductNode,
)
from lipverify.bounds.propagation import GateRelaxation
from lipverify.graph import BackwardGraph, Dag, ForwardGraph, Node
from lipverify.interval import Interval
from lipverify.operators import Activation, AffineOperator, Gate, Product, ReLU
from lipverify.region import AbstractRegion

OPTIONS: dict[str, Any] = {
    "conv_mode": "matrix",
    # With these on, 0.3 is unsound or crashes on backward graphs (DESIGN 3).
    "sparse_intermediate_bounds": False,
    "sparse_conv_intermediate_bounds": False,
    "sparse_intermediate_bounds_with_ibp": False,
    "sparse_features_alpha": False,
    "sparse_spec_alpha": False,
    "relu": "adaptive",
    # Its early stop prints; the number of steps is ours to choose.
    "optimize_bound_args": {"early_stop_patience": 10**9},
}


class RegionPerturbation(Perturbation):
    """Our regions, asked by auto_LiRPA for the extremum of a linear function.

    One region for all of a batch, or one for each of its entries.
    """

    def __init__(self, *regions: AbstractRegion) -> None:
        super().__init__()
        self.regions = regions

    def concretize(self, x: Tensor, A: Any, sign: int = -1, aux: object = None) -> Any:
        if A is None:
            return None
        coefficient = sign * A.reshape(A.shape[0], A.shape[1], -1)
        if len(self.regions) == 1:
            return sign * self.regions[0].support(coefficient)
        parts = zip(self.regions, coefficient, strict=True)
        return sign * torch.stack([region.support(part) for region, part in parts])

    def init(self, x: Tensor, aux: object = None, forward: bool = False) -> Any:
        boxes = [region.bounding for region in self.regions]
        lower, upper = (
            torch.stack(ends).reshape(-1, *x.shape[1:]).expand(x.shape)
            for ends in ([box.lower for box in boxes], [box.upper for box in boxes])
        )
        return LinearBound(None, None, None, None, lower, upper), x, None


class _Placeholder(torch.nn.Module):
    """What BoundedModule's constructor evaluates once for the output's shape."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, *_: Tensor) -> Tensor:
        return torch.zeros(1, *self.shape)


class JacobianModule(BoundedModule):
    """Forward and backward graph in one BoundedModule.

    `own_relus`: relax ReLU by our node, whose parameters are ours, not by auto_LiRPA's.
    """

    def __init__(
        self, backward: BackwardGraph, relax_gate: GateRelaxation, own_relus: bool = False
    ) -> None:
        self.__dict__["backward_graph"] = backward
        self.__dict__["own_relus"] = own_relus
        self.__dict__["relax_gate"] = relax_gate
        self.__dict__["ids"] = {}
        self.__dict__["fixed"] = None
        forward = backward.forward
        example = (
            torch.zeros(1, *forward.input_shape),
            torch.zeros(1, *forward.output_shape),
        )
        shape = backward[backward.jacobian].shape
        options = copy.deepcopy(OPTIONS)  # auto_LiRPA writes into them
        super().__init__(_Placeholder(shape), example, bound_opts=options, device="cpu")
        for node in list(self._modules.values()):  # the Jacobian does not depend on all of them
            self.get_forward_value(node)

    def _convert_nodes(self, model: Any, global_input: Any) -> Any:
        """auto_LiRPA's tracing step, replaced."""
        forward: ForwardGraph = self.backward_graph.forward
        made: dict[str, Any] = {}
        operations: list[Any] = []
        inputs = [
            _named(BoundInput("x", global_input[0], input_index=0), "n0", []),
            _named(BoundInput("c", global_input[1], input_index=1), "n1", []),
        ]
        made[ForwardGraph.INPUT], made[BackwardGraph.SEED] = inputs
        used = forward.ancestors(forward.output)
        pending: list[tuple[Dag, Node]] = [(forward, n) for n in forward if n.name in used]
        pending += [(self.backward_graph, node) for node in self.backward_graph]
        for _, node in pending:
            if node.operator is None or node.name in made:
                continue
            operands = [made[name] for name in node.inputs]
            built = self._build(node, operands)
            made[node.name] = _named(built, f"n{len(made)}", operands)
            operations.append(built)
        self.ids.update({name: node.name for name, node in made.items()})
        return operations, inputs, [made[self.backward_graph.jacobian]], None

    def _build(self, node: Node, operands: list[Any]) -> Any:
        operator = node.operator
        if isinstance(operator, AffineOperator):
            return AffineNode(operator, operands)
        if isinstance(operator, Gate):
            return GateNode(operator, self.relax_gate, operands)
        if isinstance(operator, ReLU) and not self.own_relus:
            return BoundRelu({"device": "cpu"}, operands, 0, self.bound_opts)
        if isinstance(operator, Product):
            return ProductNode(operator, operands)
        assert isinstance(operator, Activation)
        return ActivationNode(operator, operands)

    def register_parameter(self, name: str, param: Any) -> None:
        torch.nn.Module.register_parameter(self, name, param)

    def _named_members(self, get_members_fn: Any, prefix: str = "", recurse: bool = True, **_: Any):
        return iter(())

    def init_slope(self, x: Any, **keywords: Any) -> Any:
        """Start alpha-CROWN from the intermediate bounds that it will keep."""
        return super().init_slope(x, **{**keywords, "intermediate_layer_bounds": self.fixed})

    def upper(
        self,
        target: str,
        objective: Tensor,
        region: AbstractRegion,
        rows: Tensor,
        intervals: Mapping[str, Interval],
        iterations: int = 0,
        rate: float = 0.5,
    ) -> Tensor:
        """max objective . target: [specs, batch, *shape] -> [specs, batch]. Not rounded."""
        specs = objective.shape[0]
        if specs == objective[0, 0].numel():
            # As many functions as entries would be given the node's shape, which 0.3's optimiser
            # cannot handle; one function more (zero) keeps them a list.
            objective = torch.cat([objective, torch.zeros_like(objective[:1])])
        if iterations == 0:
            with torch.no_grad():
                return self.crown(target, objective, (region,), rows, intervals)[:specs]
        options = self._options(target, objective, (region,), rows, intervals)
        self.__dict__["fixed"] = options["intermediate_layer_bounds"]
        self.set_bound_opts({"optimize_bound_args": {"iteration": iterations, "lr_alpha": rate}})
        bounds = self.compute_bounds(method="alpha-CROWN", **options)[1]
        return bounds.detach().reshape(objective.shape[1], -1).T[:specs]

    def crown(
        self,
        target: str,
        objective: Tensor,
        regions: Sequence[AbstractRegion],
        rows: Tensor,
        intervals: Mapping[str, Interval],
    ) -> Tensor:
        """As `upper`, with the nodes' parameters as they are; differentiable in them.

        `regions` has one entry, or one for each of the batch.
        """
        options = self._options(target, objective, regions, rows, intervals)
        bounds = self.compute_bounds(method="CROWN", **options)[1]
        return bounds.reshape(objective.shape[1], -1).T

    def _options(
        self,
        target: str,
        objective: Tensor,
        regions: Sequence[AbstractRegion],
        rows: Tensor,
        intervals: Mapping[str, Interval],
    ) -> dict[str, Any]:
        batch = objective.shape[1]
        center = regions[0].center.reshape(1, *self.backward_graph.forward.input_shape)
        center = center.expand(batch, *center.shape[1:])
        seed = rows.reshape(-1, *self.backward_graph.forward.output_shape)
        fixed = {
            self.ids[name]: [
                interval.lower.expand(batch, *interval.shape[1:]),
                interval.upper.expand(batch, *interval.shape[1:]),
            ]
            for name, interval in intervals.items()
        }
        return {
            "x": (BoundedTensor(center, RegionPerturbation(*regions)), seed),
            "C": objective.transpose(0, 1),
            "bound_lower": False,
            "final_node_name": self.ids[target],
            "intermediate_layer_bounds": fixed,
        }


def _named(node: Any, name: str, operands: list[Any]) -> Any:
    node.name = name
    node.input_name = [operand.name for operand in operands]
    return node
