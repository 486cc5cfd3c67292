"""Frozen settings, one dataclass per stage."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class PreactivationConfig:
    """How the forward graph is bounded (DESIGN 4.3)."""

    alpha_iterations: int = 20
    """Steps of alpha-CROWN per layer."""
    alpha_rate: float = 0.25


@dataclass(frozen=True)
class GateConfig:
    """How the relaxation of gates over preactivation and adjoint is optimised (DESIGN 4.2)."""

    iterations: int = 12
    """Steps of projected Adam for each set of bounds; 0 leaves the start, Shi et al.'s."""
    rate: float = 0.2
    decay: float = 0.98
    """The rate shrinks by this factor with each step."""
    gain: float = 1e-3
    """Relative gain on the first entries of a node below which the others are left."""
    work: float = 5e10
    """Multiplications that all steps of one query may take, about; what would exceed it is left."""


@dataclass(frozen=True)
class WitnessConfig:
    """How points that attain a large value are searched for."""

    samples: int = 1024
    ascents: int = 32
    """Points that climb in the search for one derivative or output."""
    climbers: int = 128
    """Points that climb in the search for a norm, at most; fewer where each costs much."""
    steps: int = 30
    programs: int = 1200
    """Linear programs of the walks over linear regions, which follow where a norm is left open."""
    rounds: int = 6
    walks: int = 8
    """Walks per round, after the one from the best point known."""
    patience: int = 60
    """Programs without a new record after which a walk ends."""


@dataclass(frozen=True)
class QuadraticConfig:
    """How hard the quadratic dual of one subproblem is worked on."""

    max_signs: int = 24
    """Up to this many entries of open sign, each gets its own variable; beyond, a majorant."""
    rounds: int = 4
    """Most alternations between multipliers and majorant."""
    gain: float = 2e-3
    """Relative gain below which another round is not worth it."""
    relative_gap: float = 2e-3
    max_steps: int = 30
    """Steps of the interior-point method; 0 leaves the subproblem to linear bounds."""
    conflicts: int = 200
    """Most conflicts that enter one solution; measured, those that count most do nearly all."""


@dataclass(frozen=True)
class CheckpointConfig:
    """Where the state of a run is kept, so that a killed run can be resumed."""

    path: Path
    """A file; or a folder that exists, in which every spec gets a file of its own."""
    every: float = 10.0
    """Seconds between two writes, at least."""
    resume: bool = False
    """Go on from the file if there is one. Without it, a file in the way is an error."""


@dataclass(frozen=True)
class CertifyConfig:
    """Certificates of answers; what is verified has been checked then."""

    folder: Path
    """Made if it is not there."""
    seconds: float | None = None
    """For the proofs of one property; None: four times as long as its search may take."""
    check_seconds: float = 3600.0
    """For the checker, per certificate."""


@dataclass(frozen=True)
class VerifyConfig:
    """What a caller of `verify` may choose."""

    method: str = "auto"
    timeout: float | None = 60.0
    """Seconds per property; None is no limit."""
    max_subproblems: int | None = None
    """1 is the root alone; None is no limit."""
    memory: float = 4e9
    """Bytes that one bounding step may use for its largest arrays, and a search's open list."""
    seed: int = 0
    branching: str = "area"
    """Which gate is split next; `lipverify supports` lists the names."""
    solver: str = "highs"
    """Of mixed-integer programs: "highs", or "gurobi" where it is installed."""
    checkpoint: CheckpointConfig | None = None
    certify: CertifyConfig | None = None
    """Without it, no certificates are written."""
    preactivation: PreactivationConfig = field(default_factory=PreactivationConfig)
    quadratic: QuadraticConfig = field(default_factory=QuadraticConfig)
    witness: WitnessConfig = field(default_factory=WitnessConfig)
