"""What a certificate claims: a property of the format, and its objectives in our own terms."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lipverify.errors import UnsupportedCertificate
from lipverify.evidence.certificate.encode import Json, floats, scalar
from lipverify.norms import AbstractNorm, norm_named
from lipverify.query_output import Clause
from lipverify.region import AbstractRegion
from lipverify.search.gate_split import Objective
from lipverify.spec.property import Lipschitz, Monotonicity


@dataclass(frozen=True, eq=False)
class OutputClaim:
    """No output of the region is meant by a clause: objective k is clause k, none without rows."""

    region: AbstractRegion
    clauses: tuple[Clause, ...]

    @property
    def count(self) -> int:
        return len(self.clauses)

    @property
    def asked(self) -> Json:
        return {"kind": "robustness", "unsafe": [_clause_json(clause) for clause in self.clauses]}


@dataclass(frozen=True, eq=False)
class SlopeClaim:
    """Each of the objectives, on rows J, is at most `threshold` on the region.

    `rows` [r, m]; the norms say what an objective without a direction is.
    """

    region: AbstractRegion
    asked: Json
    rows: Tensor
    objectives: tuple[Objective, ...]
    threshold: float
    input_norm: AbstractNorm
    output_norm: AbstractNorm

    @property
    def count(self) -> int:
        return len(self.objectives)


Claim = OutputClaim | SlopeClaim


def output_claim(region: AbstractRegion, clauses: Sequence[Clause]) -> OutputClaim:
    if any(not len(clause) for clause in clauses):
        raise UnsupportedCertificate("a constraint that every output satisfies has no certificate")
    return OutputClaim(region, tuple(clauses))


def monotonicity_claim(region: AbstractRegion, prop: Monotonicity) -> SlopeClaim:
    """Increasing: -w J_j <= -margin. Decreasing: w J_j <= -margin."""
    rows = torch.tensor([prop.weights], dtype=torch.float64)
    signed = [*((j, -1.0) for j in prop.increasing), *((j, 1.0) for j in prop.decreasing)]
    found: Json = {
        "kind": "monotonicity",
        "weights": floats(rows),
        "increasing": list(prop.increasing),
        "decreasing": list(prop.decreasing),
        "margin": scalar(prop.margin),
    }
    objectives = tuple(Objective(0, _unit(region.size, j, sign)) for j, sign in signed)
    linf = norm_named("inf")
    return SlopeClaim(region, found, rows, objectives, 0.0 - prop.margin, linf, linf)


def lipschitz_claim(region: AbstractRegion, prop: Lipschitz, at_most: float) -> SlopeClaim:
    """`at_most` is the claim, whether the property has a threshold or not."""
    rows = torch.tensor(prop.rows, dtype=torch.float64)
    found: Json = {
        "kind": "lipschitz",
        "input_norm": prop.input_norm.name,
        "output_norm": prop.output_norm.name,
        "rows": floats(rows),
        "at_most": scalar(at_most),
    }
    count = len(rows)
    joint = prop.output_norm.name != "inf" and count > 1
    if joint:
        objectives: tuple[Objective, ...] = (Objective(None),)
    elif prop.input_norm.name == "1":
        objectives = tuple(
            Objective(row, _unit(region.size, j, sign))
            for row in range(count)
            for j in range(region.size)
            for sign in (1.0, -1.0)
        )
    else:
        objectives = tuple(Objective(row) for row in range(count))
    return SlopeClaim(region, found, rows, objectives, at_most, prop.input_norm, prop.output_norm)


def _unit(size: int, index: int, sign: float) -> Tensor:
    direction = torch.zeros(size, dtype=torch.float64)
    direction[index] = sign
    return direction


def _clause_json(clause: Clause) -> Json:
    found: Json = {
        "coefficients": floats(clause.coefficients),
        "offsets": floats(clause.offsets),
    }
    if clause.strict is not None:
        found["strict"] = clause.strict.tolist()
    return found
