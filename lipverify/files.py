"""Digests of files, and names for files that are made."""

import hashlib
from pathlib import Path

CHUNK = 1 << 20


def file_sha256(path: Path) -> str:
    """In hexadecimal; the file is read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def distinct_name(stem: str, where: str) -> str:
    """A file's name without its ending: readable by `stem`, distinct for each `where`."""
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in stem)
    return f"{safe[:80]}-{hashlib.sha256(where.encode()).hexdigest()[:8]}"
