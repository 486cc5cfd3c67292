"""Records as JSON and flat arrays of numbers, and back, bit by bit.

Only what the table `RECORDS` names can be written or read: nothing in a file is ever executed. A
new class is one line there. Values read are checked against the fields' declared types, and the
classes' own constructors refuse what cannot be meant (NaN in an interval, say).
"""

import types
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from math import isfinite, prod
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lipverify.bounds.batched import Boxes
from lipverify.bounds.jacobian import JacobianBounds
from lipverify.bounds.neurons import Parts
from lipverify.bounds.quadratic import Majorant, WarmStart
from lipverify.confirm import Unconfirmed
from lipverify.evidence import (
    Bound,
    CertificateRecord,
    FeatureResult,
    PropertyResult,
    StageRecord,
    TimePoint,
    Witness,
)
from lipverify.interval import Interval
from lipverify.search.branching import Candidate, PseudoCosts
from lipverify.search.checkpoint.progress import Budget, PropertyProgress
from lipverify.search.frontier import Frontier
from lipverify.search.gate_loop import GateState, OpenSubproblem, Waiting
from lipverify.search.gate_split import Evaluation
from lipverify.search.goals import Seen
from lipverify.search.input_split import StoredInputState
from lipverify.search.job import Stop
from lipverify.search.ladder import NormBound, OutputBounds, SlopeBounds
from lipverify.search.neuron_loop import StoredNeurons
from lipverify.search.split import Split
from lipverify.verdict import Counterexample, Falsified, Reason, Unknown, Verified
from lipverify.witness import NormWitness

_CLASSES: tuple[type, ...] = (
    Bound,
    Boxes,
    Budget,
    Candidate,
    Counterexample,
    Evaluation,
    Falsified,
    FeatureResult,
    Frontier,
    GateState,
    Interval,
    JacobianBounds,
    Majorant,
    NormBound,
    NormWitness,
    OpenSubproblem,
    OutputBounds,
    Parts,
    PropertyProgress,
    PropertyResult,
    CertificateRecord,
    StageRecord,
    PseudoCosts,
    Seen,
    SlopeBounds,
    Split,
    Stop,
    StoredInputState,
    StoredNeurons,
    TimePoint,
    Unconfirmed,
    Unknown,
    Verified,
    Waiting,
    WarmStart,
    Witness,
)
RECORDS: Mapping[str, type] = {cls.__name__: cls for cls in _CLASSES}
DTYPES: Mapping[str, torch.dtype] = {
    "float64": torch.float64,
    "float32": torch.float32,
    "int64": torch.int64,
    "int8": torch.int8,
    "uint8": torch.uint8,
    "bool": torch.bool,
}
_CONTAINERS = {"float", "map", "tensor", "array", "Reason"}

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Packed:
    """`tree` is made of what JSON has; `numbers` holds one flat array per dtype."""

    tree: Any
    numbers: Mapping[str, Array]


def schema() -> dict[str, list[str]]:
    """The fields of every record, to see whether a file was written by the same classes."""
    return {name: [entry.name for entry in fields(cls)] for name, cls in RECORDS.items()}


def pack(value: object) -> Packed:
    """TypeError for a value of no known kind."""
    packer = _Packer()
    tree = packer.tree(value)
    return Packed(tree, {name: packer.numbers(name) for name in DTYPES})


def unpack(packed: Packed) -> Any:
    """ValueError (or what the records' constructors raise) for what `pack` cannot have made."""
    return _unpack(packed.tree, packed.numbers)


class _Packer:
    """Arrays that occur several times are stored once."""

    def __init__(self) -> None:
        self._parts: dict[str, list[Array]] = {name: [] for name in DTYPES}
        self._sizes = dict.fromkeys(DTYPES, 0)
        self._known: dict[int, Any] = {}

    def numbers(self, dtype: str) -> Array:
        return np.concatenate([np.zeros(0, dtype=dtype), *self._parts[dtype]])

    def tree(self, value: object) -> Any:
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float):
            return float(value) if isfinite(value) else {"float": repr(float(value))}
        if isinstance(value, tuple):
            return [self.tree(item) for item in value]
        if isinstance(value, Mapping):
            return {"map": [[self.tree(key), self.tree(item)] for key, item in value.items()]}
        if isinstance(value, Tensor | np.ndarray):
            if id(value) not in self._known:
                self._known[id(value)] = self._stored(value)
            return self._known[id(value)]
        if isinstance(value, Reason):
            return {"Reason": value.value}
        name = type(value).__name__
        if RECORDS.get(name) is not type(value):
            raise TypeError(f"{name} is no record of checkpoints; add it to RECORDS")
        return {name: [self.tree(getattr(value, entry.name)) for entry in fields(value)]}  # type: ignore[arg-type]

    def _stored(self, value: Tensor | Array) -> Any:
        kind = "tensor" if isinstance(value, Tensor) else "array"
        array = value.detach().numpy() if isinstance(value, Tensor) else value
        dtype = array.dtype.name
        if dtype not in DTYPES:
            raise TypeError(f"arrays of {dtype} are not stored in checkpoints")
        offset = self._sizes[dtype]
        self._parts[dtype].append(array.reshape(-1))
        self._sizes[dtype] += array.size
        return {kind: [dtype, offset, *array.shape]}


def _unpack(tree: Any, numbers: Mapping[str, Array]) -> Any:
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    if isinstance(tree, list):
        return tuple(_unpack(item, numbers) for item in tree)
    if not isinstance(tree, dict) or len(tree) != 1:
        raise ValueError("neither a value nor a record")
    ((name, content),) = tree.items()
    if name in RECORDS:
        return _record(RECORDS[name], [_unpack(item, numbers) for item in content])
    if name not in _CONTAINERS:
        raise ValueError(f"unknown record {name!r}")
    if name == "float":
        return float(content)
    if name == "map":
        return {_unpack(key, numbers): _unpack(item, numbers) for key, item in content}
    if name == "Reason":
        return Reason(content)
    dtype, offset, *shape = content
    if not all(isinstance(size, int) and size >= 0 for size in (offset, *shape)):
        raise ValueError("an array of no shape")
    if dtype not in numbers or offset + prod(shape) > len(numbers[dtype]):
        raise ValueError("an array reaches beyond what is stored")
    # Copied: arrays of a run are aligned, and kernels may round otherwise where they are not.
    array = numbers[dtype][offset : offset + prod(shape)].reshape(shape).copy()
    return torch.from_numpy(array).clone() if name == "tensor" else array


def _record(cls: type, values: list[Any]) -> Any:
    kinds = _kinds(cls)
    if len(values) != len(kinds):
        raise ValueError(f"{cls.__name__} with {len(values)} fields, expected {len(kinds)}")
    for (field, kind), value in zip(kinds.items(), values, strict=True):
        if not _fits(value, kind):
            raise ValueError(f"{cls.__name__}.{field} is not of its type")
    return cls(*values)


@cache
def _kinds(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {entry.name: hints[entry.name] for entry in fields(cls)}


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a declared type, containers' entries included."""
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any:
        return True
    if kind is None or kind is type(None):
        return value is None
    if origin in (Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if len(parts) == 2 and parts[1] is Ellipsis:
            return all(_fits(item, parts[0]) for item in value)
        return len(value) == len(parts) and all(map(_fits, value, parts))
    if origin is not None and issubclass(origin, Mapping):
        return isinstance(value, dict) and all(
            _fits(key, parts[0]) and _fits(item, parts[1]) for key, item in value.items()
        )
    expected = kind if origin is None else origin
    if expected is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, expected)


__all__ = ["RECORDS", "Packed", "pack", "schema", "unpack"]
