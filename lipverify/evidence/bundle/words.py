"""What a record says in words: assumptions, limits, names of sets."""

from collections.abc import Sequence

from lipverify.evidence.bundle.record import Assumption, Coverage, Property

BOUNDED_SETS = {
    "lipschitz": "upper end: the gate-product set (the chain rule with every gate's interval of "
    "slopes), whose convex hull contains the Clarke Jacobian; lower end: attained by the Clarke "
    "Jacobian at the witness",
    "monotonicity": "derivatives in the gate-product set, whose convex hull contains the Clarke "
    "Jacobian",
    "robustness": "outputs of the network over the region",
    "radius": "outputs of the network over balls around the region's centre",
    "vnnlib": "outputs of the network over the file's boxes of inputs",
}

ASSUMPTIONS = (
    Assumption(
        id="A1",
        text="Claims are about the function that the stored weights define in real arithmetic. "
        "A deployment computes in rounded arithmetic; how far that is off is not bounded here.",
    ),
    Assumption(
        id="A2",
        text="At a kink a gate takes every slope between its one-sided slopes (ReLU at 0: the "
        "interval [0, 1]).",
    ),
    Assumption(
        id="A3",
        text="The operators of the file mean what the ONNX standard says. The reader's graph was "
        "compared with onnxruntime at random points, which is no proof.",
    ),
    Assumption(
        id="A4",
        text="Inputs reach the network as the spec says: same units, same preprocessing, no other "
        "step before or after.",
    ),
    Assumption(
        id="A5",
        text="Excluded nondeterminism: time limits may end a search earlier or later, and several "
        "threads may sum in another order. Either may change an interval, not the truth of a "
        "verdict.",
    ),
    Assumption(
        id="A6",
        text="The spec states what its requirements mean. That is a person's judgement.",
    ),
)


def limits(properties: Sequence[Property], coverage: Coverage) -> list[str]:
    """What the evidence does not show."""
    found = [
        "Every claim is about the region written in its spec, and about no input outside of it."
    ]
    if coverage.unknown:
        found.append(
            f"{coverage.unknown} of {coverage.properties} properties are unknown: neither proved "
            "nor refuted."
        )
    if coverage.falsified:
        found.append(
            f"{coverage.falsified} of {coverage.properties} properties are falsified: they do not "
            "hold."
        )
    bare = coverage.verified - coverage.certified
    if bare:
        found.append(
            f"{bare} of {coverage.verified} verified properties have no certificate that states "
            "them and that the checker accepts: they rest on the solver's float64 arithmetic, "
            "moved outward by a bound of its rounding error, and on the solver's code."
        )
    unconfirmed = [p.id for p in properties if p.verdict == "falsified" and p.status != "refuted"]
    if unconfirmed:
        found.append(f"The counterexamples of {', '.join(unconfirmed)} could not be replayed here.")
    if coverage.unanswered:
        found.append(
            f"Without any answer: {', '.join(coverage.unanswered)}. They are not part of the "
            "argument."
        )
    if any(p.remark for p in properties):
        found.append("Remarks at single properties restrict what their verdicts say.")
    return found
