"""Answers in the words and forms of the verification competition (VNN-COMP).

There, a property says what is to be found: `sat` is our falsified, `unsat` our verified.
"""

from collections.abc import Iterator

from lipverify.evidence.record import PropertyResult
from lipverify.spec.property import Property, VnnLib
from lipverify.spec.vnnlib import VnnLibFile
from lipverify.verdict import Counterexample, Falsified, Reason, Unknown, Verified

WORDS = ("sat", "unsat", "timeout", "unknown", "error")
SOLVED = ("sat", "unsat")
ERROR = "error"
"""Of a property that gave no answer."""


def word(result: PropertyResult) -> str:
    """One of `WORDS`."""
    match result.verdict:
        case Verified():
            return "unsat"
        case Falsified():
            return "sat"
        case Unknown(Reason.TIMEOUT):
            return "timeout"
        case _:
            return "unknown"


def results_text(result: PropertyResult, prop: Property) -> str:
    """The word in the first line; after `sat`, what satisfies the property."""
    lines = [word(result)]
    if isinstance(result.verdict, Falsified):
        found = result.verdict.counterexample
        if isinstance(prop, VnnLib) and prop.file.declared.version == 2:
            lines.extend(_assignments(prop.file, found))
        elif len(found.inputs) == 1:
            lines.append(_pairs(found))
    return "\n".join(lines) + "\n"


def _pairs(found: Counterexample) -> str:
    """((X_0 0.5) ... (Y_0 1.25)), one pair in each line."""
    (x,), (y,) = found.inputs, found.outputs
    pairs = [f"(X_{index} {value!r})" for index, value in enumerate(x.tolist())]
    pairs += [f"(Y_{index} {value!r})" for index, value in enumerate(y.tolist())]
    return "(" + "\n ".join(pairs) + ")"


def _assignments(file: VnnLibFile, found: Counterexample) -> Iterator[str]:
    """Version 2: each variable's name, type and shape, then its elements, one in a line."""
    for network, x, y in zip(file.declared.networks, found.inputs, found.outputs, strict=True):
        for tensor, values in ((network.input, x.tolist()), (network.output, y.tolist())):
            yield f"{tensor.name} {tensor.type} [{','.join(str(size) for size in tensor.shape)}]"
            yield from (repr(value) for value in values)
