"""Checkpoint files: written all or not at all, read with suspicion.

A zip archive (stored, with a checksum per member): JSON texts and numpy arrays, no pickles.
"""

import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.lib import format as npy
from numpy.typing import NDArray

from lipverify.errors import CheckpointError

UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    ValueError,  # also bad JSON, bad UTF-8
    NotImplementedError,  # compressions that zipfile does not know
    RuntimeError,  # encrypted members
    RecursionError,
    MemoryError,
    OverflowError,
)
"""What a file that is not as it was written can make the readers raise."""


def text_bytes(tree: Any) -> bytes:
    """JSON; floats are written so that they are read back bit by bit."""
    return json.dumps(tree, allow_nan=False, separators=(",", ":")).encode()


def array_bytes(array: NDArray[Any]) -> bytes:
    """The numpy format."""
    buffer = io.BytesIO()
    npy.write_array(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def read_array(data: bytes) -> NDArray[Any]:
    return npy.read_array(io.BytesIO(data), allow_pickle=False)


def write(path: Path, members: Mapping[str, bytes]) -> None:
    """Replace the file by one with these members, even if the machine stops midway.

    Raises `CheckpointError`; the file that was there is whole then.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as stream:
            with zipfile.ZipFile(stream, "w") as archive:
                for name, data in members.items():
                    text = name.endswith(".json")
                    method = zipfile.ZIP_DEFLATED if text else zipfile.ZIP_STORED
                    archive.writestr(name, data, method, 1)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise CheckpointError(
            f"{path}: the checkpoint cannot be written: {error.strerror or error}"
        ) from error


def read(path: Path) -> dict[str, bytes]:
    """All members, each held against its checksum. Raises `CheckpointError`."""
    try:
        # Read at once: a damaged archive has places that no file has, which are errors of seek.
        with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except OSError as error:
        raise CheckpointError(
            f"{path}: the checkpoint cannot be read: {error.strerror or error}"
        ) from error
    except UNREADABLE as error:
        raise damaged(path, str(error)) from error


def damaged(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"{path}: is no checkpoint, or a damaged one ({why}); nothing of it was used. Remove the "
        "file, or name another, to start afresh"
    )


def _sync_folder(folder: Path) -> None:
    """So that the new name lasts; where folders cannot be opened, there is nothing to do."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


__all__ = ["UNREADABLE", "array_bytes", "damaged", "read", "read_array", "text_bytes", "write"]
