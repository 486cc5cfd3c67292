"""Columns for an audit file from a fitted scikit-learn transformer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lipverify.audit.file import dump_columns
from lipverify.errors import InputError, MissingDependency

Columns = dict[str, dict[str, Any]]
OFFERED = (
    "StandardScaler, MinMaxScaler, OneHotEncoder, OrdinalEncoder, 'passthrough', a "
    "ColumnTransformer of these, or a Pipeline of one of them"
)


class UnsupportedTransformer(InputError):
    """A transformer cannot be written as columns of an audit file."""


def export_columns(
    transformer: Any, columns: Sequence[str] | None = None, path: str | Path | None = None
) -> Columns:
    """What the `columns` of an audit file hold for a fitted transformer, in its output's order.

    `columns` are the table's names that it was fitted on (default: those it remembers). With
    `path`, a file is written that the key `columns` may name. Raises `UnsupportedTransformer` for
    what has no such form, `MissingDependency` without scikit-learn.
    """
    try:
        import sklearn.compose
        import sklearn.pipeline
        import sklearn.preprocessing as kinds
    except ImportError as error:
        raise MissingDependency(
            "scikit-learn is needed; install it with: pip install scikit-learn"
        ) from error
    if columns is None:
        columns = [str(name) for name in getattr(transformer, "feature_names_in_", ())]
        if not columns:
            raise UnsupportedTransformer(
                "the transformer was fitted without column names; give them as `columns`"
            )
    names = list(columns)

    def read(one: Any, of: list[str]) -> Columns:
        match one:
            case "passthrough":
                return {name: {} for name in of}
            case kinds.StandardScaler():
                return _standard(one, of)
            case kinds.MinMaxScaler():
                return _min_max(one, of)
            case kinds.OneHotEncoder():
                return _one_hot(one, of)
            case kinds.OrdinalEncoder():
                return {
                    name: {"type": "ordinal", "categories": _texts(known)}
                    for name, known in zip(of, one.categories_, strict=True)
                }
            case sklearn.pipeline.Pipeline():
                steps = [step for _, step in one.steps if step not in ("passthrough", None)]
                if len(steps) == 1:
                    return read(steps[0], of)
            case sklearn.compose.ColumnTransformer():
                found: Columns = {}
                for _, part, chosen in one.transformers_:
                    if part != "drop":
                        found.update(read(part, _chosen(chosen, of)))
                return found
        raise UnsupportedTransformer(f"{type(one).__name__} is not supported; expected {OFFERED}")

    found = read(transformer, names)
    if path is not None:
        Path(path).write_text(dump_columns(found), encoding="utf-8")
    return found


def _chosen(chosen: Any, names: list[str]) -> list[str]:
    """The columns of one part of a ColumnTransformer, given by name or position."""
    listed = [chosen] if isinstance(chosen, str | int) else list(chosen)
    return [names[one] if isinstance(one, int) else str(one) for one in listed]


def _standard(one: Any, names: list[str]) -> Columns:
    found: Columns = {}
    for place, name in enumerate(names):
        mean = float(one.mean_[place]) if one.with_mean else 0.0
        std = float(one.scale_[place]) if one.with_std else 1.0
        found[name] = {"standard": {"mean": mean, "std": std}}
    return found


def _min_max(one: Any, names: list[str]) -> Columns:
    if tuple(one.feature_range) != (0, 1) or one.clip:
        raise UnsupportedTransformer("MinMaxScaler: expected feature_range (0, 1), without clip")
    ends = zip(names, one.data_min_, one.data_max_, strict=True)
    return {
        name: {"min-max": {"min": float(low), "max": float(high)}} if high > low else {}
        for name, low, high in ends
    }


def _one_hot(one: Any, names: list[str]) -> Columns:
    if one.drop is not None:
        raise UnsupportedTransformer("OneHotEncoder: expected drop=None; one input per category")
    return {
        name: {"type": "one-hot", "categories": _texts(known)}
        for name, known in zip(names, one.categories_, strict=True)
    }


def _texts(known: Any) -> list[str]:
    return [str(value) for value in known]
