"""statement.json (an in-toto Statement v1) and SHA256SUMS: what the bundle's files are."""

import json
from collections.abc import Mapping
from pathlib import Path

from lipverify.evidence.bundle.record import Record

STATEMENT, SUMS, SIGNATURE, KEY = "statement.json", "SHA256SUMS", "statement.sig", "signer.pem"
UNLISTED = (STATEMENT, SUMS, SIGNATURE)
"""The statement does not list itself, what is made of it, and what lists it."""
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:lipverify:evidence:1"


def files_of(folder: Path) -> list[str]:
    """All that is in the folder and no folder itself, links included, by name."""
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(path.relative_to(folder).as_posix() for path in found)


def statement_text(record: Record, digests: Mapping[str, str]) -> str:
    """Subjects are all files but the `UNLISTED`."""
    document = {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": name, "digest": {"sha256": digests[name]}}
            for name in sorted(digests)
            if name not in UNLISTED
        ],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "tool": record.tool.model_dump(),
            "record": "record.json",
            "coverage": record.coverage.model_dump(),
            "properties": [
                {
                    "id": p.id,
                    "spec": p.spec,
                    "index": p.index,
                    "asked": p.asked,
                    "requirements": p.requirements,
                    "verdict": p.verdict,
                    "status": p.status,
                }
                for p in record.properties
            ],
        },
    }
    return json.dumps(document, indent=1) + "\n"


def sums_text(digests: Mapping[str, str]) -> str:
    """In the form of sha256sum; all files but the list itself."""
    return "".join(f"{digests[name]}  {name}\n" for name in sorted(digests) if name != SUMS)
