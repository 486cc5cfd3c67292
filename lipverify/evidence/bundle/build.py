"""From results, specs and networks to the record."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from lipverify import __version__
from lipverify.evidence.bundle import certificates, facts, words
from lipverify.evidence.bundle import record as r
from lipverify.evidence.bundle.replay import Replayed, replay_counterexample, replay_witness
from lipverify.evidence.bundle.results import ResultFile
from lipverify.evidence.bundle.sources import Source

RUN_KEYS = tuple(name for name in r.Run.model_fields if name not in ("lipverify", "errors"))
VERIFY_OPTIONS = {
    "method": "--method",
    "timeout": "--timeout",
    "max_subproblems": "--max-subproblems",
    "seed": "--seed",
    "branching": "--branching",
    "solver": "--solver",
}
GIGABYTE = 1e9


def build_record(
    results: Sequence[ResultFile],
    sources: Mapping[tuple[int, int], Source],
    places: Mapping[Path, str],
    filed: Mapping[tuple[int, int], Sequence[r.Certificate]],
    graphs: Mapping[str, str | None],
) -> r.Record:
    """The record; sources and certificates are found by (file, result), both counted from 0.

    `graphs` leads from a network's place to that of its drawing.
    """
    properties = [
        _property(f"P{number + 1}", key, result, sources[key], places, filed.get(key, ()))
        for number, (key, result) in enumerate(
            ((i, j), result)
            for i, file in enumerate(results)
            for j, result in enumerate(file.results)
        )
    ]
    different = list({places[source.path]: source for source in sources.values()}.values())
    networks = {places[source.network_path]: source for source in different}
    specs = [facts.spec_facts(source, places) for source in different]
    known = {f"{p.spec}[{p.index}]" for p in properties}
    coverage = _coverage(properties, len(specs), facts.unanswered(different, places, known))
    return r.Record(
        format=1,
        tool=r.Tool(name="lipverify", version=__version__),
        runs=[_run(file) for file in results],
        networks=[
            facts.network_facts(source, places, graphs[path]) for path, source in networks.items()
        ],
        specs=specs,
        properties=properties,
        assumptions=list(words.ASSUMPTIONS),
        limits=words.limits(properties, coverage),
        coverage=coverage,
        traceability=[_trace(name, p) for p in properties for name in p.requirements],
        checker=f"lipverify.checker {__version__}" if certificates.is_available() else "none",
        reproduce=_commands(results, properties, specs),
    )


def _property(
    name: str,
    key: tuple[int, int],
    result: Mapping[str, Any],
    source: Source,
    places: Mapping[Path, str],
    filed: Sequence[r.Certificate],
) -> r.Property:
    index = int(result["property"])
    prop = source.spec.properties[index]
    bound = None if result["bound"] is None else r.Interval(**result["bound"])
    replay = _replay(source, index, result)
    certificate = filed[0] if filed else None
    return r.Property(
        id=name,
        spec=places[source.path],
        index=index,
        kind=result["kind"],
        asked=result["asked"],
        requirements=result["requirements"],
        norms=facts.norms_of(prop),
        threshold=facts.threshold_of(prop),
        verdict=result["verdict"],
        reason=result["reason"],
        status=_status(result["verdict"], replay, certificate),
        claim=result["claim"],
        bounded_set=words.BOUNDED_SETS[result["kind"]],
        bound=bound,
        gap=facts.gap_of(bound),
        features=[
            r.Feature(**{field: f[field] for field in r.Feature.model_fields})
            for f in result.get("features", ())
        ],
        method=result["method"],
        subproblems=result["subproblems"],
        seconds=result["seconds"],
        stages=[r.Stage(**stage) for stage in result["stages"]],
        timeline=result["timeline"],
        witness=None if result["witness"] is None else r.Witness(**result["witness"]),
        counterexample=None
        if (found := result["counterexample"]) is None
        else r.Counterexample(**{field: found[field] for field in r.Counterexample.model_fields}),
        replay=None
        if replay is None
        else r.Replay(
            confirmed=replay.confirmed,
            outputs=[list(row) for row in replay.outputs],
            deviation=replay.deviation,
            detail=replay.detail,
        ),
        certificate=certificate,
        more_certificates=list(filed[1:]),
        remark=result.get("remark", ""),
        question_sha256=result["question_sha256"],
        resumed=bool(result.get("resumed", False)),
        run=key[0],
    )


def _replay(source: Source, index: int, result: Mapping[str, Any]) -> Replayed | None:
    found, witness = result["counterexample"], result["witness"]
    if found is not None:
        return replay_counterexample(source.network, source.spec, index, found)
    if witness is None or result["bound"] is None:
        return None
    lower = result["bound"]["lower"]
    return replay_witness(source.network, source.spec, index, witness["input"], lower)


def _status(verdict: str, replay: Replayed | None, certificate: r.Certificate | None) -> r.Status:
    """Established only if nothing speaks against it; refuted only if it was seen again."""
    rejected = certificate is not None and certificate.denies
    denied = replay is not None and not replay.confirmed
    if verdict == "verified" and not rejected and not denied:
        return "established"
    return "refuted" if verdict == "falsified" and not denied and replay is not None else "open"


def _run(file: ResultFile) -> r.Run:
    known = {name: file.run[name] for name in RUN_KEYS}
    return r.Run(lipverify=file.version, errors=list(file.errors), **known)


def _coverage(properties: Sequence[r.Property], specs: int, unanswered: list[str]) -> r.Coverage:
    verdicts = [p.verdict for p in properties]
    return r.Coverage(
        specs=specs,
        properties=len(properties),
        verified=verdicts.count("verified"),
        falsified=verdicts.count("falsified"),
        unknown=verdicts.count("unknown"),
        certified=sum(
            p.status == "established" and p.certificate is not None and p.certificate.proves
            for p in properties
        ),
        unanswered=unanswered,
    )


def _trace(requirement: str, prop: r.Property) -> r.Trace:
    certificate = prop.certificate
    return r.Trace(
        requirement=requirement,
        property=prop.id,
        asked=prop.asked,
        verdict=prop.verdict,
        status=prop.status,
        certificate="none" if certificate is None else f"{certificate.path} ({certificate.word})",
    )


def _commands(
    results: Sequence[ResultFile], properties: Sequence[r.Property], specs: Sequence[r.SpecFile]
) -> list[str]:
    """One per spec, with the settings of its run; each in the bundle's folder."""
    found = []
    for spec in specs:
        first = next(p for p in properties if p.spec == spec.path)
        run = results[first.run].run
        options: list[str] = []
        for key, flag in VERIFY_OPTIONS.items():
            value = run["settings"].get(key)
            if value is not None:
                options += [flag, str(value)]
            elif key == "timeout":
                options += [flag, "inf"]
        memory = run["settings"].get("memory")
        options += [] if memory is None else ["--memory", f"{memory / GIGABYTE:g}"]
        options += ["--threads", str(run["threads"])]
        found.append(" ".join(map(quote, ("lipverify", *spec.verify, *options))))
    return found
