"""Reading torch modules.

By torch.export: it sees what is computed, not which classes the module is made of, so functions,
methods, parametrised weights (weight_norm, spectral_norm) and hooks are read as they act.
"""

import copy
import operator
import warnings
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from lipverify.errors import NetworkError, UnsupportedOperator
from lipverify.graph import ForwardGraph
from lipverify.network.builder import GraphBuilder, Switched, Value
from lipverify.network.layers import preprocess
from lipverify.network.network import Network, graph_digest
from lipverify.network.node_info import NodeInfo, refuse_unsupported
from lipverify.network.original import TorchOriginal, preprocessed, with_batching
from lipverify.network.switch import JUMPS
from lipverify.network.torch_convert import CONVERTERS, SUPPORTED
from lipverify.network.torch_node import TorchNode
from lipverify.network.torch_selection import SWITCH_CONVERTERS
from lipverify.reading import AS_IT_IS, Reading

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import Node as FxNode

DTYPES = (torch.float32, torch.float64)


def read_module(
    module: torch.nn.Module, example_input: Tensor | None, reading: Reading = AS_IT_IS
) -> Network:
    """The network in a module, in eval mode: a copy is read, the module itself is left alone.

    `example_input` [batch, ...] tells the input's shape and type; the batch (any) is the first
    dimension. `NetworkError` if the module cannot be copied or exported, or is no function from
    one tensor to one tensor; `UnsupportedOperator` listing all calls that cannot be bounded.
    """
    source = type(module).__name__
    if example_input is None:
        raise NetworkError(
            f"{source}: a torch module does not tell the shape of its input; pass example_input, "
            "a tensor [batch, ...]"
        )
    if example_input.dim() < 1 or not len(example_input) or example_input.dtype not in DTYPES:
        raise NetworkError(
            f"{source}: example_input has shape {list(example_input.shape)} and type "
            f"{example_input.dtype}; expected float32 or float64 with a batch of 1 or more in front"
        )
    if reading.inputs or reading.output:
        raise NetworkError(
            f"{source}: a torch module has one input, which moves, and one output; "
            "none can be fixed or chosen"
        )
    own = _copy(source, module)
    example = example_input[:1].detach().cpu()
    original = TorchOriginal(module=own, shape=tuple(example.shape), dtype=example.dtype)
    original.evaluate(example.reshape(1, -1))  # fails with a clearer message than the export
    graph, nodes = _Walk(source, _export(source, own, example), reading).run()
    evaluator = preprocessed(with_batching(original), reading)
    return Network(graph, source, graph_digest(graph), nodes, evaluator, reading)


def _copy(source: str, module: torch.nn.Module) -> torch.nn.Module:
    """An own copy of the module, in eval mode on the CPU."""
    # The old torch.nn.utils.weight_norm leaves computed tensors behind, which refuse to be copied.
    memo = {
        id(value): value.detach().clone()
        for part in module.modules()
        for value in vars(part).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }
    try:
        return copy.deepcopy(module, memo).eval().cpu().requires_grad_(False)
    except Exception as error:  # whatever the user's attributes raise
        raise NetworkError(f"{source}: the module cannot be copied ({error})") from error


def _export(source: str, module: torch.nn.Module, example: Tensor) -> "ExportedProgram":
    """The module as one flat graph of aten calls without side effects."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own making
            program = torch.export.export(module, (example,), strict=False)
            # Without decompositions this only turns in-place calls into ordinary ones.
            return program.run_decompositions({})
    except Exception as error:  # tracing runs the user's code and raises many kinds
        raise NetworkError(
            f"{source}: the module cannot be exported for an input of shape "
            f"{list(example.shape)} ({error}); control flow must not depend on the input's values"
        ) from error


class _Walk:
    """One pass over an exported program."""

    def __init__(self, source: str, program: "ExportedProgram", reading: Reading) -> None:
        self.source = source
        self.program = program
        self.reading = reading
        self.results: dict[str, Any] = {}
        self.nodes: list[NodeInfo] = []
        self.errors: list[str] = []
        self.build = self._place_inputs()

    def run(self) -> tuple[ForwardGraph, tuple[NodeInfo, ...]]:
        outputs = list(self.program.graph_signature.user_outputs)
        output = outputs[0]
        if len(outputs) != 1 or not isinstance(output, str):
            raise NetworkError(f"{self.source}: expected one output tensor, found {outputs}")
        fx_nodes = list(self.program.graph.nodes)
        used = _used(fx_nodes, output)
        self._require_finite(used)
        for node in fx_nodes:
            if node.name in used and node.op == "call_function":
                self.nodes.append(self._read(node))
        if self.errors:
            raise NetworkError(f"{self.source}: {self.errors[0]}")
        refuse_unsupported(self.source, self.nodes, SUPPORTED)
        result = self.results[output]
        if isinstance(result, Switched):
            raise NetworkError(f"{self.source}: the output: {JUMPS}")
        if not isinstance(result, Value):
            raise NetworkError(f"{self.source}: the output does not depend on the input")
        return self.build.finish(result), tuple(self.nodes)

    def _place_inputs(self) -> GraphBuilder:
        """Look up parameters, buffers and constants; the one input starts the graph."""
        program = self.program
        stored: Mapping[str, Any] = {**program.constants, **program.state_dict}
        free: list[FxNode] = []
        specs = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
        for node in program.graph.nodes:
            if node.op != "placeholder":
                continue
            target = specs[node.name].target
            if target is None:
                free.append(node)
            else:
                self.results[node.name] = stored[target]
        if len(free) != 1:
            raise NetworkError(f"{self.source}: expected one input, found {len(free)}")
        build = GraphBuilder(tuple(_first_result(free[0]).shape))
        self.results[free[0].name] = preprocess(build, self.reading.preprocessing)
        return build

    def _require_finite(self, used: set[str]) -> None:
        for spec in self.program.graph_signature.input_specs:
            stored = self.results[spec.arg.name]
            if spec.arg.name not in used or not isinstance(stored, Tensor):
                continue
            bad = int((~torch.isfinite(stored)).sum())
            if bad:
                raise NetworkError(
                    f"{self.source}: {spec.target!r} holds {bad} entries that are NaN or infinite"
                )

    def _read(self, node: "FxNode") -> NodeInfo:
        """Compute or translate one call, and tell what came of it."""
        name, kind = _module_path(node), _kind(node)
        first = _first_result(node)
        shape = tuple(first.shape)
        args, kwargs = self._look_up(node.args), self._look_up(node.kwargs)
        reason, parameters = "", 0
        try:
            if not _holds_value((args, kwargs)):
                self.results[node.name] = _fold(node, args, kwargs)
            else:
                arguments = _bind(node, args, kwargs)
                parameters = sum(
                    argument.numel()
                    for argument in arguments.values()
                    if isinstance(argument, Tensor) and argument.is_floating_point()
                )
                self.build.begin(name)
                call = partial(_call_on, node, args, kwargs)
                self.results[node.name] = self._convert(
                    kind, TorchNode(arguments, shape, first.dtype, call)
                )
        except UnsupportedOperator as error:
            reason = str(error)
        except NetworkError as error:
            self.errors.append(f"{kind} at node {name!r}: {error}")
        if node.name not in self.results:
            self.results[node.name] = self.build.placeholder(shape)
        return NodeInfo(name, kind, shape, parameters, not reason, reason)

    def _convert(self, kind: str, node: TorchNode) -> Value | Switched | tuple[Value, ...]:
        if kind == "getitem":
            results, index = node.arguments["a"], node.arguments["b"]
            if isinstance(results, tuple):
                return results[index]
            if index != 0:  # of calls that are read as having one result
                raise UnsupportedOperator("a further result is used")
            return node.value("a")
        switched = any(isinstance(given, Switched) for given in node.arguments.values())
        converter = (SWITCH_CONVERTERS if switched else CONVERTERS).get(kind)
        if switched and converter is None:
            raise UnsupportedOperator(JUMPS)
        if converter is None:
            raise UnsupportedOperator("this operator is not supported")
        result = converter(self.build, node)
        first = result[0] if isinstance(result, tuple) else result
        assert first.shape == node.shape, f"{kind}: read {first.shape}, torch says {node.shape}"
        return result

    def _look_up(self, arguments: Any) -> Any:
        return torch.fx.map_arg(arguments, lambda node: self.results[node.name])


def _fold(node: "FxNode", args: Any, kwargs: Any) -> Any:
    """Call the node on constants, in their own dtype, as the module itself does."""
    target = node.target
    assert callable(target)
    if isinstance(target, torch._ops.OpOverload) and (
        torch.Tag.nondeterministic_seeded in target.tags
    ):
        raise UnsupportedOperator("it is random")
    with torch.no_grad():
        return target(*args, **kwargs)


def _call_on(node: "FxNode", args: Any, kwargs: Any, x: Tensor) -> Any:
    """The call with x instead of its one operand that depends on the input."""
    values = [argument for argument in tree_leaves((args, kwargs)) if isinstance(argument, Value)]
    if len(values) != 1:
        raise UnsupportedOperator("only one of its operands may depend on the input")
    swapped = tree_map(lambda argument: x if argument is values[0] else argument, (args, kwargs))
    return _fold(node, *swapped)


def _bind(node: "FxNode", args: Any, kwargs: Any) -> dict[str, Any]:
    """Arguments by name."""
    target = node.target
    if target is operator.getitem:
        return {"a": args[0], "b": args[1]}
    if not isinstance(target, torch._ops.OpOverload):
        return {}
    formal = target._schema.arguments
    bound = {argument.name: argument.default_value for argument in formal}
    bound.update(zip((argument.name for argument in formal), args, strict=False))
    bound.update(kwargs)
    return bound


def _holds_value(arguments: Any) -> bool:
    if isinstance(arguments, Value | Switched):
        return True
    if isinstance(arguments, dict):
        return any(_holds_value(argument) for argument in arguments.values())
    return isinstance(arguments, tuple | list) and any(map(_holds_value, arguments))


def _kind(node: "FxNode") -> str:
    """The call's name without its overload: aten.add for aten.add.Tensor."""
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        return target._schema.name.replace("::", ".")
    return getattr(target, "__name__", str(target))


def _first_result(node: "FxNode") -> Tensor:
    """A stand-in that has the shape and type of the call's first result."""
    result = node.meta.get("val")
    first = result[0] if isinstance(result, tuple | list) else result
    return first if isinstance(first, Tensor) else torch.empty(0)


def _module_path(node: "FxNode") -> str:
    """What users know the call by: the path of its module, and the call."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    path = stack[-1][0] if stack else ""
    return f"{path}/{node.name}" if path else node.name


def _used(nodes: "list[FxNode]", output: str) -> set[str]:
    """The names of the nodes that the output depends on."""
    used = {output}
    for node in reversed(nodes):
        if node.op != "output" and node.name in used:
            used.update(operand.name for operand in node.all_input_nodes)
    return used
