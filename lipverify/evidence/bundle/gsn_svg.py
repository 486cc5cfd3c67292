"""gsn.svg: the argument drawn as a tree from left to right, without a foreign layout program.

What supports an element stands to its right; contexts, assumptions and justifications stand below
it. An element that several others refer to is drawn once, beside the first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from textwrap import wrap

from lipverify.evidence.bundle.argument import Element, argument
from lipverify.evidence.bundle.record import Record

LETTERS, LINE, PAD = 36, 14.0, 9.0
"""Letters in a line of text, its height, and the space around."""
WIDTH, GAP_X, GAP_Y, MARGIN = 236.0, 44.0, 14.0, 16.0
INDENT = 20.0
"""How far contexts stand to the right of what they belong to."""
DIAMOND = 7.0
MOST_LINES = 9
STATUS = {"established": "#3f7d4f", "open": "#b27500", "refuted": "#8c1d40", None: "#5b6470"}
FILLS = {
    "goal": "#f3f8f4",
    "strategy": "#eef2f7",
    "solution": "#ffffff",
    "context": "#f7f5ef",
    "assumption": "#f7f5ef",
    "justification": "#f7f5ef",
}
TINTS = {"open": "#fdf6e3", "refuted": "#fbeef1"}
WEIGHTS = ("bold", "normal")
"""Of the first line, which is the name, and of the others."""
LETTER_OF = {"assumption": "A", "justification": "J"}


@dataclass(frozen=True)
class _Placed:
    element: Element
    x: float
    y: float
    lines: tuple[str, ...]

    @property
    def height(self) -> float:
        return _height(self.lines)

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


def gsn_svg(record: Record) -> str:
    elements = argument(record)
    placed = _layout(elements)
    width = max(p.x for p in placed.values()) + WIDTH + MARGIN
    height = max(p.y + p.height for p in placed.values()) + DIAMOND + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" font-family="sans-serif" font-size="11" '
        'role="img" aria-label="safety argument">',
        "<defs>",
        _head("solid", "#333"),
        _head("hollow", "#fff"),
        "</defs>",
        '<rect width="100%" height="100%" fill="#fff"/>',
        *(line for p in placed.values() for line in _arrows(p, placed)),
        *(_drawn(p) for p in placed.values()),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _layout(elements: Sequence[Element]) -> dict[str, _Placed]:
    """Each element at the top of the block of what it leads to; blocks one below the other."""
    known = {element.id: element for element in elements}
    owned: dict[str, tuple[list[str], list[str]]] = {}
    taken = {elements[0].id}
    for element in elements:
        support = [name for name in element.supported_by if name not in taken]
        taken.update(support)
        context = [name for name in element.in_context_of if name not in taken]
        taken.update(context)
        owned[element.id] = (support, context)
    placed: dict[str, _Placed] = {}

    def place(name: str, x: float, top: float) -> float:
        """Returns where the next block may begin."""
        here = placed[name] = _Placed(known[name], x, top, _lines(known[name]))
        below = top + here.height + GAP_Y + (DIAMOND if here.element.undeveloped else 0)
        support, context = owned[name]
        for other in context:
            below = place(other, x + INDENT, below)
        beside = top
        for other in support:
            beside = place(other, x + WIDTH + INDENT + GAP_X, beside)
        return max(below, beside)

    place(elements[0].id, MARGIN, MARGIN)
    return placed


def _lines(element: Element) -> tuple[str, ...]:
    lines = wrap(element.text, LETTERS, break_long_words=True) or [""]
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], lines[MOST_LINES - 1][: LETTERS - 3] + "..."]
    return tuple(lines)


def _height(lines: Sequence[str]) -> float:
    return 2 * PAD + LINE * (1 + len(lines))


def _arrows(p: _Placed, placed: Mapping[str, _Placed]) -> list[str]:
    found = []
    for name in p.element.supported_by:
        end = placed[name]
        x, y = p.x + WIDTH, p.middle
        bend = end.x - GAP_X / 2
        found.append(
            f'<path d="M {x:.1f} {y:.1f} H {bend - GAP_X / 2:.1f} C {bend:.1f} {y:.1f} {bend:.1f} '
            f'{end.middle:.1f} {end.x - 1:.1f} {end.middle:.1f}" fill="none" stroke="#555" '
            'marker-end="url(#solid)"/>'
        )
    for name in p.element.in_context_of:
        end = placed[name]
        dashes = ' stroke-dasharray="4 3"' if end.element.counter else ""
        found.append(
            f'<path d="M {p.x + INDENT / 2:.1f} {p.y + p.height:.1f} V {end.middle:.1f} '
            f'H {end.x - 1:.1f}" fill="none" stroke="#555"{dashes} marker-end="url(#hollow)"/>'
        )
    return found


def _drawn(p: _Placed) -> str:
    element = p.element
    stroke = STATUS["refuted"] if element.counter else STATUS[element.status]
    fill = TINTS.get(element.status or "", FILLS[element.kind])
    style = f'fill="{fill}" stroke="{stroke}" stroke-width="{2 if element.status else 1}"'
    center = p.x + WIDTH / 2
    rows = [
        f'<text x="{center:.1f}" y="{p.y + PAD + LINE * (k + 0.8):.1f}" text-anchor="middle" '
        f'font-weight="{WEIGHTS[min(k, 1)]}">{escape(text)}</text>'
        for k, text in enumerate((element.id, *p.lines))
    ]
    extra = ""
    if element.undeveloped:
        x, y = center, p.y + p.height
        extra = (
            f'<path d="M {x} {y} l {DIAMOND} {DIAMOND} l -{DIAMOND} {DIAMOND} l -{DIAMOND} '
            f'-{DIAMOND} z" fill="#fff" stroke="{stroke}"/>'
        )
    letter = LETTER_OF.get(element.kind)
    if letter:
        extra = f'<text x="{p.x + WIDTH - 10:.1f}" y="{p.y + p.height - 6:.1f}">{letter}</text>'
    title = escape(f"{element.id} ({element.kind}): {element.text}")
    return f"<g><title>{title}</title>{_shape(p, style)}{''.join(rows)}{extra}</g>"


def _shape(p: _Placed, style: str) -> str:
    x, y, w, h = p.x, p.y, WIDTH, p.height
    match p.element.kind:
        case "strategy":
            return f'<path d="M {x + 12} {y} h {w - 12} l -12 {h} h -{w - 12} z" {style}/>'
        case "solution":
            # A circle in GSN; stretched, since text is wider than high.
            radius = h / 2
        case "context":
            radius = 18
        case "assumption" | "justification":
            radius = min(h / 2, 30)
        case _:
            radius = 0
    return f'<rect x="{x}" y="{y:.1f}" width="{w}" height="{h:.1f}" rx="{radius:.1f}" {style}/>'


def _head(name: str, fill: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="8" '
        f'markerHeight="8" orient="auto"><path d="M 0.5 0.5 L 7.5 4 L 0.5 7.5 z" fill="{fill}" '
        'stroke="#333"/></marker>'
    )
