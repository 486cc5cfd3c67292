"""Questions, regions and numbers in words that a reviewer reads."""

from math import isfinite

from lipverify import figures
from lipverify.audit.columns import Feature
from lipverify.audit.context import Context
from lipverify.audit.question import Direction, Question, Region, RegionKind

DIGITS = 5

NOT_SHOWN = (
    "Only the features, regions and records named here were looked at. A verified answer holds for "
    "all real numbers of its region, also between the values that occur in data; it says nothing "
    "outside of it.",
    "The claims are about the network's stored weights in real arithmetic, behind the scaling that "
    "the audit file states. Another implementation of that scaling, or another precision, gives "
    "other last digits.",
    "A verified direction says that the model's output moves that way, not that the world does, "
    "nor that the model is accurate, calibrated or causal.",
    "Moving one feature while the others stay may give records that cannot exist (a feature may be "
    "computed from another one).",
    "A share of verified records is a share of these records, not a probability for new ones.",
)
"""What an audit does not show; part of every report."""


def number(value: float) -> str:
    """To a few digits, to nearest."""
    return f"{value:.{DIGITS + 1}g}"


def down(value: float) -> str:
    """A lower end to a few digits, none above `value`."""
    return figures.lower(value, DIGITS) if isfinite(value) else "not bounded"


def up(value: float) -> str:
    """An upper end to a few digits, none below `value`."""
    return figures.upper(value, DIGITS) if isfinite(value) else "not bounded"


def interval(low: float, high: float) -> str:
    if not isfinite(low) and not isfinite(high):
        return "not bounded"
    return f"[{down(low)}, {up(high)}]"


def share(part: int, whole: int) -> str:
    """In percent; 100 % and 0 % only where it is all and none."""
    if not whole:
        return "-"
    percent = 100.0 * part / whole
    if 0 < part < whole:
        percent = min(max(percent, 0.1), 99.9)
    return f"{percent:.1f} %" if 0 < part < whole else f"{percent:.0f} %"


def value_of(feature: Feature, inputs: tuple[float, ...]) -> str:
    """A feature's value of an input [n], with its unit."""
    shown = feature.shown([inputs[at] for at in feature.inputs])
    text = shown if isinstance(shown, str) else f"{shown:.9g}"
    return f"{text} {feature.unit}".strip()


def title(question: Question) -> str:
    return f"{question.feature}, {question.direction.value} ({question.region.name})"


def claim(context: Context, question: Question) -> str:
    """The claim about one feature in one region, in a sentence."""
    feature = context.features[question.feature]
    unit = f" {feature.unit}" if feature.unit else ""
    run = "takes any of its categories"
    if not feature.is_group:
        run = f"runs from {feature.lower:g} to {feature.upper:g}{unit}"
    name = context.target.name
    name = name if name.startswith("output") else f"the {name}"
    where = region_words(question.region, question.feature)
    if question.direction is Direction.INSENSITIVE:
        return (
            f"While {question.feature} {run}, {where}, {name} moves by at most "
            f"{question.at_most:g}."
        )
    falls = "falls" if question.direction is Direction.INCREASING else "rises"
    rate = ""
    if context.audit.margin:
        rate = f" (and changes by at least {context.audit.margin:g} per unit)"
    return f"While {question.feature} {run}, {where}, {name} never {falls}{rate}."


def region_words(region: Region, moving: str) -> str:
    """Where the other features are."""
    match region.kind:
        case RegionKind.LINE:
            text = "all other features as in the record"
        case RegionKind.NEIGHBOURHOOD:
            near = ", ".join(f"{name} by {radius:g}" for name, radius in region.radius)
            near = near or f"{100 * region.share:g} % of its range"
            text = f"every other numeric feature up to {near} from the record"
            if region.radius:
                text = f"others up to ({near}) from the record, the rest as in it"
        case RegionKind.JOINT:
            others = ", ".join(name for name in region.features if name != moving)
            text = f"with {others} anywhere in their ranges and the rest as in the record"
        case RegionKind.GLOBAL:
            text = "all other features anywhere in their ranges, whatever the record"
    if region.where:
        text += ", where " + " and ".join(condition.text for condition in region.where)
    return text
