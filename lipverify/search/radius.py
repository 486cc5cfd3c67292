"""How far around a point the class stays the same: proved from below, broken from above.

From below in two ways, and the better one counts: a margin that is m at the centre, and whose
Lipschitz constant on the ball of radius r is L, stays positive within min(r, m / L); and the
robustness verification of one ball after another. From above by inputs of another class, drawn
towards the centre, each confirmed on the original network.
"""

from dataclasses import dataclass, replace
from math import inf, isfinite, sqrt

import torch
from torch import Tensor

from lipverify import confirm
from lipverify.bounds.methods import STAGES
from lipverify.confirm import Unconfirmed
from lipverify.errors import EmptyRegion, NumericalFailure
from lipverify.evidence import Bound, Witness
from lipverify.graph import output
from lipverify.query import OutputQuery, output_query
from lipverify.region import AbstractRegion, Box, ball_region
from lipverify.search.budget import Clock, Note
from lipverify.search.job import TOO_LOOSE, Decision, Job, timeout
from lipverify.search.ladder import BREAKDOWNS, output_upper
from lipverify.search.robustness import decide_robustness
from lipverify.search.slot import no_slots
from lipverify.spec.radius import Radius
from lipverify.spec.robustness import Robustness
from lipverify.verdict import Counterexample, Falsified, Unknown, Verdict, Verified
from lipverify.witness import search_nearest, search_output

DOUBLINGS = 8
"""Balls on which the margins' Lipschitz constants are bounded, each twice as large as the last."""
HALVINGS = 5
"""Steps between the last ball within m / L and the first that is not."""
INSIDE = 1.0 - 1e-12
"""Charged for the rounding of m / L and of radii."""
CLOSER = (0.9, 0.95, 0.98, 0.995)
"""The ball that is attacked next, relative to the nearest input found: wide steps first."""
NEAREST = 16
"""Points of an attack from which the nearest input of another class is looked for."""
PLACES = 64
"""Points on the way from the centre to an input of another class."""
SHARE = 0.3
"""Of the time left, for the verification of one ball."""
NARROW = 0.25
"""Of the gap that is asked for: balls nearer than this to one that stayed open are not tried."""
SMALLEST = 1e-6
"""Of the largest radius: as long as nothing is proved, smaller balls are not tried."""

LIPSCHITZ, ATTACK, VERIFY = "Lipschitz bounds", "attack", "verification"


@dataclass(frozen=True, eq=False)
class _Known:
    """The interval so far. `open` is the smallest ball whose verification gave no answer."""

    proved: float = 0.0
    broken: float = inf
    open: float = inf
    found: Counterexample | None = None
    by: str = "none"
    subproblems: int = 0
    why: Unknown | None = None

    def with_proof(self, radius: float, by: str) -> "_Known":
        return self if radius <= self.proved else replace(self, proved=radius, by=by)

    def with_break(self, radius: float, found: Counterexample) -> "_Known":
        return self if radius >= self.broken else replace(self, broken=radius, found=found)


def decide_radius(job: Job, prop: Radius) -> Decision:
    """The bound is [proved, broken]; verified with it, unless `at_least` says otherwise."""
    around = prop.around
    label = prop.label
    if label is None:
        label = int(job.network.original(around.center.unsqueeze(0))[0].argmax())
    query = output_query(Robustness(label), label, job.network.graph.output_size)
    search = _Search(job, prop, Robustness(label), query)
    known = search.attack(_Known())
    known = search.by_lipschitz(known)
    known = search.by_verification(known)
    if not known.proved < known.broken and known.broken > 0:
        raise NumericalFailure(
            f"an input of another class at {known.broken!r}, where none is proved to be within "
            f"{known.proved!r}"
        )
    witness = None
    if known.found is not None:
        x, y = known.found.inputs[0], known.found.outputs[0]
        others = torch.where(torch.arange(len(y)) == label, -torch.inf, y)
        witness = Witness(tuple(x.tolist()), int(others.argmax()))
    bound = Bound(known.proved, known.broken)
    verdict = _verdict(job, prop, known)
    return Decision(verdict, known.by, bound, witness, max(1, known.subproblems))


def _verdict(job: Job, prop: Radius, known: _Known) -> Verdict:
    if known.found is not None and (known.broken == 0 or known.broken <= (prop.at_least or -1.0)):
        return Falsified(known.found)
    if known.proved >= (prop.at_least or 0.0) and known.proved > 0:
        return Verified()
    if job.clock.expired():
        return timeout(job.clock).verdict
    return known.why or TOO_LOOSE.verdict


@dataclass(frozen=True, eq=False)
class _Search:
    job: Job
    prop: Radius
    asked: Robustness
    query: OutputQuery
    """rows . f < 0: the other outputs minus the label's."""

    def ball(self, radius: float) -> AbstractRegion:
        around = self.prop.around
        size = torch.tensor(radius, dtype=torch.float64)
        return ball_region(around.center, size, self.prop.norm, around.clip)

    def note(self, known: _Known, stage: str, detail: str = "") -> None:
        upper = known.broken if isfinite(known.broken) else None
        self.job.note(stage, known.proved, upper, max(1, known.subproblems), detail)

    def done(self, known: _Known) -> bool:
        if known.broken == 0 or known.proved >= self.prop.largest * INSIDE:
            return True
        if self.prop.at_least is not None:
            return known.proved >= self.prop.at_least or known.broken <= self.prop.at_least
        return known.proved > 0 and known.broken / known.proved - 1 <= self.prop.gap

    # From above.

    def attack(self, known: _Known) -> _Known:
        """The nearest input of another class that repeated attacks lead to."""
        center = self.prop.around.center
        if self._usable(center):
            known = self._taken(known, center.unsqueeze(0))
        clock = self.job.clock.limited((self.job.clock.left or inf) / 4)
        reach = min(self.prop.largest, known.broken)
        patience = list(CLOSER)
        while patience and known.broken > 0 and not clock.expired():
            before = known.broken
            known = self._attacked(known, reach, clock)
            if known.broken >= before:
                patience.pop(0)
            reach = known.broken * patience[0] if patience and isfinite(known.broken) else reach
            if not isfinite(known.broken):
                break
        self.note(known, ATTACK)
        return known

    def _usable(self, point: Tensor) -> bool:
        clip = self.prop.around.clip
        return clip is None or bool(((clip[0] <= point) & (point <= clip[1])).all())

    def _attacked(self, known: _Known, radius: float, clock: Clock) -> _Known:
        try:
            region = self.ball(radius)
        except EmptyRegion:
            return known
        job = self.job
        points = search_output(
            job.network.graph,
            region,
            self.query,
            job.config.witness,
            job.config.seed,
            clock.expired,
        )
        known = self._taken(known, points)
        if known.found is not None:
            points = torch.cat([known.found.inputs[0].unsqueeze(0), points[:NEAREST]])
        center, clip = self.prop.around.center, self.prop.around.clip
        reach = torch.full_like(center, torch.inf)
        room = (reach, reach) if clip is None else (center - clip[0], clip[1] - center)
        if not self._usable(center):
            return known
        nearest = search_nearest(
            job.network.graph, center, room, self.query.rows, self.prop.norm, points
        )
        return self._taken(known, nearest)

    def _taken(self, known: _Known, points: Tensor) -> _Known:
        """The points [k, n], each drawn towards the centre as far as the class stays another."""
        center = self.prop.around.center
        shares = torch.linspace(0, 1, PLACES + 1, dtype=torch.float64)[1:]
        low = torch.zeros(len(points), 1, dtype=torch.float64)
        high = torch.ones(len(points), 1, dtype=torch.float64)
        for _ in range(2):
            places = low + (high - low) * shares
            line = center + places.unsqueeze(-1) * (points - center).unsqueeze(1)
            values = output(self.job.network.graph, line.flatten(0, 1)) @ self.query.rows.T
            wrong = (values.amax(1) > 0).reshape(len(points), PLACES)
            first = torch.where(wrong.any(1), wrong.int().argmax(1), PLACES - 1).unsqueeze(1)
            high = places.gather(1, first)
            low = torch.where(first > 0, places.gather(1, (first - 1).clamp(min=0)), low)
        drawn = (center + high * (points - center))[wrong.any(1)]
        # A little farther than the border, so that the original's rounding does not matter.
        for slack in (1.0, 1.0 + 1e-5, 1.0 + 1e-4, 1.0 + 1e-3):
            known = self._confirmed(known, center + slack * (drawn - center))
        return self._confirmed(known, points)

    def _confirmed(self, known: _Known, points: Tensor) -> _Known:
        distances = self.prop.norm.of(points - self.prop.around.center)
        for place in distances.argsort()[:4].tolist():
            reach = float(distances[place])
            if reach >= known.broken or reach > self.prop.largest:
                break
            try:
                region = self.ball(max(reach * (1 + 1e-6), 1e-300))
            except EmptyRegion:
                continue
            network, point = self.job.network, points[place : place + 1]
            found = confirm.confirm_output(network, region, self.query, point)
            if isinstance(found, Counterexample):
                step = found.inputs[0] - self.prop.around.center
                exact = float(self.prop.norm.of(step)) / INSIDE
                known = known.with_break(exact, found)
            elif isinstance(found, Unconfirmed) and known.why is None:
                known = replace(known, why=found.verdict)
        return known

    # From below.

    def by_lipschitz(self, known: _Known) -> _Known:
        """m / L on growing balls, as far as the ball stays the smaller of the two."""
        if not self._usable(self.prop.around.center):
            return known  # the way from the centre leaves the region
        margins = self._margins_at_center()
        if margins is None or not bool((margins > 0).all()):
            return known
        top = min(self.prop.largest, known.broken)
        radius, proved, too_far = top * 0.5**DOUBLINGS, 0.0, inf
        steps = HALVINGS
        while radius <= top and steps and not self.job.clock.expired():
            within = self._within(radius, margins)
            proved = max(proved, within)
            if within < radius * INSIDE:
                too_far, steps = radius, steps - 1
            elif radius == top:
                break
            radius = min(2 * radius, top) if too_far == inf else sqrt(max(proved, 1e-300) * too_far)
        known = known.with_proof(proved, LIPSCHITZ)
        self.note(known, LIPSCHITZ, "local Lipschitz bounds of the margins on growing balls")
        return known

    def _margins_at_center(self) -> Tensor | None:
        """Proved lower ends of the label's lead over each other output, at the centre."""
        center = self.prop.around.center
        setting = replace(self.job.setting, region=Box(center, center))
        quiet = Note(None, 0, self.job.clock)
        found = output_upper(setting, self.query, ("interval",), self.job.clock, quiet)
        return -found.upper if bool(torch.isfinite(found.upper).all()) else None

    def _within(self, radius: float, margins: Tensor) -> float:
        """A radius up to this one within which all margins [k] are proved to stay positive."""
        setting = replace(self.job.setting, region=self.ball(radius))
        try:
            known = STAGES["mean-split"](setting, self.query.rows, self.prop.norm, None)
        except BREAKDOWNS:
            return 0.0
        slopes = known.row_norm(self.prop.norm.dual)
        reach = torch.where(slopes > 0, margins / slopes, torch.inf)
        return min(radius, float(reach.min())) * INSIDE

    def by_verification(self, known: _Known) -> _Known:
        """Balls between the two ends, until they are close, or the time is up."""
        while not self.done(known) and not self.job.clock.expired():
            radius = self._next(known)
            if radius is None:
                break
            known = self._verified(known, radius)
            self.note(known, VERIFY, f"ball of radius {radius:.6g}")
        return known

    def _next(self, known: _Known) -> float | None:
        """The ball to verify; None if all that is left is too near to one that stayed open."""
        if self.prop.at_least is not None:
            return self.prop.at_least if known.open > self.prop.at_least else None
        top = min(known.broken, known.open)
        if not isfinite(top):
            return self.prop.largest
        if known.proved == 0 and top <= SMALLEST * self.prop.largest:
            return None
        bottom = known.proved if known.proved > 0 else top / 16
        if known.open <= known.broken and known.proved > 0:
            if top / known.proved - 1 <= NARROW * self.prop.gap:
                return None
        # One step to the far end of the gap that is asked for, if that is near; else the middle.
        near = known.broken / (1 + 0.9 * self.prop.gap)
        if known.open == inf and known.proved > 0 and near / known.proved < 1.25:
            return near
        return sqrt(bottom * top)

    def _verified(self, known: _Known, radius: float) -> _Known:
        job, left = self.job, self.job.clock.left
        clock = job.clock if left is None else job.clock.limited(SHARE * left)
        try:
            region = self.ball(radius)
        except EmptyRegion:
            return known.with_proof(radius, VERIFY)
        part = replace(
            job,
            setting=replace(job.setting, region=region),
            clock=clock,
            note=Note(None, 0, clock),
            slot=no_slots,
        )
        found = decide_robustness(part, self.asked)
        known = replace(known, subproblems=known.subproblems + found.subproblems)
        match found.verdict:
            case Verified():
                return known.with_proof(radius, VERIFY)
            case Falsified(counterexample):
                nearer = self._taken(known, torch.stack(counterexample.inputs))
                # Always so, but a loop must not rest on it.
                return nearer if nearer.broken < known.broken else replace(known, open=radius)
            case Unknown() as why:
                return replace(known, open=min(known.open, radius), why=why)
