"""JSON files."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lipverify.errors import InputError

STDOUT = "-"


def check_writable(file: str | None, option: str) -> None:
    """`InputError` if `file` cannot be written later; to be called before long work starts."""
    if file is None or file == STDOUT:
        return
    path = Path(file)
    if path.is_dir():
        raise InputError(f"{option} {file}: is a folder; name a file in it")
    if not path.parent.is_dir():
        raise InputError(f"{option} {file}: the folder {path.parent} does not exist; make it first")


def write_text(file: str, text: str) -> None:
    """Write all of `text` or nothing: into a file beside it that is then renamed."""
    path = Path(file)
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error.strerror}") from error


def write_json(file: str, document: Mapping[str, Any]) -> None:
    """Write `document` to the file, or to stdout for "-"."""
    text = json.dumps(document, indent=2, allow_nan=False) + "\n"
    if file == STDOUT:
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        write_text(file, text)
