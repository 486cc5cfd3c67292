"""The loop of every search: start, step until done or forced to stop, keep what was reached.

A search is a value of settings; all that changes is in its state, a frozen record. So a state can
be written to disk between any two steps and gone on from, and an interrupted step leaves the state
before it, which holds.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from lipverify.search.budget import Clock
from lipverify.search.job import Stop, timeout
from lipverify.search.ladder import BREAKDOWNS
from lipverify.search.slot import AbstractSlot
from lipverify.verdict import Reason

State = TypeVar("State")


class AbstractSearch(ABC, Generic[State]):
    """What is proved holds in every state. The order of work must not depend on the clock."""

    @abstractmethod
    def start(self) -> State:
        """The state before any work."""

    kind: type
    """The class of what is stored."""

    @abstractmethod
    def stored(self, state: State) -> Any:
        """What of a state has to be kept: a record without networks and functions."""

    @abstractmethod
    def restored(self, stored: Any) -> State:
        """The state again, checked; ValueError for what cannot be meant."""

    @abstractmethod
    def step(self, state: State) -> State:
        """The state after some more work."""

    @abstractmethod
    def done(self, state: State) -> bool:
        """Whether no more work is needed, or none is left."""

    @abstractmethod
    def limit(self, state: State) -> Stop | None:
        """Why no step may be taken, other than time; None: one may."""

    @abstractmethod
    def show(self, state: State) -> None:
        """Report the interval so far as progress."""


@dataclass(frozen=True, eq=False)
class Ended(Generic[State]):
    """The last state, and what forced the end; None: the search is done."""

    state: State
    stop: Stop | None


def run(search: AbstractSearch[State], clock: Clock, slot: AbstractSlot) -> Ended[State]:
    """Search from the state in `slot`, if there is one, or from the start.

    KeyboardInterrupt passes; what the steps before it reached has been kept and shown.
    """
    state = slot.load(search.kind, search.restored)
    if state is None:
        state = search.start()
    while True:
        search.show(state)
        if search.done(state):
            return Ended(state, None)
        stop = timeout(clock) if clock.expired() else search.limit(state)
        if stop is not None:
            return Ended(state, stop)
        try:
            state = search.step(state)
        except BREAKDOWNS as error:
            return Ended(state, Stop(Reason.NUMERICS, str(error)))
        slot.keep(search.stored(state))


__all__ = ["AbstractSearch", "Ended", "run"]
