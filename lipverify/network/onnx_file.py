"""Reading ONNX files: bytes, checks, and what goes in and out.

`onnx` is imported where it is used, so that other inputs do not need it.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import torch

from lipverify.errors import MissingDependency, NetworkError
from lipverify.operators import Shape

if TYPE_CHECKING:
    import onnx

OLDEST_OPSET = 7
"""Before it, arithmetic broadcast by other rules."""

STANDARD_DOMAINS = ("", "ai.onnx")

AXIS_ORDER = "the batch (the first dimension) may be dynamic, all others need fixed sizes"


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of the file; dynamic dimensions are named, or "?"."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.name!r} of shape {list(self.shape)}"

    @property
    def is_batched(self) -> bool:
        """Whether the first dimension is dynamic."""
        return bool(self.shape) and isinstance(self.shape[0], str)

    @property
    def static_shape(self) -> Shape | None:
        """The shape at a batch of 1; None if any other dimension is dynamic."""
        sizes = (1, *self.shape[1:]) if self.is_batched else self.shape
        fixed = tuple(size for size in sizes if isinstance(size, int))
        return fixed if len(fixed) == len(sizes) else None


@dataclass(frozen=True, eq=False)
class OnnxFile:
    """A checked model; `content` is the file's bytes."""

    path: Path
    content: bytes = field(repr=False)
    model: "onnx.ModelProto" = field(repr=False)
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def opset(self) -> int:
        """The version of the standard operators; 0 if the file uses none of them."""
        versions = {entry.domain: entry.version for entry in self.model.opset_import}
        return max(versions.get(domain, 0) for domain in STANDARD_DOMAINS)


def read_file(path: Path) -> OnnxFile:
    """Read and check; `NetworkError` for anything that is no usable ONNX model."""
    package = import_onnx()
    content = _read_bytes(path)
    try:
        model = package.load_model_from_string(content)
        _require_one_file(path, model)
        package.checker.check_model(model)
        if model.functions:
            model = package.inliner.inline_local_functions(model)
    except NetworkError:
        raise
    except Exception as error:  # protobuf and onnx raise many kinds
        raise NetworkError(
            f"{path}: not a valid ONNX model ({error}); expected a file written by torch.onnx, "
            "tf2onnx or the like"
        ) from error
    stored = {tensor.name for tensor in model.graph.initializer}
    file = OnnxFile(
        path,
        content,
        model,
        tuple(_describe(value) for value in model.graph.input if value.name not in stored),
        tuple(_describe(value) for value in model.graph.output),
    )
    if file.opset < OLDEST_OPSET:
        raise NetworkError(
            f"{path}: opset {file.opset}; {OLDEST_OPSET} or newer is needed. Convert it with "
            "onnx.version_converter"
        )
    return file


def _require_one_file(path: Path, model: "onnx.ModelProto") -> None:
    """All weights are in the file, so that its hash covers them, and stored densely."""
    external = import_onnx().TensorProto.EXTERNAL
    for tensor in model.graph.initializer:
        if tensor.data_location == external:
            raise NetworkError(
                f"{path}: initialiser {tensor.name!r} is stored in another file; save the model as "
                "one file (onnx.save with save_as_external_data=False)"
            )
    for tensor in model.graph.sparse_initializer:
        raise NetworkError(
            f"{path}: initialiser {tensor.values.name!r} is sparse; store it densely"
        )


def import_onnx() -> ModuleType:
    """The package with the parts that are used; `MissingDependency` without it."""
    try:
        import onnx
        import onnx.checker
        import onnx.inliner
        import onnx.reference
        import onnx.shape_inference
    except ImportError as error:
        raise MissingDependency(
            "onnx is needed to read ONNX files; install it with: pip install onnx"
        ) from error
    return onnx


def type_name(code: int) -> str:
    """The name of one of ONNX's tensor types, for users."""
    names = {number: name for name, number in import_onnx().TensorProto.DataType.items()}
    return names.get(code, f"number {code}").lower()


def float_types() -> tuple[int, ...]:
    """ONNX's codes of the types whose values float64 holds exactly."""
    types = import_onnx().TensorProto
    return (types.FLOAT, types.DOUBLE, types.FLOAT16, types.BFLOAT16)


def _read_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise NetworkError(f"{path}: a folder; expected an ONNX file")
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise NetworkError(f"{path}: no such file; expected an ONNX file") from error
    except OSError as error:
        raise NetworkError(f"{path}: cannot be read ({error.strerror})") from error
    if not content:
        raise NetworkError(f"{path}: the file is empty; expected an ONNX model")
    return content


def _describe(value: "onnx.ValueInfoProto") -> TensorInfo:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return TensorInfo(value.name, ("?", "?"), "unknown")
    shape = tuple(
        dim.dim_value if dim.dim_value > 0 else dim.dim_param or "?" for dim in tensor.shape.dim
    )
    return TensorInfo(value.name, shape, type_name(tensor.elem_type))


DTYPES = {"float": torch.float32, "double": torch.float64}


def interface_problems(file: OnnxFile) -> Iterator[str]:
    """Why the file is no function from one input to one output."""
    if len(file.inputs) != 1:
        listed = ", ".join(str(tensor) for tensor in file.inputs) or "none"
        yield f"expected one input, found {len(file.inputs)}: {listed}"
    if len(file.outputs) != 1:
        listed = ", ".join(str(tensor) for tensor in file.outputs)
        yield (
            f"expected one output, found {len(file.outputs)}: {listed}. Cut the model to one of "
            "them with onnx.utils.extract_model"
        )
    for tensor in file.inputs:
        if tensor.static_shape is None:
            yield f"input {tensor} has a dynamic dimension; {AXIS_ORDER}"
        if tensor.dtype not in DTYPES:
            yield f"input {tensor} has type {tensor.dtype}; expected float or double"
