"""Linear programs over a box in exact arithmetic: for questions that float bounds leave open.

The simplex method on dictionaries of Fractions, with the rule of Bland 1977 ("New finite pivoting
rules for the simplex method"), which never cycles: it always ends, with the exact optimum. Slow,
and meant for a few dozen rows and variables.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from lipverify.bounds.exact_forward import Row
from lipverify.interval import Interval

Stop = Callable[[], bool]


class Interrupted(Exception):
    """The program was stopped before its end."""


@dataclass(frozen=True)
class Deepest:
    """The largest t for which a point has every soft function >= t; and such a point [n]."""

    value: Fraction
    point: tuple[Fraction, ...]


def deepest(
    hard: Sequence[Row], soft: Sequence[Row], box: Interval, stop: Stop = lambda: False
) -> Deepest | None:
    """Over the points of the box [n] at which every hard function is >= 0; None: there are none.

    Functions are coefficients of [1; x]; there is at least one soft one. `Interrupted` if `stop`
    says so.
    """
    assert soft, "without soft functions there is no largest value"
    lower = [Fraction(value) for value in box.lower.tolist()]
    width = [Fraction(value) - low for value, low in zip(box.upper.tolist(), lower, strict=True)]
    moving = [place for place, wide in enumerate(width) if wide]
    hard = [_from_corner(row, lower, moving) for row in hard]
    soft = [_from_corner(row, lower, moving) for row in soft]
    reach = [width[place] for place in moving]
    # Below `least` nothing is asked for, so the last variable, t - least, is >= 0 as the others.
    least = min(row[0] + sum(min(0, a * w) for a, w in _pairs(row, reach)) for row in soft)
    table = [[*row, Fraction(0)] for row in hard]
    table += [[row[0] - least, *row[1:], Fraction(-1)] for row in soft]
    for place, wide in enumerate(reach):
        table.append([wide, *(Fraction(-(k == place)) for k in range(len(reach) + 1))])
    objective = [Fraction(0)] * (len(reach) + 1) + [Fraction(1)]
    program = _Dictionary(table, objective, stop)
    if not program.feasible():
        return None
    program.optimise()
    values = program.values(len(reach) + 1)
    point = list(lower)
    for place, value in zip(moving, values, strict=False):
        point[place] += value
    return Deepest(least + values[-1], tuple(point))


def _from_corner(row: Row, lower: Sequence[Fraction], moving: Sequence[int]) -> Row:
    """The same function, of the moving inputs' distances from the lower corner."""
    start = row[0] + sum(a * low for a, low in _pairs(row, lower))
    return [start, *(row[1 + place] for place in moving)]


def _pairs(row: Row, others: Sequence[Fraction]) -> "zip[tuple[Fraction, Fraction]]":
    return zip(row[1:], others, strict=True)


@dataclass
class _Dictionary:
    """Basic variables as functions of the nonbasic ones, all >= 0; `objective` is maximised.

    Each row is [constant, coefficients of the nonbasic variables]. Variables are numbered: first
    the nonbasic ones as given, then those of the rows.
    """

    table: list[Row]
    objective: Row
    stop: Stop
    basic: list[int] = field(init=False)
    nonbasic: list[int] = field(init=False)

    def __post_init__(self) -> None:
        columns = len(self.objective) - 1
        self.nonbasic = list(range(columns))
        self.basic = [columns + place for place in range(len(self.table))]

    def feasible(self) -> bool:
        """Move to a dictionary whose constants are >= 0; False if there is none."""
        if all(row[0] >= 0 for row in self.table):
            return True
        asked, helper = self.objective, -1
        # Every row is relaxed by the helper; then it is made as small as possible.
        for row in self.table:
            row.append(Fraction(1))
        self.nonbasic.append(helper)
        self.objective = [Fraction(0)] * (len(asked)) + [Fraction(-1)]
        worst = min(range(len(self.table)), key=lambda place: self.table[place][0])
        self._pivot(worst, len(self.nonbasic) - 1)
        self.optimise()
        if self.objective[0] < 0:
            return False
        if helper in self.basic:
            place = self.basic.index(helper)
            column = next(k for k, value in enumerate(self.table[place][1:]) if value)
            self._pivot(place, column)
        column = self.nonbasic.index(helper)
        del self.nonbasic[column]
        for row in self.table:
            del row[1 + column]
        self.objective = self._in_terms(asked)
        return True

    def _in_terms(self, asked: Row) -> Row:
        """An objective over the first variables, as a function of the nonbasic ones."""
        result = [asked[0], *(Fraction(0) for _ in self.nonbasic)]
        for variable, value in enumerate(asked[1:]):
            if not value:
                continue
            if variable in self.nonbasic:
                result[1 + self.nonbasic.index(variable)] += value
            else:
                row = self.table[self.basic.index(variable)]
                result = [a + value * b for a, b in zip(result, row, strict=True)]
        return result

    def optimise(self) -> None:
        """Pivot until no nonbasic variable makes the objective larger."""
        while True:
            if self.stop():
                raise Interrupted
            rising = [
                (variable, column)
                for column, variable in enumerate(self.nonbasic)
                if self.objective[1 + column] > 0
            ]
            if not rising:
                return
            _, column = min(rising)
            limits = [
                (row[0] / -row[1 + column], self.basic[place], place)
                for place, row in enumerate(self.table)
                if row[1 + column] < 0
            ]
            assert limits, "the box and the soft functions bound every variable"
            self._pivot(min(limits)[2], column)

    def _pivot(self, place: int, column: int) -> None:
        """Exchange a basic and a nonbasic variable."""
        row, at = self.table[place], 1 + column
        factor = -1 / row[at]
        solved = [factor * value for value in row]
        solved[at] = -factor
        for other, old in enumerate(self.table):
            if other != place and old[at]:
                self.table[other] = _substituted(old, at, solved)
        self.table[place] = solved
        self.objective = _substituted(self.objective, at, solved)
        self.basic[place], self.nonbasic[column] = self.nonbasic[column], self.basic[place]

    def values(self, count: int) -> list[Fraction]:
        """Of the first variables."""
        at = {variable: row[0] for variable, row in zip(self.basic, self.table, strict=True)}
        return [at.get(variable, Fraction(0)) for variable in range(count)]


def _substituted(row: Row, at: int, solved: Row) -> Row:
    """The row with the variable of column `at` replaced by what `solved` says of it."""
    scale = row[at]
    if not scale:
        return row
    result = [a + scale * b if b else a for a, b in zip(row, solved, strict=True)]
    result[at] = scale * solved[at]
    return result


__all__ = ["Deepest", "Interrupted", "deepest"]
