"""The original network, run by its own engine: the judge of our graph and of counterexamples."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any, final

import torch
from numpy.typing import NDArray
from torch import Tensor

from lipverify.errors import MissingDependency, NetworkError
from lipverify.network.builder import without_batch
from lipverify.operators import Shape
from lipverify.reading import Preprocessing, Reading

if TYPE_CHECKING:
    import onnxruntime

BATCHING_RELATIVE = 1e-5
"""Points run in one batch may deviate by this from points run alone (float32 rounding only)."""

ONNXRUNTIME_FATAL = 4
"""Its log level for fatal errors; others reach us as exceptions."""


@dataclass(frozen=True, eq=False, kw_only=True)
class AbstractOriginal(ABC):
    """Runs points through the original. Picklable; engines are started where they are used.

    `shape` is that of the input at a batch of 1, `dtype` the type that inputs are converted to.
    `batched` says that the first dimension of the input may hold several points at once.
    """

    shape: Shape
    dtype: torch.dtype
    batched: bool = False

    @abstractmethod
    def _run(self, x: Tensor) -> Tensor:
        """One run of the engine, in its own shapes and dtype."""

    def evaluate(self, x: Tensor) -> Tensor:
        """Flat [batch, n] (batch >= 1) -> flat [batch, m], float64.

        `NetworkError` if the engine fails.
        """
        x = x.detach().to(self.dtype)
        if self.batched:
            y = self._run(x.reshape(-1, *self.shape[1:])).reshape(x.shape[0], -1)
        else:
            y = torch.stack([self._run(point.reshape(self.shape)).reshape(-1) for point in x])
        return y.to(torch.float64)


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class OnnxOriginal(AbstractOriginal):
    """An ONNX model's bytes, run by onnxruntime on one thread. `source` is its path, for errors.

    `input` is the name of the input that moves, `outputs` of those that are asked for, whose
    entries follow one another in the result where there are several; `fixed` holds the values of
    the other inputs, at a batch of 1, of which those in `repeated` are given once per point of a
    batch.
    """

    source: str
    model: bytes = field(repr=False)
    input: str
    outputs: tuple[str, ...]
    fixed: Mapping[str, NDArray[Any]] = field(default_factory=dict, repr=False)
    repeated: frozenset[str] = frozenset()

    @cached_property
    def _engine(self) -> "onnxruntime.InferenceSession":
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingDependency(
                "onnxruntime is needed to run ONNX files; install it with: pip install onnxruntime"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = ONNXRUNTIME_FATAL
        try:
            return onnxruntime.InferenceSession(
                self.model, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions have no base class of their own
            raise NetworkError(
                f"{self.source}: onnxruntime cannot load the network: {error}"
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        # The engine cannot be pickled: the worker starts its own.
        return {name: value for name, value in self.__dict__.items() if name != "_engine"}

    def _run(self, x: Tensor) -> Tensor:
        engine = self._engine
        count = x.shape[0] if self.batched else 1
        feed = {
            name: value.repeat(count, axis=0) if name in self.repeated else value
            for name, value in self.fixed.items()
        }
        try:
            found = engine.run(self.outputs, {self.input: x.contiguous().numpy(), **feed})
        except Exception as error:
            raise NetworkError(
                f"{self.source}: onnxruntime cannot run it on shape {list(x.shape)}: {error}"
            ) from error
        if len(found) == 1:
            return torch.as_tensor(found[0])
        return torch.cat([torch.as_tensor(y).reshape(count, -1).double() for y in found], 1)


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class TorchOriginal(AbstractOriginal):
    """A module in eval mode, on the CPU."""

    module: torch.nn.Module = field(repr=False)

    def _run(self, x: Tensor) -> Tensor:
        try:
            with torch.no_grad():
                y = self.module(x)
        except Exception as error:  # whatever the user's code raises
            raise NetworkError(
                f"{type(self.module).__name__} cannot be run on shape {list(x.shape)}: {error}"
            ) from error
        if not isinstance(y, Tensor):
            raise NetworkError(
                f"{type(self.module).__name__} returns a {type(y).__name__}; expected one tensor"
            )
        return y


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class PreprocessedOriginal(AbstractOriginal):
    """Another original behind a preprocessing, which is computed in float64."""

    inner: AbstractOriginal
    preprocessing: Preprocessing

    def _run(self, x: Tensor) -> Tensor:
        sample = without_batch(self.shape)
        mean, std, scale, offset = (
            self.preprocessing.spread(name, sample) for name, _ in self.preprocessing
        )
        y = x.to(torch.float64)
        y = y if mean is None else y - mean
        y = y if std is None else y / std
        y = y if scale is None else y * scale
        y = y if offset is None else y + offset
        return self.inner._run(y.to(self.dtype))


def preprocessed(original: AbstractOriginal, reading: Reading) -> AbstractOriginal:
    """The original behind the reading's preprocessing, if it has one."""
    if reading.preprocessing is None:
        return original
    return PreprocessedOriginal(
        shape=original.shape,
        dtype=original.dtype,
        batched=original.batched,
        inner=original,
        preprocessing=reading.preprocessing,
    )


def with_batching(original: AbstractOriginal) -> AbstractOriginal:
    """The same original, run in batches if that is seen not to change its results.

    A network that may be given several points at once may still mix them (by a reshape that was
    exported with a batch of 1, say), so two points are tried.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, prod(original.shape), generator=generator, dtype=torch.float64)
    together = replace(original, batched=True)
    alone = original.evaluate(x)
    try:
        same = together.evaluate(x)
    except (NetworkError, RuntimeError):  # RuntimeError: an output without a batch
        return original
    if same.shape != alone.shape:
        return original
    tolerance = BATCHING_RELATIVE * max(1.0, float(alone.abs().max()))
    return together if bool(((same - alone).abs() <= tolerance).all()) else original
