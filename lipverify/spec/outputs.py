"""Which outputs, or weighted sums of outputs, a property is about."""

from dataclasses import dataclass
from typing import Annotated, Any, final

from lipverify.spec import arrays
from lipverify.spec.arrays import ArrayFolder, Vector
from lipverify.spec.fields import with_folder
from lipverify.spec.problem import Misfit, hint, shown
from lipverify.spec.sizes import Sizes

SHOWN = 4
"""As many outputs are named in a description."""


@final
@dataclass(frozen=True, eq=False)
class Outputs:
    """`weights` if given; else `indices`; else all outputs."""

    indices: tuple[int, ...] | None = None
    weights: tuple[Vector, ...] | None = None

    def rows(self, sizes: Sizes, *at: str | int) -> tuple[tuple[float, ...], ...]:
        """The row vectors [r][m]; `Misfit` where they do not fit the network."""
        if self.weights is not None:
            return tuple(
                sizes.weights(row, *at, "weights", position)
                for position, row in enumerate(self.weights)
            )
        if self.indices is None:
            return tuple(sizes.unit(output) for output in range(sizes.outputs))
        return tuple(
            sizes.unit(sizes.output(index, *at, position))
            for position, index in enumerate(self.indices)
        )


@final
@dataclass(frozen=True, eq=False)
class Output:
    """`weights` if given; else `index`; else the only output."""

    index: int | None = None
    weights: Vector | None = None

    def row(self, sizes: Sizes, *at: str | int) -> tuple[float, ...]:
        """The weight of each output [m]; `Misfit` where they do not fit the network."""
        if self.weights is not None:
            return sizes.weights(self.weights, *at, "weights")
        if self.index is not None:
            return sizes.unit(sizes.output(self.index, *at))
        if sizes.outputs > 1:
            raise Misfit(
                f"the key 'output' is missing: the network has {sizes.outputs} outputs, so name "
                "one, 0 to "
                f"{sizes.outputs - 1}, or give {{weights: [...]}}"
            )
        return sizes.unit(0)


def describe_rows(rows: tuple[tuple[float, ...], ...]) -> str:
    """Row vectors in a few words: "all", "outputs 0, 3" or "2 weighted sums"."""
    picked = [_picked(row) for row in rows]
    if None in picked:
        return f"{len(rows)} weighted sum{'s' if len(rows) > 1 else ''}"
    if picked == list(range(len(rows[0]))):
        return "all"
    names = ", ".join(str(output) for output in picked[:SHOWN])
    rest = f" and {len(picked) - SHOWN} more" if len(picked) > SHOWN else ""
    return f"output{'s' if len(picked) > 1 else ''} {names}{rest}"


def _picked(row: tuple[float, ...]) -> int | None:
    """The output that a unit vector picks; None for other rows."""
    others = [(output, weight) for output, weight in enumerate(row) if weight != 0]
    return others[0][0] if len(others) == 1 and others[0][1] == 1 else None


def _weights(value: dict[str, Any]) -> object:
    """What stands under the only key, `weights`."""
    for key in value:
        if key != "weights":
            raise Misfit(f"unknown key; {hint(key, ['weights'])}", key)
    if not value:
        raise Misfit("expected {weights: ...}, found an empty mapping")
    return value["weights"]


def _outputs(value: object, folder: ArrayFolder) -> Outputs:
    if value == "all":
        return Outputs()
    if isinstance(value, dict):
        written = _weights(value)
        try:
            return Outputs(weights=tuple(arrays.rows(written, folder)))
        except Misfit as misfit:
            raise misfit.under("weights") from None
    if not isinstance(value, list) or not value:
        raise Misfit(
            f"expected all, a list such as [0, 3] or {{weights: [[1, -1, 0]]}}, found "
            f"{shown(value)}"
        )
    indices: list[int] = []
    for position, item in enumerate(value):
        if isinstance(item, bool) or not isinstance(item, int):
            raise Misfit(f"expected an output's position, found {shown(item)}", position)
        if item in indices:
            raise Misfit(f"output {item} is named twice; remove one", position)
        indices.append(item)
    return Outputs(indices=tuple(indices))


def _output(value: object, folder: ArrayFolder) -> Output:
    if isinstance(value, dict):
        written = _weights(value)
        try:
            return Output(weights=arrays.vector(written, folder))
        except Misfit as misfit:
            raise misfit.under("weights") from None
    if isinstance(value, bool) or not isinstance(value, int):
        raise Misfit(f"expected an output's position or {{weights: [1, -1]}}, found {shown(value)}")
    return Output(index=value)


OutputsField = Annotated[Outputs, with_folder(_outputs)]
OutputField = Annotated[Output, with_folder(_output)]
