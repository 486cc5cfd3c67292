"""Small changes of Python code that a test should notice, found by its syntax tree."""

import ast
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
TWINS = (
    ("min", "max"),
    ("amin", "amax"),
    ("argmin", "argmax"),
    ("cummin", "cummax"),
    ("minimum", "maximum"),
    ("floor", "ceil"),
    ("any", "all"),
)
ENDS = (("lower", "upper"), ("row_lower", "row_upper"), ("alpha", "beta"))
SETS = (("intersect", "hull"),)
OUTWARD = {"round_up", "round_down", "add_up", "add_down", "nextafter"}
"""Calls that round outward; of a sum, the plain sum is left."""
CHARGES = {"gamma"}
"""Calls that give a relative error: 0 is left."""
PROVING = ("rounding", "ends", "extremes", "sets", "comparison", "negation", "sign", "absolute")
"""Kinds whose survivors may hide a wrong proof; listed first."""


@dataclass(frozen=True)
class Mutant:
    """Columns count UTF-8 bytes, as `ast` does; lines from 1."""

    path: str
    kind: str
    start: tuple[int, int]
    end: tuple[int, int]
    before: str
    after: str
    digest: str
    """Of the file that it was found in."""

    @property
    def id(self) -> str:
        parts = (self.path, self.digest, self.kind, str(self.start), self.after)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    def applied(self, source: str) -> str:
        lines = [line.encode() for line in source.splitlines(keepends=True)]
        first, last = self.start[0] - 1, self.end[0] - 1
        head, tail = lines[first][: self.start[1]], lines[last][self.end[1] :]
        middle = f"({self.after})".encode()
        return b"".join([*lines[:first], head, middle, tail, *lines[last + 1 :]]).decode()


def mutants(path: Path, root: Path) -> list[Mutant]:
    """All of a file, in order, but those that leave its tree as it is; some may not parse."""
    source = path.read_text()
    tree = ast.parse(source)
    digest = hashlib.sha256(source.encode()).hexdigest()
    found: dict[tuple[object, ...], Mutant] = {}
    for node in _code(tree):
        for kind, changed in _changes(node):
            after = ast.unparse(changed)
            if after == ast.unparse(node):
                continue
            assert node.end_lineno is not None and node.end_col_offset is not None
            mutant = Mutant(
                str(path.relative_to(root)),
                kind,
                (node.lineno, node.col_offset),
                (node.end_lineno, node.end_col_offset),
                ast.get_source_segment(source, node) or "",
                after,
                digest,
            )
            found.setdefault((mutant.start, mutant.end, after), mutant)
    return list(found.values())


def _code(tree: ast.AST) -> Iterator[ast.expr]:
    """Expressions that run and decide something: no annotations, errors' texts, assertions."""
    if isinstance(tree, ast.Raise | ast.Assert | ast.JoinedStr | ast.Import | ast.ImportFrom):
        return
    if isinstance(tree, ast.Expr) and isinstance(tree.value, ast.Constant):
        return
    if isinstance(tree, ast.expr):
        yield tree
    skipped = {"annotation", "returns", "decorator_list", "type_params", "bases", "keywords"}
    skipped = skipped if isinstance(tree, ast.stmt | ast.arg | ast.arguments) else set()
    for name, value in ast.iter_fields(tree):
        if name in skipped:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _code(child)


Change = tuple[str, ast.expr]


def _changes(node: ast.expr) -> Iterator[Change]:
    for rule in RULES:
        yield from rule(node)


def _comparison(node: ast.expr) -> Iterator[Change]:
    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            for other in COMPARISONS[type(operator)]:
                ops = [*node.ops[:place], other(), *node.ops[place + 1 :]]
                yield "comparison", ast.Compare(node.left, ops, node.comparators)


def _logic(node: ast.expr) -> Iterator[Change]:
    if isinstance(node, ast.BoolOp):
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield "and/or", ast.BoolOp(other, node.values)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.Invert):
        yield "negation", node.operand
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "sign", node.operand
    if isinstance(node, ast.IfExp):
        yield "branch", ast.IfExp(node.test, node.orelse, node.body)


def _arithmetic(node: ast.expr) -> Iterator[Change]:
    if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        if isinstance(node.right, ast.Constant) and node.right.value is None:
            return  # a type: float | None
        kind = "sign" if isinstance(node.op, ast.Add | ast.Sub) else "operator"
        yield kind, ast.BinOp(node.left, ARITHMETIC[type(node.op)](), node.right)


def _names(node: ast.expr) -> Iterator[Change]:
    """min and max, lower and upper, ... whether functions, methods, attributes or keywords."""
    for kind, pairs in (("extremes", TWINS), ("ends", ENDS), ("sets", SETS)):
        other = {a: b for pair in pairs for a, b in (pair, pair[::-1])}
        if isinstance(node, ast.Attribute) and node.attr in other:
            yield kind, ast.Attribute(node.value, other[node.attr], node.ctx)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in other:
            yield kind, ast.Name(other[node.id], node.ctx)


def _calls(node: ast.expr) -> Iterator[Change]:
    if not isinstance(node, ast.Call):
        return
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name in OUTWARD and node.args:
        plain = node.args[0]
        if name.startswith("add"):
            plain = ast.BinOp(node.args[0], ast.Add(), node.args[1])
        yield "rounding", plain
    if name in CHARGES:
        yield "rounding", ast.Constant(0.0)
    if name == "abs":
        inner = node.func.value if isinstance(node.func, ast.Attribute) else node.args[0]
        yield "absolute", node.args[0] if node.args else inner
    if name == "where" and len(node.args) == 3:
        test, first, second = node.args
        yield "branch", ast.Call(node.func, [test, second, first], node.keywords)
    if name in ("clamp", "clip") and isinstance(node.func, ast.Attribute):
        yield "clamp", node.func.value
        swapped = {"min": "max", "max": "min"}
        keywords = [ast.keyword(swapped.get(k.arg or "", k.arg), k.value) for k in node.keywords]
        yield "clamp", ast.Call(node.func, node.args, keywords)


def _constants(node: ast.expr) -> Iterator[Change]:
    if isinstance(node, ast.Constant):
        value = node.value
        if isinstance(value, bool):
            yield "constant", ast.Constant(not value)
        elif isinstance(value, int | float) and value in (0, 1):
            yield "constant", ast.Constant(type(value)(1 - value))
        elif isinstance(value, int | float):
            yield "constant", ast.Constant(value + 1 if isinstance(value, int) else value * 2)


RULES: tuple[Callable[[ast.expr], Iterator[Change]], ...] = (
    _comparison,
    _logic,
    _arithmetic,
    _names,
    _calls,
    _constants,
)
