"""Drawings of a forward and a backward graph, side by side."""

import shutil
import subprocess

from lipverify.graph.dag import BackwardGraph, ForwardGraph
from lipverify.graph.picture import Arrow, Block, Picture, picture
from lipverify.graph.svg import FILLS, LINE, SHARED, STROKES, short, svg

DOT_SECONDS = 60.0


def draw_svg(forward: ForwardGraph, backward: BackwardGraph) -> str:
    """The two graphs as SVG: forward left, top down; backward right, bottom up.

    Gates are coloured, and joined by dashed lines to the preactivations that they share with the
    forward graph. Laid out by graphviz where `dot` is on the PATH and succeeds, else by us.
    """
    shown = picture(forward, backward)
    program = shutil.which("dot")
    drawn = None if program is None else _run_dot(program, dot_text(shown))
    return svg(shown) if drawn is None else drawn


def dot_text(shown: Picture) -> str:
    """The picture in graphviz's language."""
    ids = {block.key: f"n{i}" for i, block in enumerate(shown.blocks)}
    lines = [
        "digraph lipverify {",
        "  newrank=true; rankdir=TB; nodesep=0.3; ranksep=0.35; splines=true;",
        '  node [shape=box, style="filled,rounded", margin="0.2,0.06"];',
        # A font whose widths graphviz knows by itself, so that texts stay inside their boxes.
        '  node [fontname="Courier", fontsize=11];',
        f'  edge [color="{LINE}", arrowsize=0.6];',
    ]
    for side in ("forward", "backward"):
        lines.append(f'  subgraph cluster_{side} {{ label="{side} graph"; color=white;')
        lines += [_dot_block(b, ids[b.key]) for b in shown.blocks if b.side == side]
        lines.append("  }")
    for row in range(shown.rows):
        keys = " ".join(f"{ids[b.key]};" for b in shown.blocks if b.row == row)
        lines.append(f"  {{ rank=same; {keys} }}")
    sides = {block.key: block.side for block in shown.blocks}
    lines += [_dot_arrow(arrow, ids, up=sides[arrow.head] == "backward") for arrow in shown.arrows]
    lines += [
        f'  {ids[arrow.tail]} -> {ids[arrow.head]} [style=dashed, color="{SHARED}", '
        "constraint=false];"
        for arrow in shown.shared
    ]
    return "\n".join([*lines, "}", ""])


def _dot_block(block: Block, name: str) -> str:
    label = f"{_quoted(block.title)}\\n{_quoted(short(block.name))}"
    return (
        f'    {name} [label="{label}", tooltip="{_quoted(block.name)}", '
        f'fillcolor="{FILLS[block.role]}", color="{STROKES[block.role]}"];'
    )


def _dot_arrow(arrow: Arrow, ids: dict[str, str], *, up: bool) -> str:
    """Ranks grow downward, so arrows that go up are written from their head and turned."""
    if up:
        return f"  {ids[arrow.head]} -> {ids[arrow.tail]} [dir=back];"
    return f"  {ids[arrow.tail]} -> {ids[arrow.head]};"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _run_dot(program: str, text: str) -> str | None:
    """What `dot` draws; None where it fails."""
    try:
        done = subprocess.run(
            [program, "-Tsvg"],
            input=text,
            capture_output=True,
            encoding="utf-8",
            timeout=DOT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
