"""The structure of the package as a test: imports point down, foreign tools stay in their place."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "lipverify"

RANK = {
    "checker": 0,
    "errors": 0,
    "figures": 0,
    "files": 0,
    "numerics": 0,
    "interval": 1,
    "norms": 1.5,
    "config": 1,
    "reading": 2,
    "region": 2,
    "verdict": 2,
    "query_output": 2.5,
    "spec": 3,
    "record": 3,
    "operators": 4,
    "graph": 5,
    "network": 6,
    "query": 6,
    "bounds": 7,
    "milp": 7,
    "witness": 7,
    "search": 8,
    "evidence": 8,
    "certificate": 8.5,
    "api": 9,
    "audit": 9,
    "cli": 10,
}
"""The table of DESIGN section 2; between intervals and norms, the norms are above."""

RECORD = {"evidence", "evidence/record"}
"""What an answer holds: below everything that answers; the rest of `evidence` judges answers."""

FOREIGN = {"auto_LiRPA": "bounds/lirpa/", "gurobipy": "milp/gurobi"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    """`bounds/linear` for a module, `bounds` for a package's own file, "" for the root's."""
    name = path.relative_to(PACKAGE).with_suffix("").as_posix()
    return "" if name == "__init__" else name.removesuffix("/__init__")


def unit_of(name: str) -> str:
    """The row of the table that a module belongs to."""
    if name in RECORD:
        return "record"
    if name.startswith("evidence/certificate"):
        return "certificate"
    return "witness" if name == "confirm" else name.split("/")[0]


def imported(tree: ast.AST) -> Iterator[str]:
    """The modules of lipverify that are imported, as `bounds/linear`; relative ones are refused."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name == "lipverify" or alias.name.startswith("lipverify."):
                    yield alias.name.removeprefix("lipverify").strip(".").replace(".", "/")
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: use absolute imports"
            module = node.module or ""
            if module == "lipverify":
                for alias in node.names:
                    if (PACKAGE / f"{alias.name}.py").exists() or (PACKAGE / alias.name).is_dir():
                        yield alias.name
                    elif not alias.name.startswith("__"):
                        yield "api"  # where the public names come from
            elif module.startswith("lipverify."):
                base = module.removeprefix("lipverify.").replace(".", "/")
                # A submodule may be imported by name from its package.
                for alias in node.names:
                    full = f"{base}/{alias.name}"
                    is_module = (PACKAGE / f"{full}.py").exists() or (PACKAGE / full).is_dir()
                    yield full if is_module else base


def upward(name: str, tree: ast.AST) -> list[str]:
    """Imports of a module that do not point down."""
    mine = unit_of(name)
    found = []
    for there in imported(tree):
        unit = unit_of(there)
        if unit != mine and not RANK[unit] < RANK[mine]:
            found.append(f"{name} -> {there}")
    return found


def prints(tree: ast.AST) -> list[int]:
    """Lines that call print."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]


def mentions(tree: ast.AST, tool: str) -> list[int]:
    """Lines of code (strings and comments aside) that name a foreign tool."""
    found = []
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif isinstance(node, ast.Name):
            names = [node.id]
        elif isinstance(node, ast.Attribute):
            names = [node.attr]
        if any(name.split(".")[0] == tool for name in names):
            found.append(node.lineno)
        called = isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)
        if called and str(node.args[0].value).split(".")[0] == tool:  # import_module("...")
            found.append(node.lineno)
    return found


def tree_of(path: Path) -> ast.AST:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_every_module_has_a_rank() -> None:
    missing = {unit_of(name_of(path)) for path in modules() if name_of(path)} - set(RANK)
    assert not missing, f"add to RANK (and to the table in the design): {sorted(missing)}"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_point_down(path: Path) -> None:
    name = name_of(path)
    if not name:
        return  # the root's names are loaded on first use
    wrong = upward(name, tree_of(path))
    assert not wrong, wrong


def test_the_checker_imports_nothing_else() -> None:
    """A second opinion shares no code, and the exact core needs the standard library alone."""
    core = sys.stdlib_module_names | {"lipverify", "flint"}
    more = {
        "archive.py": {"jsonschema"},
        "network.py": {"numpy", "onnx"},
        "replay.py": {"numpy", "onnxruntime"},
    }
    for path in sorted((PACKAGE / "checker").glob("*.py")):
        tree, allowed = tree_of(path), core | more.get(path.name, set())
        assert {unit_of(there) for there in imported(tree)} <= {"checker"}, path
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= allowed, path
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] in allowed, path


def test_the_record_imports_verdicts_alone() -> None:
    path = PACKAGE / "evidence" / "record.py"
    assert {unit_of(there) for there in imported(tree_of(path))} <= {"verdict"}


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_only_the_command_line_prints(path: Path) -> None:
    if not name_of(path).startswith("cli"):
        assert not prints(tree_of(path))


@pytest.mark.parametrize("tool", FOREIGN)
def test_foreign_tools_live_in_one_place(tool: str) -> None:
    wrong = [
        f"{name_of(path)}:{line}"
        for path in modules()
        if not name_of(path).startswith(FOREIGN[tool].rstrip("/"))
        for line in mentions(tree_of(path), tool)
    ]
    assert not wrong, wrong
    assert any(
        mentions(tree_of(path), tool)
        for path in modules()
        if name_of(path).startswith(FOREIGN[tool].rstrip("/"))
    ), "the tool is not used where it should be: the check above sees nothing"


PLANTED = {
    "upward": ("bounds/x", "from lipverify.search.ladder import norm_upper"),
    "sideways": ("bounds/x", "from lipverify.milp import solve"),
    "by package": ("operators/x", "from lipverify import graph"),
    "plain import": ("graph/x", "import lipverify.network.builder"),
    "inside a function": ("region", "def f():\n    from lipverify.graph import Dag\n"),
    "the evidence of an answer": ("search/x", "from lipverify.evidence.report_json import report"),
}


@pytest.mark.parametrize("case", PLANTED)
def test_planted_imports_are_found(case: str) -> None:
    name, text = PLANTED[case]
    assert upward(name, ast.parse(text))


def test_planted_relative_imports_are_found() -> None:
    with pytest.raises(AssertionError, match="absolute"):
        upward("bounds/x", ast.parse("from . import linear"))


def test_planted_prints_and_tools_are_found() -> None:
    assert prints(ast.parse("def f(x):\n    print(x)\n")) == [2]
    for text in (
        "import auto_LiRPA",
        "from auto_LiRPA.bound_ops import Bound",
        "import importlib\nimportlib.import_module('auto_LiRPA.perturbations')",
        "x = auto_LiRPA.BoundedModule",
    ):
        assert mentions(ast.parse(text), "auto_LiRPA"), text
    assert not mentions(ast.parse('"""auto_LiRPA is named in words."""'), "auto_LiRPA")


def test_downward_imports_are_allowed() -> None:
    assert not upward("search/x", ast.parse("from lipverify.evidence import Bound"))
    assert not upward("bounds/x", ast.parse("from lipverify.bounds.linear import linear"))
    assert not upward("cli/x", ast.parse("from lipverify.api import verify"))
