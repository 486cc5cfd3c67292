"""Specs: what is asked, of which network, on which inputs; and the reading of spec files."""

from lipverify.spec.property import (
    KINDS,
    Lipschitz,
    Monotonicity,
    Property,
    Radius,
    Robustness,
    VnnLib,
)
from lipverify.spec.read import SpecFile, bind, find_specs, read_spec
from lipverify.spec.spec import Spec

__all__ = [
    "KINDS",
    "Lipschitz",
    "Monotonicity",
    "Property",
    "Radius",
    "Robustness",
    "Spec",
    "SpecFile",
    "VnnLib",
    "bind",
    "find_specs",
    "read_spec",
]
