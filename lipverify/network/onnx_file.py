"""Reading ONNX files: bytes, checks, and what goes in and out.

`onnx` is imported where it is used, so that other inputs do not need it.
"""

import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from lipverify.errors import MissingDependency, NetworkError
from lipverify.operators import Shape
from lipverify.reading import AS_IT_IS, Reading, Values

if TYPE_CHECKING:
    import onnx

OLDEST_OPSET = 7
"""Before it, arithmetic broadcast by other rules."""

MOST_BYTES = 2**31
"""Of one ONNX model: the format allows no more."""

FIXED_DTYPES = {
    "float": np.float32,
    "double": np.float64,
    "int64": np.int64,
    "int32": np.int32,
    "bool": np.bool_,
}
"""Types of inputs that can be fixed, by ONNX's names."""

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
    """A checked model; `content` is all of it in one piece, for engines.

    `sha256` is that of the file's bytes as they are stored, followed by those of the files that
    hold its weights, if any, in the order of their names.
    """

    path: Path
    sha256: str
    content: bytes = field(repr=False)
    model: "onnx.ModelProto" = field(repr=False)
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    external: tuple[Path, ...] = ()
    """Other files of its folder that hold its weights, by name."""

    @property
    def opset(self) -> int:
        """The version of the standard operators; 0 if the file uses none of them."""
        versions = {entry.domain: entry.version for entry in self.model.opset_import}
        return max(versions.get(domain, 0) for domain in STANDARD_DOMAINS)

    @property
    def parameters_sha256(self) -> str:
        """Of all that is stored, whatever the file's layout: name, type, shape and numbers."""
        digest = hashlib.sha256()
        for tensor in sorted(_tensors(self.model), key=lambda tensor: tensor.name):
            array = np.ascontiguousarray(import_onnx().numpy_helper.to_array(tensor))
            digest.update(f"{tensor.name} {array.dtype.name} {array.shape};".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()

    def asked(self, reading: Reading) -> tuple[TensorInfo, ...]:
        """The outputs that the reading asks for: all, unless it names one."""
        return tuple(tensor for tensor in self.outputs if reading.output in ("", tensor.name))

    def fixed(self, reading: Reading) -> dict[str, NDArray[Any]]:
        """The inputs that are fixed, in the file's own types and shapes (at a batch of 1).

        Floats are rounded to the type of the input: that is what the network is given.
        `NetworkError` for names that are no inputs, and values that do not fit.
        """
        known = {tensor.name: tensor for tensor in self.inputs}
        found: dict[str, NDArray[Any]] = {}
        for name, values in reading.inputs:
            if name not in known:
                raise NetworkError(_unknown_input(self, name))
            found[name] = _fixed(known[name], values)
        return found


def read_file(path: Path) -> OnnxFile:
    """Read and check; `NetworkError` for anything that is no usable ONNX model."""
    package = import_onnx()
    stored_bytes = _read_bytes(path)
    content = _unpacked(path, stored_bytes)
    digest = hashlib.sha256(stored_bytes)
    try:
        model = package.load_model_from_string(content)
        external = _load_external(path, model)
        if external:
            for file in external:
                digest.update(file.read_bytes())
            content = model.SerializeToString()
        _refuse_sparse(path, model)
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
        digest.hexdigest(),
        content,
        model,
        tuple(_describe(value) for value in model.graph.input if value.name not in stored),
        tuple(_describe(value) for value in model.graph.output),
        tuple(external),
    )
    if file.opset < OLDEST_OPSET:
        raise NetworkError(
            f"{path}: opset {file.opset}; {OLDEST_OPSET} or newer is needed. Convert it with "
            "onnx.version_converter"
        )
    return file


def _load_external(path: Path, model: "onnx.ModelProto") -> list[Path]:
    """Put weights that are stored in other files into the model; those files, by name.

    They are looked for below the model's folder only, whatever the file says.
    """
    package = import_onnx()
    named: set[str] = set()
    for tensor in _tensors(model):
        if tensor.data_location != package.TensorProto.EXTERNAL:
            continue
        where = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        target = Path(where)
        if not where or target.is_absolute() or ".." in target.parts:
            raise NetworkError(
                f"{path}: initialiser {tensor.name!r} is stored at {where!r}; expected a file in "
                "the model's folder"
            )
        if not (path.parent / target).is_file():
            raise NetworkError(
                f"{path}: initialiser {tensor.name!r} is stored in {where}, which does not exist "
                f"in {path.parent}; put it beside the model"
            )
        named.add(where)
    if named:
        package.external_data_helper.load_external_data_for_model(model, str(path.parent))
    return [path.parent / name for name in sorted(named)]


def _tensors(model: "onnx.ModelProto") -> Iterator["onnx.TensorProto"]:
    """Everything that is stored, constants of nodes among it."""
    yield from model.graph.initializer
    nodes = [*model.graph.node, *(node for part in model.functions for node in part.node)]
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _refuse_sparse(path: Path, model: "onnx.ModelProto") -> None:
    for tensor in model.graph.sparse_initializer:
        raise NetworkError(
            f"{path}: initialiser {tensor.values.name!r} is sparse; store it densely"
        )


def import_onnx() -> ModuleType:
    """The package with the parts that are used; `MissingDependency` without it."""
    try:
        import onnx
        import onnx.checker
        import onnx.external_data_helper
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


def _unpacked(path: Path, content: bytes) -> bytes:
    """What a file named *.gz holds; other files' own bytes."""
    if path.suffix.lower() != ".gz":
        return content
    try:
        with gzip.open(io.BytesIO(content)) as stream:
            unpacked = stream.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise NetworkError(f"{path}: is not packed by gzip, or is cut off ({error})") from error
    if len(unpacked) > MOST_BYTES:
        raise NetworkError(f"{path}: holds more than {MOST_BYTES} bytes, as no ONNX file does")
    return unpacked


def _unknown_input(file: OnnxFile, name: str) -> str:
    known = ", ".join(tensor.name for tensor in file.inputs)
    return f"inputs: {name!r} is no input of the network; known: {known}"


def _fixed(tensor: TensorInfo, values: Values) -> NDArray[Any]:
    where = f"inputs: {tensor.name!r}"
    shape = tensor.static_shape
    kind = FIXED_DTYPES.get(tensor.dtype)
    if shape is None or kind is None:
        raise NetworkError(
            f"{where} of shape {list(tensor.shape)} and type {tensor.dtype} cannot be fixed; "
            f"expected one of {', '.join(FIXED_DTYPES)}, and {AXIS_ORDER}"
        )
    if len(values) not in (1, prod(shape)):
        raise NetworkError(
            f"{where} has {len(values)} numbers; expected one, or {prod(shape)} for shape "
            f"{list(shape)}"
        )
    given = np.array(values, dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        array = given.astype(kind)
    whole = np.issubdtype(kind, np.floating) or bool((array.astype(np.float64) == given).all())
    if not whole or not np.isfinite(array).all():
        raise NetworkError(f"{where} holds a number that type {tensor.dtype} cannot hold")
    return np.broadcast_to(array, prod(shape)).reshape(shape).copy()


def _describe(value: "onnx.ValueInfoProto") -> TensorInfo:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return TensorInfo(value.name, ("?", "?"), "unknown")
    shape = tuple(
        dim.dim_value if dim.dim_value > 0 else dim.dim_param or "?" for dim in tensor.shape.dim
    )
    return TensorInfo(value.name, shape, type_name(tensor.elem_type))


DTYPES = {"float": torch.float32, "double": torch.float64}


def interface_problems(file: OnnxFile, reading: Reading = AS_IT_IS) -> Iterator[str]:
    """Why the file is no function from one input to one output."""
    fixed = {name for name, _ in reading.inputs}
    for name in fixed - {tensor.name for tensor in file.inputs}:
        yield _unknown_input(file, name)
    moving = [tensor for tensor in file.inputs if tensor.name not in fixed]
    if len(moving) != 1:
        listed = ", ".join(str(tensor) for tensor in moving) or "none"
        what = "one input that is not fixed" if fixed else "one input"
        advice = "; give values of all others (inputs: {name: value})" if len(moving) > 1 else ""
        yield f"expected {what}, found {len(moving)}: {listed}{advice}"
    if not file.asked(reading):
        known = ", ".join(str(tensor) for tensor in file.outputs) or "none"
        what = f"the output {reading.output!r}" if reading.output else "an output"
        yield f"expected {what}; known: {known}"
    for tensor in moving:
        if tensor.static_shape is None:
            yield f"input {tensor} has a dynamic dimension; {AXIS_ORDER}"
        if tensor.dtype not in DTYPES:
            yield f"input {tensor} has type {tensor.dtype}; expected float or double"
