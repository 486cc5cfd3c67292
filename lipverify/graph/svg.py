"""Drawings of forward and backward graphs as SVG, without a foreign layout program."""

from xml.sax.saxutils import escape, quoteattr

from lipverify.graph.lanes import Lanes, lanes
from lipverify.graph.picture import Arrow, Block, Picture

FONT = 11
LETTER = 0.62 * FONT
"""Width of a letter; the font has a fixed width, so texts can be measured."""
LONGEST = 34
"""Names are cut to as many letters; the full name is the block's tooltip."""

HEIGHT, GAP = 40, 34
MARGIN, HEADER, GUTTER, SPACING = 24, 34, 96, 22
PADDING = 32
ARRIVAL_STEP = 12
"""Distance of the arrows that meet at one block."""
SHARED_STEP = 6
INSET = 14
"""How far from a block's corner the dashed lines begin and end."""

FILLS = {
    "plain": "#f4f5f7",
    "end": "#ffffff",
    "activation": "#fff1d6",
    "gate": "#ffd9a0",
    "unused": "#ffffff",
}
STROKES = {
    "plain": "#6b7280",
    "end": "#111827",
    "activation": "#c77700",
    "gate": "#c77700",
    "unused": "#c5c9d0",
}
LINE, SHARED = "#4b5563", "#c77700"


def svg(picture: Picture) -> str:
    """The picture as SVG: forward graph left, data going down; backward graph right, going up."""
    return _Sheet(picture, lanes(picture)).text()


def short(name: str) -> str:
    """A name cut in its middle to a readable length."""
    half = (LONGEST - 1) // 2
    return name if len(name) <= LONGEST else f"{name[:half]}\N{HORIZONTAL ELLIPSIS}{name[-half:]}"


class _Sheet:
    """Coordinates of one picture, and its SVG elements."""

    def __init__(self, picture: Picture, placed: Lanes) -> None:
        self._picture = picture
        self._lanes = placed
        self._blocks = {block.key: block for block in picture.blocks}
        letters = max(max(len(b.title), len(short(b.name))) for b in picture.blocks)
        self._width = letters * LETTER + PADDING
        self._pitch = self._width + SPACING
        self._middle = MARGIN + placed.forward * self._pitch - SPACING + GUTTER / 2

    def text(self) -> str:
        width = self._middle + GUTTER / 2 + self._lanes.backward * self._pitch - SPACING + MARGIN
        height = HEADER + MARGIN + self._picture.rows * (HEIGHT + GAP)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
            f'viewBox="0 0 {width:.0f} {height:.0f}" '
            f'font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="{FONT}">',
            "<defs>",
            _arrow_head("line", LINE),
            _arrow_head("shared", SHARED),
            "</defs>",
            '<rect width="100%" height="100%" fill="#ffffff"/>',
            self._header("forward", "forward graph \N{DOWNWARDS ARROW}"),
            self._header("backward", "backward graph \N{UPWARDS ARROW}"),
            *(self._shared(arrow) for arrow in self._picture.shared),
            *(self._arrow(position) for position in range(len(self._picture.arrows))),
            *(self._block(block) for block in self._picture.blocks),
            "</svg>",
        ]
        return "\n".join(parts) + "\n"

    def _x(self, side: str, lane: int) -> float:
        """The middle of a lane."""
        away = GUTTER / 2 + self._width / 2 + lane * self._pitch
        return self._middle + (away if side == "backward" else -away)

    def _top(self, row: int) -> float:
        return HEADER + MARGIN + row * (HEIGHT + GAP)

    def _header(self, side: str, text: str) -> str:
        return (
            f'<text x="{self._x(side, 0):.1f}" y="{HEADER}" text-anchor="middle" '
            f'font-weight="bold" font-size="{FONT + 2}">{escape(text)}</text>'
        )

    def _block(self, block: Block) -> str:
        x = self._x(block.side, self._lanes.blocks[block.key])
        y = self._top(block.row)
        radius = HEIGHT / 2 if block.role == "end" else 5
        return (
            f"<g><title>{escape(f'{block.title}: {block.name}')}</title>"
            f'<rect x="{x - self._width / 2:.1f}" y="{y:.1f}" width="{self._width:.1f}" '
            f'height="{HEIGHT}" rx="{radius}" fill="{FILLS[block.role]}" '
            f'stroke="{STROKES[block.role]}"/>'
            f'<text x="{x:.1f}" y="{y + 17:.1f}" text-anchor="middle" font-weight="bold">'
            f"{escape(block.title)}</text>"
            f'<text x="{x:.1f}" y="{y + 31:.1f}" text-anchor="middle" fill="#4b5563" '
            f"data-name={quoteattr(block.name)}>{escape(short(block.name))}</text></g>"
        )

    def _arrow(self, position: int) -> str:
        """A curve in each gap between rows, straight along a lane past the rows between."""
        arrow = self._picture.arrows[position]
        tail, head = self._blocks[arrow.tail], self._blocks[arrow.head]
        down = head.row > tail.row
        start_x = self._x(tail.side, self._lanes.blocks[arrow.tail])
        end_x = self._x(head.side, self._lanes.blocks[arrow.head]) + self._shift(position)
        start_y = self._top(tail.row) + (HEIGHT if down else 0)
        end_y = self._top(head.row) + (0 if down else HEIGHT)
        path = f"M {start_x:.1f} {start_y:.1f}"
        if position in self._lanes.arrows:
            lane_x = self._x(tail.side, self._lanes.arrows[position])
            step = GAP if down else -GAP
            path += _curve(start_x, start_y, lane_x, start_y + step)
            path += f" L {lane_x:.1f} {end_y - step:.1f}"
            start_x, start_y = lane_x, end_y - step
        path += _curve(start_x, start_y, end_x, end_y)
        return f'<path d="{path}" fill="none" stroke="{LINE}" marker-end="url(#line)"/>'

    def _approach(self, position: int) -> tuple[float, int]:
        """Where an arrow comes from on its last stretch, to sort those that meet at a head."""
        tail = self._blocks[self._picture.arrows[position].tail]
        lane = self._lanes.arrows.get(position, self._lanes.blocks[tail.key])
        return self._x(tail.side, lane), position

    def _shift(self, position: int) -> float:
        """How far from the head's middle an arrow ends: side by side, in order of approach."""
        arrows = self._picture.arrows
        meeting = [i for i, other in enumerate(arrows) if other.head == arrows[position].head]
        place = sorted(meeting, key=self._approach).index(position)
        return (place - (len(meeting) - 1) / 2) * ARRIVAL_STEP

    def _slot(self, arrow: Arrow) -> int:
        """-1, 0 or 1: keeps dashed lines apart that leave the same row."""
        row = self._blocks[arrow.tail].row
        beside = [other for other in self._picture.shared if self._blocks[other.tail].row == row]
        return (beside.index(arrow) + 1) % 3 - 1

    def _shared(self, arrow: Arrow) -> str:
        """From a preactivation's lower corner through the gaps to its gate's upper corner."""
        tail, head = self._blocks[arrow.tail], self._blocks[arrow.head]
        tail_lane, head_lane = self._lanes.blocks[arrow.tail], self._lanes.blocks[arrow.head]
        start_x = self._x("forward", tail_lane) + self._width / 2 - INSET
        end_x = self._x("backward", head_lane) - self._width / 2 + INSET
        shift = self._slot(arrow) * SHARED_STEP
        under = self._top(tail.row) + HEIGHT + GAP / 2 + shift
        over = self._top(head.row) - GAP / 2 + shift
        between = self._middle + 2 * shift
        path = (
            f"M {start_x:.1f} {self._top(tail.row) + HEIGHT:.1f} V {under:.1f} H {between:.1f} "
            f"V {over:.1f} H {end_x:.1f} V {self._top(head.row):.1f}"
        )
        return (
            f'<path d="{path}" fill="none" stroke="{SHARED}" stroke-dasharray="5 4" '
            f'stroke-linejoin="round" marker-end="url(#shared)"/>'
        )


def _curve(start_x: float, start_y: float, end_x: float, end_y: float) -> str:
    bend = (start_y + end_y) / 2
    return f" C {start_x:.1f} {bend:.1f} {end_x:.1f} {bend:.1f} {end_x:.1f} {end_y:.1f}"


def _arrow_head(name: str, colour: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        f'markerHeight="7" orient="auto"><path d="M 0 0.5 L 8 4 L 0 7.5 z" fill="{colour}"/>'
        "</marker>"
    )
