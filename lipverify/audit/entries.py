"""The entries of audit files, as pydantic models. Each checks itself; `file.py` joins them."""

from typing import Annotated, Any, final

from pydantic import Field, PlainValidator, model_validator

from lipverify.audit.columns import Column, ColumnType
from lipverify.spec import arrays
from lipverify.spec.fields import Entry, Number, Text
from lipverify.spec.problem import Misfit, hint, shown

REGIONS = ("line", "neighbourhood", "joint", "global", "conditional")
LINKS = ("softmax", "sigmoid")

Anything = Annotated[Any, PlainValidator(lambda value: value)]


def _words(value: object) -> tuple[str, ...]:
    """Names or category texts; numbers and true/false are taken by their text in YAML."""
    if not isinstance(value, list) or not value:
        raise Misfit(f"expected a list of names, found {shown(value)}")
    found: list[str] = []
    for position, item in enumerate(value):
        if not isinstance(item, str | int | float) or isinstance(item, bool):
            raise Misfit(f"expected a text, found {shown(item)}; put it in quotes", position)
        if str(item) in found:
            raise Misfit(f"{item!r} is named twice; remove one", position)
        found.append(str(item))
    return tuple(found)


def _numbers(value: object) -> tuple[float, ...]:
    if not isinstance(value, list) or not value:
        raise Misfit(f"expected a list of numbers, found {shown(value)}")
    return tuple(arrays.number(item) for item in value)


def _two(value: object) -> tuple[float, float]:
    if not isinstance(value, list) or len(value) != 2:
        raise Misfit(f"expected two ends such as [18, 90], found {shown(value)}")
    low, high = _numbers(value)
    if not low < high:
        raise Misfit(f"expected lower < upper, found {low} and {high}")
    return low, high


def _per_feature(value: object) -> dict[str, float] | float:
    """One number for all features, or a mapping from names to numbers; all >= 0."""
    if isinstance(value, dict):
        return {str(name): _not_negative(number) for name, number in value.items()}
    return _not_negative(value)


def _not_negative(value: object) -> float:
    number = arrays.number(value)
    if number < 0:
        raise Misfit(f"expected a number >= 0, found {number}")
    return number


def _choice(known: tuple[str, ...]) -> PlainValidator:
    def validate(value: object) -> str:
        if not isinstance(value, str) or value not in known:
            near = hint(value, known) if isinstance(value, str) else f"known: {', '.join(known)}"
            raise Misfit(f"expected one of {', '.join(known)}, found {shown(value)}; {near}")
        return value

    return PlainValidator(validate)


Words = Annotated[tuple[str, ...], PlainValidator(_words)]
Numbers = Annotated[tuple[float, ...], PlainValidator(_numbers)]
Two = Annotated[tuple[float, float] | None, PlainValidator(_two)]
PerFeature = Annotated[dict[str, float] | float | None, PlainValidator(_per_feature)]
Size = Annotated[float | None, PlainValidator(_not_negative)]
Position = Annotated[int | None, PlainValidator(lambda value: _position(value))]


def _position(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise Misfit(f"expected a position 0, 1, 2, ..., found {shown(value)}")
    return value


@final
class TableEntry(Entry):
    file: Text = Field(description="a CSV or Parquet file, relative to this one")
    separator: Text = ","
    missing: Words = ("",)


@final
class StandardEntry(Entry):
    mean: Number = Field(description="of the column")
    std: Number = Field(description="of the column, > 0")

    @model_validator(mode="after")
    def _check(self) -> "StandardEntry":
        if not self.std > 0:
            raise Misfit(f"expected std > 0, found {self.std}", "std")
        return self


@final
class MinMaxEntry(Entry):
    min: Number = Field(description="what becomes 0")
    max: Number = Field(description="what becomes 1")

    @model_validator(mode="after")
    def _check(self) -> "MinMaxEntry":
        if not self.max > self.min:
            raise Misfit(f"expected max > min, found {self.max} and {self.min}", "max")
        return self


@final
class ColumnEntry(Entry):
    type: Annotated[str, _choice(tuple(kind.value for kind in ColumnType))] = "number"
    range: Two = None
    categories: Words = ()
    codes: Numbers = ()
    standard: Anything = None
    min_max: Anything = Field(default=None, alias="min-max")
    unit: Text = ""

    @model_validator(mode="after")
    def _check(self) -> "ColumnEntry":
        kind = ColumnType(self.type)
        listed = kind in (ColumnType.ORDINAL, ColumnType.ONE_HOT)
        if listed and not self.categories:
            raise Misfit(f"type {self.type} needs 'categories', a list in the order of the codes")
        if self.categories and not listed:
            raise Misfit(f"type {self.type} has no categories; remove them", "categories")
        if self.codes and kind is not ColumnType.ORDINAL:
            raise Misfit(f"type {self.type} has no codes; remove them", "codes")
        if self.codes and len(set(self.codes)) != len(self.categories):
            raise Misfit("expected one code per category, all different", "codes")
        if self.standard is not None and self.min_max is not None:
            raise Misfit("expected standard or min-max, not both", "min-max")
        if kind is ColumnType.ONE_HOT and (self.standard or self.min_max or self.range):
            raise Misfit("a one-hot column enters as 0 and 1: no scaling, no range")
        if kind is ColumnType.ORDINAL and self.range:
            raise Misfit("an ordinal column has categories, no range", "range")
        return self

    def column(self, name: str, mean: float, std: float) -> Column:
        kind = ColumnType(self.type)
        codes = self.codes
        if kind is ColumnType.ORDINAL and not codes:
            codes = tuple(float(code) for code in range(len(self.categories)))
        return Column(name, kind, self.range, self.categories, codes, mean, std, self.unit)


@final
class OutputEntry(Entry):
    index: Position = None
    weights: Numbers = ()
    probability: Position = None
    log_odds: Position = None
    link: Annotated[str, _choice(LINKS)] = ""
    label: Text = ""

    @model_validator(mode="after")
    def _check(self) -> "OutputEntry":
        given = [self.index is not None, bool(self.weights), self.probability is not None]
        given.append(self.log_odds is not None)
        if sum(given) != 1:
            raise Misfit("expected one of index, weights, probability, log_odds")
        if self.link and self.probability is None and self.log_odds is None:
            raise Misfit("a link belongs to probability or log_odds; remove it", "link")
        return self


@final
class InsensitiveEntry(Entry):
    feature: Text = Field(description="the protected feature")
    at_most: Size = Field(default=None, description="by how much the output may move")


@final
class RegionEntry(Entry):
    kind: Annotated[str, _choice(REGIONS)] = Field(description="one of " + ", ".join(REGIONS))
    name: Text = ""
    radius: PerFeature = None
    share: Size = None
    features: Words = ()
    where: Words = ()
    of: Annotated[str, _choice(REGIONS[:-1])] = "global"

    @model_validator(mode="after")
    def _check(self) -> "RegionEntry":
        around = "neighbourhood" in (self.kind, self.of)
        if self.share is not None and self.share > 1:
            raise Misfit(f"expected a share of the range, 0 to 1, found {self.share}", "share")
        if around and (self.radius is None) == (self.share is None):
            raise Misfit("a neighbourhood needs 'radius' or 'share' (of each feature's range)")
        if not around and not (self.radius is None and self.share is None):
            raise Misfit(f"a {self.kind} region has no radius; remove it")
        joint = "joint" in (self.kind, self.of)
        if joint and len(self.features) < 2:
            raise Misfit("a joint region needs 'features', two or more that move together")
        if self.features and not joint:
            raise Misfit(f"a {self.kind} region has no features; remove them", "features")
        if self.kind == "conditional" and not self.where:
            raise Misfit("a conditional region needs 'where', such as [age >= 18]")
        if self.kind != "conditional" and self.of != "global":
            raise Misfit("'of' belongs to conditional regions; remove it", "of")
        return self


@final
class AuditEntry(Entry):
    lipverify: Anything
    kind: Anything
    name: Text = ""
    network: Text = Field(description="the network's file, relative to this one")
    table: Anything = Field(description="the table's file, relative to this one")
    columns: Anything = Field(description="the network's inputs, by column")
    groups: Anything = None
    output: Anything = 0
    increasing: Words = ()
    decreasing: Words = ()
    insensitive: Anything = None
    delta: Size = None
    margin: Number = 0.0
    regions: Anything = None
