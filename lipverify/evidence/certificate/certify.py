"""Certificates of an answer: written, then checked. What the checker does not accept is not
verified."""

import hashlib
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf, isfinite, nextafter
from pathlib import Path

import torch
from torch import Tensor

from lipverify.bounds.methods import Setting
from lipverify.checker import Unreadable, check
from lipverify.config import CertifyConfig, VerifyConfig
from lipverify.errors import LipverifyError, UnsupportedCertificate
from lipverify.evidence.certificate.claim import (
    Claim,
    OutputClaim,
    lipschitz_claim,
    monotonicity_claim,
)
from lipverify.evidence.certificate.counterexamples import counterexample_points
from lipverify.evidence.certificate.encode import (
    CertificateFile,
    Json,
    network_json,
    precision_for,
    region_json,
    tool_json,
    write_witness,
)
from lipverify.evidence.certificate.model import Model
from lipverify.evidence.certificate.outputs import OutputProver
from lipverify.evidence.certificate.questions import class_claim, radius_claim, vnnlib_claims
from lipverify.evidence.certificate.slopes import SlopeProver
from lipverify.evidence.certificate.tree import NotProved, write_tree
from lipverify.evidence.certificate.witnesses import Point, attained
from lipverify.evidence.record import Bound, CertificateRecord, PropertyResult
from lipverify.files import file_sha256
from lipverify.region import AbstractRegion
from lipverify.spec.property import Lipschitz, Monotonicity, Property, Radius, Robustness, VnnLib
from lipverify.verdict import Falsified, Reason, Unknown, Verified

SLACK = 9e-7
"""Relative distance of a certified end above the solver's: rounding and the last bit of splits."""
LOOSER = (2e-2, 0.2, 1.0)
"""Distances that are tried then, for an interval whose solver's end is not proved in time."""
LONGER = 4.0
"""Proofs are written depth first, one part at a time: that may take so many times the search's."""
FIRST_SHARE = 0.6
"""Of the time for the first attempt, where looser ones may follow."""
ATTEMPTS = ((1.0, False), (1e4, True))
"""Factors on the margins that floats keep, and whether neurons are split layer by layer; the next
one follows where the checker refuses, or where a part without inner points is left over."""


@dataclass(frozen=True, eq=False)
class _Work:
    """A property, its network, and where its certificates go."""

    setting: Setting
    config: VerifyConfig
    certify: CertifyConfig
    stem: str

    @property
    def seconds(self) -> float:
        own, timeout = self.certify.seconds, self.config.timeout
        if own is not None:
            return own
        return inf if timeout is None else LONGER * timeout

    def path(self, part: str = "") -> Path:
        return self.certify.folder / f"{self.stem}{part}.lipcert"


def certified(
    setting: Setting, prop: Property, result: PropertyResult, config: VerifyConfig
) -> PropertyResult:
    """The answer with its certificates; Unknown where a verified one got none."""
    assert config.certify is not None
    folder = config.certify.folder
    folder.mkdir(parents=True, exist_ok=True)
    work = _Work(setting, config, config.certify, _stem(result))
    try:
        match result.verdict:
            case Verified():
                return _proved(work, prop, result)
            case Falsified():
                return _broken(work, prop, result)
            case _:
                return result
    except NotProved as error:
        return _given_up(result, str(error))
    except (LipverifyError, Unreadable) as error:
        return _given_up(result, f"{type(error).__name__}: {error}")


def _stem(result: PropertyResult) -> str:
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "_", Path(result.spec).stem or result.name)[:80]
    digest = hashlib.sha256(f"{result.spec}\n{result.network_sha256}".encode()).hexdigest()[:8]
    return f"{safe}-{digest}-{result.property}"


def _given_up(result: PropertyResult, why: str) -> PropertyResult:
    if not isinstance(result.verdict, Verified):
        note = f"no certificate: {why}"
        return replace(result, remark="; ".join(part for part in (result.remark, note) if part))
    return replace(result, verdict=Unknown(Reason.CERTIFICATE, f"no certificate: {why}"))


def _proved(work: _Work, prop: Property, result: PropertyResult) -> PropertyResult:
    match prop:
        case Lipschitz():
            return _lipschitz(work, prop, result)
        case Monotonicity():
            claim = monotonicity_claim(work.setting.region, prop)
            return replace(result, certificates=(_prove(work, claim, work.seconds),))
        case Robustness():
            claim = class_claim(work.setting.network, prop, work.setting.region)
            return replace(result, certificates=(_prove(work, claim, work.seconds),))
        case Radius():
            return _radius(work, prop, result)
        case VnnLib():
            return _vnnlib(work, prop, result)


def _lipschitz(work: _Work, prop: Lipschitz, result: PropertyResult) -> PropertyResult:
    assert result.bound is not None
    region = work.setting.region
    more: tuple[CertificateRecord, ...] = ()
    if result.witness is not None:
        point = torch.tensor(result.witness.input, dtype=torch.float64)
        more = _first_accepted(work, attained(work.setting, prop, point), "-attained")
    if prop.at_most is not None:
        proof = _prove(work, lipschitz_claim(region, prop, prop.at_most), work.seconds)
        return replace(result, certificates=(replace(proof, at_most=prop.at_most), *more))
    upper = result.bound.upper
    if not isfinite(upper):
        raise NotProved("the upper end is infinite")
    seconds, failure = FIRST_SHARE * work.seconds, NotProved("nothing tried")
    for slack in (SLACK, *LOOSER):
        claimed = nextafter(upper * (1 + slack), inf)
        try:
            proof = _prove(work, lipschitz_claim(region, prop, claimed), seconds)
        except NotProved as error:
            failure = error
            seconds = (1 - FIRST_SHARE) * work.seconds / len(LOOSER)
            continue
        remark = result.remark
        if slack != SLACK:
            note = (
                f"the certificate's upper end {claimed:.9g} is {slack:.2g} above the search's "
                f"{upper:.9g}, which was not proved in time: {failure}"
            )
            remark = "; ".join(part for part in (remark, note) if part)
        return replace(
            result,
            bound=Bound(result.bound.lower, claimed),
            remark=remark,
            certificates=(replace(proof, at_most=claimed), *more),
        )
    raise failure


def _radius(work: _Work, prop: Radius, result: PropertyResult) -> PropertyResult:
    """That the class stays on the ball of the radius that is asked for, or was proved."""
    assert result.bound is not None
    size = result.bound.lower if prop.at_least is None else prop.at_least
    claim = radius_claim(work.setting.network, prop, size)
    proof = replace(_prove(work, claim, work.seconds), at_least=size)
    return replace(result, certificates=(proof,))


def _vnnlib(work: _Work, prop: VnnLib, result: PropertyResult) -> PropertyResult:
    """A certificate per box, or per question about one copy."""
    file = prop.file
    if not file.satisfiable_inputs:
        raise UnsupportedCertificate("no input satisfies the file: there is nothing to certify")
    until = time.monotonic() + work.seconds
    found = tuple(
        _prove(work, claim, until - time.monotonic(), f"-{number}")
        for number, claim in enumerate(vnnlib_claims(file))
    )
    return replace(result, certificates=found)


def _prove(work: _Work, claim: Claim, seconds: float, part: str = "") -> CertificateRecord:
    return prove(work.setting, claim, work.path(part), work.config, seconds)


def prove(
    setting: Setting, claim: Claim, path: Path, config: VerifyConfig, seconds: float
) -> CertificateRecord:
    """A certificate that the checker accepts; `NotProved` says why there is none.

    The setting's region is the claim's.
    """
    model = Model(replace(setting, region=claim.region))
    started = time.monotonic()
    reason = "no time left"
    for caution, ordered in ATTEMPTS:
        prover: OutputProver | SlopeProver
        if isinstance(claim, OutputClaim):
            prover = OutputProver(model, claim, caution, ordered)
        else:
            prover = SlopeProver(model, claim, config.quadratic, caution, ordered)
        manifest = _manifest(setting, claim.region, "proof", claim.asked)
        try:
            with CertificateFile(path) as file:
                write_tree(
                    model,
                    prover,
                    claim.region,
                    claim.count,
                    file,
                    lambda: time.monotonic() - started > seconds,
                )
                file.finish(manifest)
        except NotProved as error:
            reason = str(error)
            if time.monotonic() - started > seconds:
                break
            continue
        record = _checked(setting, config, path, "proof", time.monotonic() - started)
        if record.accepted:
            return replace(record, nodes=file.nodes, leaves=file.leaves)
        reason = f"the checker rejects it: {record.reason}"
        path.unlink(missing_ok=True)
    raise NotProved(reason)


def _manifest(setting: Setting, region: AbstractRegion, kind: str, asked: Json) -> Json:
    box = region.bounding
    return {
        "lipcert": 1,
        "kind": kind,
        "claim": "real",
        "precision": precision_for([box.lower, box.upper, box.width, _claimed(asked)]),
        "tool": tool_json(),
        "network": network_json(setting.network),
        "region": region_json(region),
        "property": asked,
    }


def _claimed(asked: Json) -> Tensor:
    """The number that the claim is about, if it is one."""
    numbers = [float.fromhex(asked[name]) for name in ("at_most", "margin") if name in asked]
    return torch.tensor(numbers, dtype=torch.float64)


def _checked(
    setting: Setting, config: VerifyConfig, path: Path, kind: str, seconds: float
) -> CertificateRecord:
    limit = (config.certify or CertifyConfig(path.parent)).check_seconds
    started = time.monotonic()
    report = check(path, Path(setting.network.source), limit)
    return CertificateRecord(
        str(path),
        file_sha256(path),
        kind,
        report.accepted,
        report.reason,
        seconds,
        time.monotonic() - started,
        path.stat().st_size,
    )


def _broken(work: _Work, prop: Property, result: PropertyResult) -> PropertyResult:
    """The counterexample, evaluated exactly. It is falsified all the same if that fails: the
    original network has confirmed it."""
    assert isinstance(result.verdict, Falsified)
    points = counterexample_points(work.setting, prop, result.verdict.counterexample.inputs)
    found = _first_accepted(work, points, "")
    if not found:
        return _given_up(result, "the counterexample has no exact evaluation that shows it")
    return replace(result, certificates=found)


def _first_accepted(
    work: _Work, points: Iterator[Point], part: str
) -> tuple[CertificateRecord, ...]:
    found = witnessed(work.setting, points, work.path(part), work.config)
    return () if found is None else (found,)


def witnessed(
    setting: Setting, points: Iterator[Point], path: Path, config: VerifyConfig
) -> CertificateRecord | None:
    """The first certificate of a witness that the checker accepts, if there is one."""
    for point in points:
        started = time.monotonic()
        kind = "falsified" if point.at_least is None else "attained"
        manifest = _manifest(setting, point.region, kind, point.asked)
        write_witness(path, {**manifest, "witness": point.json})
        with suppress(Unreadable):
            record = _checked(setting, config, path, kind, time.monotonic() - started)
            if record.accepted:
                return replace(record, at_least=point.at_least)
        path.unlink(missing_ok=True)
    return None
