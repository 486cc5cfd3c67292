"""Where a piece of work leaves its result or its state, so that a later run need not repeat it."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar, final

Value = TypeVar("Value")
Stored = TypeVar("Stored")


class AbstractSlot(ABC):
    """The place of one piece of work, by its key. Values are frozen records of known classes."""

    @abstractmethod
    def load(self, kind: type[Stored], check: Callable[[Stored], Value]) -> Value | None:
        """What an earlier run left here, after `check`; None: nothing.

        `check` gives the value to use (completed, or recomputed where that is cheap) and raises
        ValueError for one that cannot be meant. Raises `CheckpointError` then.
        """

    @abstractmethod
    def keep(self, value: object) -> None:
        """To be called where `value` is complete. Nothing is kept that the clock cut short."""


@final
class NoSlot(AbstractSlot):
    """Nothing is kept."""

    def load(self, kind: type[Stored], check: Callable[[Stored], Value]) -> Value | None:
        return None

    def keep(self, value: object) -> None:
        pass


Slots = Callable[[str], AbstractSlot]
"""The slot of a key."""


def no_slots(key: str) -> AbstractSlot:
    return NoSlot()


def once(
    slot: AbstractSlot,
    kind: type[Value],
    work: Callable[[], Value],
    check: Callable[[Value], Value],
) -> Value:
    """The result of `work`: the one kept before, after `check`, or a new one, which is kept."""
    value = slot.load(kind, check)
    if value is None:
        value = work()
        slot.keep(value)
    return value
