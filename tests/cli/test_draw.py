"""Drawings are well-formed and readable: blocks do not overlap, no arrow runs through a block."""

import os
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lipverify.graph import ForwardGraph, Node, backward_graph
from lipverify.graph.draw import dot_text, draw_svg
from lipverify.graph.lanes import lanes
from lipverify.graph.picture import Picture, picture
from lipverify.graph.svg import LETTER, svg
from lipverify.operators import Add, Dense, ReLU, Tanh

SIZE = 3
NAMESPACE = "{http://www.w3.org/2000/svg}"


def dense() -> Dense:
    return Dense(torch.eye(SIZE, dtype=torch.float64))


def residual() -> ForwardGraph:
    shape = (SIZE,)
    return ForwardGraph(
        [
            Node("input", None, (), shape),
            Node("fc1", dense(), ("input",), shape, 'first <layer> & "more"'),
            Node("relu1", ReLU(), ("fc1",), shape),
            Node("fc2", dense(), ("relu1",), shape, "a/very/long/name/" * 5),
            Node("tanh2", Tanh(), ("fc2",), shape),
            Node("add", Add((1, 1)), ("relu1", "tanh2"), shape),
            Node("dead", ReLU(), ("add",), shape),
            Node("twice", Add((1, 1)), ("add", "add"), shape),
        ],
        "twice",
    )


@st.composite
def graphs(draw: st.DrawFn) -> ForwardGraph:
    """Random DAGs with shortcuts, sums, repeated operands, and nodes that nothing uses."""
    nodes = [Node("input", None, (), (SIZE,))]
    for number in range(draw(st.integers(1, 12))):
        arity = draw(st.integers(1, 3))
        operands = tuple(
            nodes[draw(st.integers(max(0, len(nodes) - 5), len(nodes) - 1))].name
            for _ in range(arity)
        )
        if arity == 1:
            operator = draw(st.sampled_from([dense(), ReLU(), Tanh()]))
        else:
            operator = Add((1,) * arity)
        nodes.append(Node(f"n{number}", operator, operands, (SIZE,)))
    return ForwardGraph(nodes, nodes[-1].name)


def shown(forward: ForwardGraph) -> Picture:
    return picture(forward, backward_graph(forward))


def rectangles(text: str) -> list[tuple[float, float, float, float]]:
    """left, top, right, bottom of each block."""
    found = []
    for group in ElementTree.fromstring(text).iter(f"{NAMESPACE}g"):
        rect = group.find(f"{NAMESPACE}rect")
        assert rect is not None
        x, y, width, height = (float(rect.attrib[k]) for k in ("x", "y", "width", "height"))
        found.append((x, y, x + width, y + height))
        for label in group.iter(f"{NAMESPACE}text"):
            assert len(label.text or "") * LETTER <= width
            assert abs(float(label.attrib["x"]) - (x + width / 2)) < 0.2
            assert y < float(label.attrib["y"]) < y + height
    return found


def check_readable(forward: ForwardGraph) -> None:
    drawing = shown(forward)
    text = svg(drawing)
    blocks = rectangles(text)
    assert len(blocks) == len(drawing.blocks)
    for i, (left, top, right, bottom) in enumerate(blocks):
        for other in blocks[:i]:
            assert left >= other[2] or right <= other[0] or top >= other[3] or bottom <= other[1]
    root = ElementTree.fromstring(text)
    assert all(0 <= b[0] and b[2] <= float(root.attrib["width"]) for b in blocks)
    assert all(0 <= b[1] and b[3] <= float(root.attrib["height"]) for b in blocks)
    for path in root.findall(f"{NAMESPACE}path"):
        check_clear(path.attrib["d"], blocks)


def check_clear(path: str, blocks: list[tuple[float, float, float, float]]) -> None:
    """The straight stretches of an arrow keep out of all blocks."""
    numbers = [
        (m[1], [float(n) for n in m[2].split()]) for m in re.finditer(r"([A-Z])([^A-Z]*)", path)
    ]
    x = y = 0.0
    for command, values in numbers:
        new_x = values[0] if command == "H" else x if command == "V" else values[-2]
        new_y = values[0] if command == "V" else y if command == "H" else values[-1]
        if command in "HVL":
            for left, top, right, bottom in blocks:
                apart_x = max(x, new_x) <= left or min(x, new_x) >= right
                apart_y = max(y, new_y) <= top or min(y, new_y) >= bottom
                assert apart_x or apart_y, path
        x, y = new_x, new_y


def test_residual_network() -> None:
    check_readable(residual())


@given(graphs())
def test_any_network(forward: ForwardGraph) -> None:
    check_readable(forward)


@given(graphs())
def test_lanes_are_not_shared(forward: ForwardGraph) -> None:
    drawing = shown(forward)
    placed = lanes(drawing)
    blocks = {block.key: block for block in drawing.blocks}
    cells = [(b.side, placed.blocks[b.key], b.row) for b in drawing.blocks]
    for position, lane in placed.arrows.items():
        arrow = drawing.arrows[position]
        rows = sorted((blocks[arrow.tail].row, blocks[arrow.head].row))
        cells += [(blocks[arrow.tail].side, lane, row) for row in range(rows[0] + 1, rows[1])]
    assert len(cells) == len(set(cells))


@given(graphs())
def test_picture_is_complete(forward: ForwardGraph) -> None:
    """Every node is a block, every operand an arrow; data goes down left and up right."""
    backward = backward_graph(forward)
    drawing = picture(forward, backward)
    shared = {node.inputs[0] for node in backward.gates}
    assert len(drawing.blocks) == len(forward) + len(backward) - len(shared) + 2
    assert len(drawing.shared) == len(backward.gates)
    operands = sum(len(node.inputs) for node in (*forward, *backward))
    assert len(drawing.arrows) == operands - len(backward.gates) + 2
    blocks = {block.key: block for block in drawing.blocks}
    for arrow in drawing.arrows:
        tail, head = blocks[arrow.tail], blocks[arrow.head]
        assert tail.side == head.side
        assert (tail.row < head.row) == (tail.side == "forward")
        assert tail.row != head.row
    for arrow in drawing.shared:
        assert blocks[arrow.tail].side == "forward"
        assert blocks[arrow.head].role == "gate"
        assert blocks[arrow.tail].row < blocks[arrow.head].row


def test_names_are_escaped_and_cut() -> None:
    text = svg(shown(residual()))
    root = ElementTree.fromstring(text)
    titles = [title.text or "" for title in root.iter(f"{NAMESPACE}title")]
    assert 'Gemm [3]: first <layer> & "more"' in titles
    assert any("a/very/long/name/" * 5 in title for title in titles)


def test_gates_are_linked_by_dashed_lines() -> None:
    paths = ElementTree.fromstring(svg(shown(residual()))).findall(f"{NAMESPACE}path")
    assert sum("stroke-dasharray" in path.attrib for path in paths) == 2


def test_dot_text() -> None:
    drawing = shown(residual())
    text = dot_text(drawing)
    assert text.count("{") == text.count("}")
    assert text.count("style=dashed") == len(drawing.shared)
    assert text.count(" -> ") == len(drawing.arrows) + len(drawing.shared)
    assert 'first <layer> & \\"more\\"' in text


@pytest.mark.skipif(os.name != "posix", reason="the stand-ins for dot are shell scripts")
@pytest.mark.parametrize(
    ("script", "ours"),
    [("cat > /dev/null; echo '<svg>by dot</svg>'", False), ("exit 1", True)],
)
def test_dot_is_used_where_it_works(
    script: str, ours: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "dot"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    forward = residual()
    text = draw_svg(forward, backward_graph(forward))
    assert (text == svg(shown(forward))) == ours
    assert ("by dot" in text) != ours


def test_ours_without_dot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    forward = residual()
    assert draw_svg(forward, backward_graph(forward)) == svg(shown(forward))
