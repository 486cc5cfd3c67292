"""Each bad file has one clear error, with its line."""

import gzip
from pathlib import Path

import pytest

from lipverify.errors import SpecError
from lipverify.spec.vnnlib import read_vnnlib

HEAD_1 = "(declare-const X_0 Real)\n(declare-const X_1 Real)\n(declare-const Y_0 Real)\n"
BOX_1 = "(assert (and (>= X_0 0) (<= X_0 1) (>= X_1 0) (<= X_1 1)))\n"
HEAD_2 = """(vnnlib-version <2.0>)
(declare-network f
  (declare-input X Real [1,2])
  (declare-output Y Real [1]))
"""
BOX_2 = "(assert (and (>= X[0,0] 0) (<= X[0,0] 1) (>= X[0,1] 0) (<= X[0,1] 1)))\n"

BAD = {
    "undeclared": (HEAD_1 + BOX_1 + "(assert (<= Y_1 0))", 5, "'Y_1' is not declared"),
    "undeclared input": (HEAD_1 + "(assert (<= X_2 0))", 4, "'X_2' is not declared"),
    "undeclared in 2": (HEAD_2 + BOX_2 + "(assert (<= Z[0] 0))", 6, "'Z' is not declared"),
    "indices": (HEAD_2 + BOX_2 + "(assert (<= X[0] 0))", 6, "has 1 indices"),
    "out of range": (HEAD_2 + BOX_2 + "(assert (<= X[0,2] 0))", 6, "out of range"),
    "no indices": (HEAD_2 + BOX_2 + "(assert (<= Y 0))", 6, "has 0 indices"),
    "unbounded": (HEAD_1 + "(assert (>= X_0 0))\n" + "(assert (<= X_0 1))", 1, "X_1 has no lower"),
    "unbounded in a branch": (
        HEAD_1 + "(assert (and (>= X_0 0) (<= X_0 1) (>= X_1 0)))\n(assert (or (<= X_1 1) "
        "(<= Y_0 1)))",
        1,
        "X_1 has no upper",
    ),
    "unbounded in 2": (HEAD_2 + "(assert (>= X[0,0] 0))", 3, r"X\[0,1\] has no lower"),
    "product": (HEAD_1 + BOX_1 + "(assert (<= (* Y_0 Y_0) 0))", 5, "not linear"),
    "power": (HEAD_1 + BOX_1 + "(assert (<= (^ Y_0 2) 0))", 5, "no linear arithmetic"),
    "bounded by another": (
        HEAD_1 + "(assert (and (>= X_0 0) (<= X_0 1) (>= X_1 0)))\n(assert (<= X_1 X_0))",
        1,
        "X_1 has no upper bound of its own",
    ),
    "implication": (HEAD_1 + BOX_1 + "(assert (=> (<= Y_0 0) (<= Y_0 1)))", 5, "not supported"),
    "three sides": (HEAD_1 + BOX_1 + "(assert (<= 0 Y_0 1))", 5, "compares 3 values"),
    "number": (HEAD_1 + BOX_1 + "(assert (<= Y_0 1.2.3))", 5, "is no number"),
    "infinite": (HEAD_1 + BOX_1 + "(assert (<= Y_0 1e999))", 5, "too large"),
    "no value": (HEAD_1 + BOX_1 + "(assert (<= (+) 1))", 5, "expected values after"),
    "word": (HEAD_1 + BOX_1 + "\nassert", 6, "expected a bracket"),
    "not closed": (HEAD_1 + BOX_1 + "\n(assert (<= Y_0 0)", 6, "never closed"),
    "closed twice": (HEAD_1 + BOX_1 + "(assert (<= Y_0 0)))", 5, "closes nothing"),
    "other command": (HEAD_1 + BOX_1 + "(minimise Y_0)", 5, "'minimise' is not supported"),
    "twice": (HEAD_1 + "(declare-const X_0 Real)", 4, "declared twice, first in line 1"),
    "type": ("(declare-const X_0 Int)", 1, "type 'Int'"),
    "name": ("(declare-const input Real)", 1, "neither an input"),
    "hidden": (
        '(declare-network f (declare-input X Real [1])\n (declare-hidden H Real [1] "h")\n'
        " (declare-output Y Real [1]))",
        2,
        "declare-hidden",
    ),
    "two inputs of a network": (
        "(declare-network f (declare-input X Real [1])\n (declare-input Z Real [1])\n"
        " (declare-output Y Real [1]))",
        2,
        "declares 2 inputs",
    ),
    "integers": (
        "(declare-network f\n (declare-input X int32 [1]) (declare-output Y Real [1]))",
        2,
        "type 'int32'",
    ),
    "other network": (
        HEAD_2 + "(declare-network g (declare-input A Real [1,2]) (declare-output B Real [1]))",
        5,
        "supported where they are one file",
    ),
    "copy of none": (
        HEAD_2 + "(declare-network g (equal-to h) (declare-input A Real [1,2]) "
        "(declare-output B Real [1]))",
        5,
        "'h', which is not declared",
    ),
    "copy of another shape": (
        HEAD_2 + "(declare-network g (equal-to f)\n (declare-input A Real [1,3])\n "
        "(declare-output B Real [1]))",
        6,
        "type and shape",
    ),
    "version": ("(vnnlib-version <3.0>)\n" + HEAD_2, 1, "version '3.0'"),
}


@pytest.mark.parametrize("case", BAD)
def test_the_line_is_named(case: str, tmp_path: Path) -> None:
    text, line, message = BAD[case]
    path = tmp_path / "bad.vnnlib"
    path.write_text(text)
    with pytest.raises(SpecError, match=message) as caught:
        read_vnnlib(path)
    assert caught.value.line == line and caught.value.path == str(path)
    assert len(str(caught.value).splitlines()) == 1


def test_lines_count_comments_and_texts_over_several_lines(tmp_path: Path) -> None:
    path = tmp_path / "bad.vnnlib"
    path.write_text("; (first\n" + HEAD_1 + "; (second ;\n\n" + BOX_1 + "(assert (<= Q 0))")
    with pytest.raises(SpecError, match=r":8: "):
        read_vnnlib(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "declares no variables"),
        ("(declare-const X_0 Real)", "declares no output"),
        ("(declare-const Y_0 Real)", "declares no input"),
        ("(declare-const X_1 Real)(declare-const Y_0 Real)", "X_0 is not declared"),
        (HEAD_1, "asserts nothing"),
        ("(" * 100_000 + ")" * 100_000, "too deeply"),
        (HEAD_1 + "(assert " + "(and " * 50_000 + ")" * 50_001, "too deeply"),
        (HEAD_1 + "(assert " + "(and " * 200 + ")" * 201, "too deeply"),
    ],
)
def test_files_without_a_line_to_name(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.vnnlib"
    path.write_text(text)
    with pytest.raises(SpecError, match=message):
        read_vnnlib(path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="does not exist"):
        read_vnnlib(tmp_path / "none.vnnlib")
    with pytest.raises(SpecError, match="is a folder"):
        read_vnnlib(tmp_path)
    packed = tmp_path / "p.vnnlib.gz"
    packed.write_bytes(b"no gzip")
    with pytest.raises(SpecError, match="not packed by gzip"):
        read_vnnlib(packed)
    binary = tmp_path / "p.vnnlib"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="no text"):
        read_vnnlib(binary)


def test_packed_files_are_read_as_they_are(tmp_path: Path) -> None:
    packed = tmp_path / "p.vnnlib.gz"
    packed.write_bytes(gzip.compress((HEAD_1 + BOX_1).encode()))
    assert read_vnnlib(packed).layout.inputs == 2


def test_sizes_are_held_against_the_network(tmp_path: Path) -> None:
    path = tmp_path / "p.vnnlib"
    path.write_text(HEAD_2 + BOX_2)
    found = read_vnnlib(path)
    found.check_sizes(2, 1)
    with pytest.raises(SpecError, match=":3: declares 2 inputs, the network has 3"):
        found.check_sizes(3, 1)
    with pytest.raises(SpecError, match=":4: declares 1 outputs, the network has 2"):
        found.check_sizes(2, 2)


def test_what_is_nested_less_deeply_is_read(tmp_path: Path) -> None:
    path = tmp_path / "deep.vnnlib"
    inner = "(and " * 190 + "(<= Y_0 0)" + ")" * 190
    path.write_text(HEAD_1 + BOX_1 + f"(assert {inner})")
    assert read_vnnlib(path)
