"""What can be asked of a network on a region: one class per kind of property.

A new kind is one new file like `lipschitz.py` (the property, and its entry in spec files), and one
line in each table here.
"""

from lipverify.spec.entry import PropertyEntry
from lipverify.spec.lipschitz import Lipschitz, LipschitzEntry
from lipverify.spec.monotonicity import Monotonicity, MonotonicityEntry
from lipverify.spec.radius import Radius, RadiusEntry
from lipverify.spec.robustness import Robustness, RobustnessEntry
from lipverify.spec.vnnlib.property import VnnLib, VnnLibEntry

Property = Lipschitz | Monotonicity | Radius | Robustness | VnnLib

KINDS: dict[str, type[PropertyEntry]] = {
    Lipschitz.kind: LipschitzEntry,
    Monotonicity.kind: MonotonicityEntry,
    Robustness.kind: RobustnessEntry,
    Radius.kind: RadiusEntry,
    VnnLib.kind: VnnLibEntry,
}

__all__ = ["KINDS", "Lipschitz", "Monotonicity", "Property", "Radius", "Robustness", "VnnLib"]
