"""One property at work: what every kind of property needs, and what comes out."""

from dataclasses import dataclass, field

from lipverify.bounds.methods import Method, Setting
from lipverify.config import VerifyConfig
from lipverify.evidence import Bound, FeatureResult, Witness
from lipverify.network import Network
from lipverify.region import AbstractRegion
from lipverify.search.budget import Clock, Note
from lipverify.search.slot import Slots, no_slots
from lipverify.verdict import Reason, Unknown, Verdict


@dataclass(frozen=True, eq=False)
class Job:
    """A network on a region, how to work on it, and how long."""

    setting: Setting
    method: Method
    config: VerifyConfig
    clock: Clock
    note: Note
    features: tuple[str, ...]
    slot: Slots = no_slots
    """Where each piece of work is kept for a resumed run."""

    @property
    def network(self) -> Network:
        return self.setting.network

    @property
    def region(self) -> AbstractRegion:
        return self.setting.region


@dataclass(frozen=True, eq=False)
class Stop:
    """Why work ended without deciding, in words."""

    reason: Reason
    detail: str

    @property
    def verdict(self) -> Unknown:
        return Unknown(self.reason, self.detail)


TOO_LOOSE = Stop(Reason.BOUND, "the bound is too loose to decide")


def timeout(clock: Clock) -> Stop:
    return Stop(Reason.TIMEOUT, f"stopped after {clock.seconds:.1f} s (timeout {clock.timeout} s)")


@dataclass(frozen=True, eq=False)
class Decision:
    """What was found out about one property; `stage` gave the decisive bound."""

    verdict: Verdict
    stage: str
    bound: Bound | None = None
    witness: Witness | None = None
    subproblems: int = 1
    features: tuple[FeatureResult, ...] = field(default_factory=tuple)
    remark: str = ""
    """What a reader of the verdict has to know beside it."""
