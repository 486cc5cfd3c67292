"""A layered layout by lanes, as of a railway: no arrow runs through a block.

Every block gets a lane (a column) of its side. An arrow that passes rows between its ends runs
through one lane that is free there; in the gaps between rows arrows may cross.
"""

from dataclasses import dataclass

from lipverify.graph.picture import Arrow, Block, Picture


@dataclass(frozen=True)
class Lanes:
    """Lanes count outward from the gap between the two sides.

    `arrows` holds the lane of each arrow that passes rows, by its place in `Picture.arrows`.
    """

    blocks: dict[str, int]
    arrows: dict[int, int]
    forward: int
    """Number of lanes of the forward side."""
    backward: int


class _Side:
    """The cells (lane, row) of one side that are taken."""

    def __init__(self) -> None:
        self._taken: set[tuple[int, int]] = set()
        self.count = 1

    def take(self, wanted: int, rows: range) -> int:
        """The lane nearest to `wanted` that is free in these rows; outer ones first."""
        lanes = sorted(range(self.count + 1), key=lambda lane: (abs(lane - wanted), -lane))
        lane = next(lane for lane in lanes if all((lane, row) not in self._taken for row in rows))
        self._taken |= {(lane, row) for row in rows}
        self.count = max(self.count, lane + 1)
        return lane


def lanes(picture: Picture) -> Lanes:
    """The lanes of all blocks and of the arrows that pass rows."""
    blocks = {block.key: block for block in picture.blocks}
    sides = {"forward": _Side(), "backward": _Side()}
    at: dict[str, int] = {}
    passing: dict[int, int] = {}
    lengths = _lengths(picture, blocks)
    # Along the data's way; in a row, the way through the most layers before its shortcuts.
    for block in sorted(picture.blocks, key=lambda block: (_flow(block), -lengths[block.key])):
        wanted = _continued(block, picture.arrows, blocks, at)
        at[block.key] = sides[block.side].take(wanted, range(block.row, block.row + 1))
    for position, arrow in enumerate(picture.arrows):
        tail, head = blocks[arrow.tail], blocks[arrow.head]
        between = range(min(tail.row, head.row) + 1, max(tail.row, head.row))
        if between:
            wanted = max(at[arrow.tail], at[arrow.head])
            passing[position] = sides[tail.side].take(wanted, between)
    return Lanes(at, passing, sides["forward"].count, sides["backward"].count)


def _flow(block: Block) -> int:
    """Grows along the data's way."""
    return block.row if block.side == "forward" else -block.row


def _lengths(picture: Picture, blocks: dict[str, Block]) -> dict[str, int]:
    """The number of arrows on the longest way from each block to its side's end."""
    lengths = dict.fromkeys(blocks, 0)
    for arrow in sorted(picture.arrows, key=lambda arrow: -_flow(blocks[arrow.tail])):
        lengths[arrow.tail] = max(lengths[arrow.tail], 1 + lengths[arrow.head])
    return lengths


def _continued(
    block: Block, arrows: tuple[Arrow, ...], blocks: dict[str, Block], at: dict[str, int]
) -> int:
    """The lane of the operand in the nearest row: the way through the most layers goes on."""
    tails = [arrow.tail for arrow in arrows if arrow.head == block.key]
    return min(((abs(blocks[tail].row - block.row), at[tail]) for tail in tails), default=(0, 0))[1]
