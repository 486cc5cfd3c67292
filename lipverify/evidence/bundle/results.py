"""Result files, as `lipverify verify --json FILE` writes them, read back."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lipverify.errors import InputError

NEEDED = ("spec", "name", "property", "kind", "verdict", "network_sha256", "question_sha256")


@dataclass(frozen=True)
class ResultFile:
    """One file: `run` as in its JSON, the results, the errors in words."""

    path: Path
    version: str
    run: dict[str, Any]
    results: tuple[dict[str, Any], ...]
    errors: tuple[str, ...]

    def find(self, name: str) -> Path:
        """A file that it names: relative to the working folder, or to its own."""
        for place in (Path(name), self.path.parent / name):
            if place.is_file():
                return place
        raise InputError(
            f"{self.path}: names {name}, which is neither in the working folder nor in "
            f"{self.path.parent}; run this in the folder where `lipverify verify` was run"
        )


def read_results(paths: Sequence[str | Path]) -> list[ResultFile]:
    """All result files; `InputError` for what cannot be used, and for answers given twice."""
    found = [_read(Path(path)) for path in paths]
    seen: dict[tuple[str, int, str], Path] = {}
    for file in found:
        for result in file.results:
            spec = str(file.find(result["spec"]).resolve())
            key = (spec, int(result["property"]), str(result.get("network")))
            if key in seen:
                raise InputError(
                    f"{file.path}: property {key[1]} of {result['spec']} is also answered in "
                    f"{seen[key]}; give one of the two"
                )
            seen[key] = file.path
    if not any(file.results for file in found):
        raise InputError("the result files hold no results; nothing can be filed")
    return found


def _read(path: Path) -> ResultFile:
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path}: is not JSON ({error}); {_EXPECTED}") from error
    if not isinstance(document, dict) or not isinstance(document.get("results"), list):
        raise InputError(f"{path}: holds no results; {_EXPECTED}")
    if not isinstance(document.get("run"), dict):
        raise InputError(f"{path}: does not say how its run was made; verify again")
    for position, result in enumerate(document["results"]):
        missing = [key for key in NEEDED if key not in result]
        if missing:
            raise InputError(f"{path}: results[{position}] lacks {missing[0]!r}; verify again")
        if not result["spec_sha256"]:
            raise InputError(
                f"{path}: results[{position}] is about no spec file; write one and verify it"
            )
    return ResultFile(
        path,
        str(document.get("lipverify")),
        document["run"],
        tuple(document["results"]),
        tuple(f"{entry['spec']}: {entry['message']}" for entry in document.get("errors", ())),
    )


_EXPECTED = "expected a file written by `lipverify verify --json FILE`"
