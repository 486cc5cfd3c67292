"""What a checkpoint is of: a resumed run has to ask the same of the same network."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lipverify import __version__
from lipverify.config import VerifyConfig
from lipverify.network import Network
from lipverify.spec import Spec
from lipverify.spec.digest import digest

FORMAT = 1
"""Of the files; raised with every change of what they mean."""

BUDGETS = {"timeout", "max_subproblems", "memory", "checkpoint", "certify"}
"""Settings that a resumed run may change."""


@dataclass(frozen=True)
class Identity:
    """`question` is a digest of region, properties and feature names."""

    format: int
    lipverify: str
    network: str
    question: str
    settings: Mapping[str, Any]

    def difference(self, other: Mapping[str, Any]) -> str | None:
        """What `other`, read from a file, was made for instead; None if for the same."""
        mine = asdict(self)
        if other.get("format") != self.format:
            return f"of format {other.get('format')!r}, expected {self.format}"
        if other.get("lipverify") != self.lipverify:
            return f"by lipverify {other.get('lipverify')!r}, this is {self.lipverify}"
        if other.get("network") != self.network:
            return "for another network"
        if other.get("question") != self.question:
            return "for another region, or other properties"
        theirs = other.get("settings")
        if not isinstance(theirs, Mapping):
            return "without settings"
        for name in {**mine["settings"], **theirs}:
            if theirs.get(name) != self.settings.get(name):
                return f"with {name} {theirs.get(name)!r}, this run has {self.settings.get(name)!r}"
        return None


def identity(network: Network, spec: Spec, config: VerifyConfig) -> Identity:
    chosen = {key: value for key, value in asdict(config).items() if key not in BUDGETS}
    settings = json.loads(json.dumps(chosen))  # as it is read back
    question = digest((spec.region, spec.properties, spec.features))
    read = network.sha256 + network.reading.digest
    return Identity(FORMAT, __version__, read, question, settings)
