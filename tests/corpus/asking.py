"""The solver's answers to a case's claims, with the budgets of tests: steps, not seconds."""

from dataclasses import replace
from pathlib import Path

from lipverify.api import verify_spec
from lipverify.config import PreactivationConfig, VerifyConfig, WitnessConfig
from lipverify.evidence import PropertyResult
from lipverify.network import Network, load_network
from lipverify.spec import Spec, bind, read_spec
from tests.corpus.case import Case, Claim

CONFIG = VerifyConfig(
    timeout=None,
    max_subproblems=20,
    preactivation=PreactivationConfig(alpha_iterations=3),
    witness=WitnessConfig(samples=128, ascents=4, climbers=4, steps=6, programs=20),
)


def ask(
    case: Case, method: str, folder: Path, most: int | None = None
) -> list[tuple[Claim, PropertyResult]]:
    """The claims (the `most` most telling ones) with their answers."""
    network, spec = loaded(case, folder)
    asked = list(zip(case.claims, spec.properties, strict=True))
    if most is not None:
        asked = sorted(asked, key=lambda pair: _tells(pair[0]))[:most]
    properties = tuple(prop for _, prop in asked)
    config = replace(CONFIG, method=method)
    answers = verify_spec(network, replace(spec, properties=properties), config)
    return [(claim, answer) for (claim, _), answer in zip(asked, answers, strict=True)]


def loaded(case: Case, folder: Path) -> tuple[Network, Spec]:
    """The case from its files; the spec's properties are its claims, in order."""
    written = case.write(folder)
    network = load_network(written.network)
    graph = network.graph
    return network, bind(read_spec(written.spec), graph.input_size, graph.output_size)


def _tells(claim: Claim) -> int:
    """Small for plain intervals, then for false claims by their distance to the truth."""
    entry = claim.entry
    if claim.truth is False:
        return 1
    return 0 if claim.kind == "lipschitz" and "at_most" not in entry else 2
