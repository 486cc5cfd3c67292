"""Digests of what is asked: regions, properties, and whatever they are made of."""

import hashlib
from dataclasses import fields, is_dataclass

import numpy as np
from torch import Tensor

from lipverify.norms import AbstractNorm
from lipverify.reading import Reading
from lipverify.region import AbstractRegion
from lipverify.spec.property import Property
from lipverify.spec.vnnlib.read import VnnLibFile


def question_digest(
    region: AbstractRegion, prop: Property, features: tuple[str, ...], reading: Reading
) -> str:
    """SHA-256 of one question: two that agree ask the same of a network, whatever their files."""
    return digest((region, prop, features, reading.digest))


def digest(value: object) -> str:
    """SHA-256 of a record of numbers, texts, tensors and norms, nested in any way."""
    found = hashlib.sha256()
    _feed(found, value)
    return found.hexdigest()


def _feed(found: "hashlib._Hash", value: object) -> None:
    """Every part with its kind and length, so that no two records give the same bytes."""
    if isinstance(value, Tensor | np.ndarray):
        array = np.ascontiguousarray(value.detach().numpy() if isinstance(value, Tensor) else value)
        found.update(f"array {array.dtype.name} {array.shape};".encode())
        found.update(array.tobytes())
    elif isinstance(value, AbstractNorm):
        found.update(f"norm {value.name};".encode())
    elif isinstance(value, VnnLibFile):
        found.update(f"vnnlib {value.sha256};".encode())
    elif is_dataclass(value):
        found.update(f"record {type(value).__name__};".encode())
        _feed(found, tuple(getattr(value, entry.name) for entry in fields(value)))
    elif isinstance(value, tuple | list):
        found.update(f"tuple {len(value)};".encode())
        for item in value:
            _feed(found, item)
    elif value is None or isinstance(value, bool | int | float | str):
        text = repr(value).encode()
        found.update(f"{type(value).__name__} {len(text)};".encode())
        found.update(text)
    else:
        raise TypeError(f"{type(value).__name__} has no digest")
