"""The results of a run as JSON (DESIGN section 6)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from lipverify.evidence.record import PropertyResult
from lipverify.evidence.run_record import RunRecord


@dataclass(frozen=True)
class SpecFailure:
    """A spec that gave no answer, or not all of them; `spec` is its path as given."""

    spec: str
    message: str


def report(
    version: str,
    results: Iterable[PropertyResult],
    failures: Iterable[SpecFailure],
    run: RunRecord | None = None,
) -> dict[str, Any]:
    """What `--json` writes; made of what JSON has only, so without NaN and infinities."""
    return {
        "lipverify": version,
        **({} if run is None else {"run": _plain(run.as_json())}),
        "results": [_plain(result.as_json()) for result in results],
        "errors": [{"spec": failure.spec, "message": failure.message} for failure in failures],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not isfinite(value):
        return None
    return value
