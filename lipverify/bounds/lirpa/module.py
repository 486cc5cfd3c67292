"""A BoundedModule made straight from a backward graph and the forward graph that it shares.

Nodes are called n0, n1, ... (auto_LiRPA cannot have dots in names). The input region perturbs the
forward graph's input; the seed is a second input without perturbation, whose batch are the rows.
"""

import copy
from collections.abc import Mapping
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
)
from lipverify.bounds.propagation import GateRelaxation
from lipverify.graph import BackwardGraph, Dag, ForwardGraph, Node
from lipverify.interval import Interval
from lipverify.operators import AffineOperator, Gate, ReLU
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
    """Our regions, asked by auto_LiRPA for the extremum of a linear function."""

    def __init__(self, region: AbstractRegion) -> None:
        super().__init__()
        self.region = region

    def concretize(self, x: Tensor, A: Any, sign: int = -1, aux: object = None) -> Any:
        if A is None:
            return None
        coefficient = A.reshape(A.shape[0], A.shape[1], -1)
        return sign * self.region.support(sign * coefficient)

    def init(self, x: Tensor, aux: object = None, forward: bool = False) -> Any:
        box = self.region.bounding
        lower = box.lower.reshape(1, *x.shape[1:]).expand(x.shape)
        upper = box.upper.reshape(1, *x.shape[1:]).expand(x.shape)
        return LinearBound(None, None, None, None, lower, upper), x, None


class _Placeholder(torch.nn.Module):
    """What BoundedModule's constructor evaluates once for the output's shape."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, *_: Tensor) -> Tensor:
        return torch.zeros(1, *self.shape)


class JacobianModule(BoundedModule):
    """Forward and backward graph in one BoundedModule."""

    def __init__(self, backward: BackwardGraph, relax_gate: GateRelaxation) -> None:
        self.__dict__["backward_graph"] = backward
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
        if isinstance(operator, ReLU):
            return BoundRelu({"device": "cpu"}, operands, 0, self.bound_opts)
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
        specs, batch = objective.shape[:2]
        if specs == objective[0, 0].numel():
            # As many functions as entries would be given the node's shape, which 0.3's optimiser
            # cannot handle; one function more (zero) keeps them a list.
            objective = torch.cat([objective, torch.zeros_like(objective[:1])])
        center = region.center.reshape(1, *self.backward_graph.forward.input_shape)
        center = center.expand(batch, *center.shape[1:])
        seed = rows.reshape(-1, *self.backward_graph.forward.output_shape)
        x = (BoundedTensor(center, RegionPerturbation(region)), seed)
        fixed = {
            self.ids[name]: [
                interval.lower.expand(batch, *interval.shape[1:]),
                interval.upper.expand(batch, *interval.shape[1:]),
            ]
            for name, interval in intervals.items()
        }
        options = {
            "x": x,
            "C": objective.transpose(0, 1),
            "bound_lower": False,
            "final_node_name": self.ids[target],
            "intermediate_layer_bounds": fixed,
        }
        if iterations == 0:
            with torch.no_grad():
                bounds = self.compute_bounds(method="CROWN", **options)[1]
            return bounds.reshape(batch, -1).T[:specs]
        self.__dict__["fixed"] = fixed
        self.set_bound_opts({"optimize_bound_args": {"iteration": iterations, "lr_alpha": rate}})
        bounds = self.compute_bounds(method="alpha-CROWN", **options)[1]
        return bounds.detach().reshape(batch, -1).T[:specs]


def _named(node: Any, name: str, operands: list[Any]) -> Any:
    node.name = name
    node.input_name = [operand.name for operand in operands]
    return node
