"""VNN-LIB files: read, checked by themselves, then held against a network's sizes."""

import gc
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path

from lipverify.errors import SpecError
from lipverify.query_output import OutputQuery
from lipverify.region import AbstractRegion
from lipverify.spec.vnnlib.assertions import read_assertions
from lipverify.spec.vnnlib.bounded import unbounded
from lipverify.spec.vnnlib.copies import Question, questions
from lipverify.spec.vnnlib.declarations import Declarations, read_declarations
from lipverify.spec.vnnlib.normal_form import bounds_input, queries
from lipverify.spec.vnnlib.syntax import read_expressions, read_text
from lipverify.spec.vnnlib.tree import And, Constraint, Layout, constraints, holds

SUFFIXES = (".vnnlib", ".vnnlib.gz")


@dataclass(frozen=True, eq=False)
class VnnLibFile:
    """One file: a point is a counterexample if the tree holds of it and of the outputs there."""

    path: Path
    declared: Declarations
    tree: And = field(repr=False)
    sha256: str
    """Of the text."""

    @property
    def layout(self) -> Layout:
        return self.declared.layout

    @property
    def float_type(self) -> str | None:
        """The type that the file asks about, where it is not the reals."""
        return self.declared.float_type

    @cached_property
    def satisfiable_inputs(self) -> bool:
        """Whether some box is left; without any, there is nothing to find."""
        if self.layout.copies == 2:
            return bool(self.questions)
        return next(self.queries(), None) is not None

    def queries(self) -> Iterator[OutputQuery]:
        """The normal form, lazily (`normal_form.queries`); for files about one copy only."""
        assert self.layout.copies == 1
        return queries(self.tree, self.layout, self.joins_inputs)

    @cached_property
    def joins_inputs(self) -> bool:
        """Whether a constraint is about several inputs, or about inputs and outputs: clauses are
        over the outputs with the inputs behind them then."""
        layout = self.layout
        return any(
            any(map(layout.is_input, found.variables)) and not bounds_input(found, layout)
            for found in constraints(self.tree)
        )

    @cached_property
    def questions(self) -> tuple[Question, ...]:
        """What has to be verified of one copy, for files about two (`copies.questions`)."""
        assert self.layout.copies == 2
        return tuple(questions(self.tree, self.layout, self.path))

    def regions(self, count: int) -> list[AbstractRegion]:
        """The first boxes."""
        if self.layout.copies == 2:
            return [question.region for question in self.questions[:count]]
        return [query.region for query in islice(self.queries(), count)]

    def holds(self, inputs: Sequence[float], outputs: Sequence[float]) -> bool:
        """Whether values of all copies' inputs and outputs satisfy the file, as it is written."""
        return holds(self.tree, [*inputs, *outputs])

    def check_sizes(self, inputs: int, outputs: int) -> None:
        """`SpecError` if the network has other numbers of inputs and outputs."""
        network = self.declared.networks[0]
        for what, mine, theirs in (
            ("inputs", network.input, inputs),
            ("outputs", network.output, outputs),
        ):
            if mine.size != theirs:
                raise SpecError(
                    f"declares {mine.size} {what}, the network has {theirs}", self.path, mine.line
                )


def is_vnnlib(path: str | Path) -> bool:
    return str(path).lower().endswith(SUFFIXES)


def read_vnnlib(path: str | Path) -> VnnLibFile:
    """The file at `path`, version 1 or 2, packed by gzip or not.

    Raises `SpecError`, which names the line, for what is malformed, not linear or unbounded.
    """
    path = Path(path)
    try:
        with _without_collection():
            return _read(path)
    except RecursionError as error:
        raise SpecError("is nested too deeply to be read", path) from error


def _read(path: Path) -> VnnLibFile:
    text = read_text(path)
    groups = read_expressions(text, path)
    declared = read_declarations(groups, path)
    digest = hashlib.sha256(text.encode()).hexdigest()
    found = VnnLibFile(path, declared, read_assertions(groups, declared, path), digest)
    if declared.layout.copies == 1:
        _check_single(found)
    elif declared.layout.copies == 2:
        _ = found.questions  # refuses what is not recognised
    else:
        raise SpecError(
            f"is about {declared.layout.copies} copies of a network; two are supported",
            path,
            declared.networks[2].line,
        )
    return found


@contextmanager
def _without_collection() -> Iterator[None]:
    """Large files become millions of tuples, which the collector would look through again and
    again: reading takes three times as long with it."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _check_single(found: VnnLibFile) -> None:
    """Coefficients are float64 numbers, and every input has two ends of its own."""
    layout = found.layout
    for constraint in constraints(found.tree):
        _check_constraint(constraint, layout, found.path)
    for variable, side in unbounded(found.tree, layout):
        name = _input_name(found, variable)
        raise SpecError(
            f"input {name} has no {side} bound of its own; assert one, since regions have to be "
            "bounded",
            found.path,
            found.declared.networks[0].input.line,
        )


def _check_constraint(constraint: Constraint, layout: Layout, path: Path) -> None:
    many = not bounds_input(constraint, layout)
    if many and any(not isinstance(part, float) for part in constraint.coefficients):
        raise SpecError(
            "has a coefficient that no float64 holds exactly; write it as one number",
            path,
            constraint.line,
        )


def _input_name(found: VnnLibFile, variable: int) -> str:
    tensor = found.declared.networks[0].input
    if found.declared.version == 1:
        return f"X_{variable}"
    place, indices = variable, []
    for size in reversed(tensor.shape):
        place, index = divmod(place, size)
        indices.append(index)
    return f"{tensor.name}[{','.join(str(index) for index in reversed(indices))}]"
