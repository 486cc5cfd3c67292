"""Records of what was proved."""

from lipverify.evidence.record import Bound, FeatureResult, PropertyResult, Witness

__all__ = ["Bound", "FeatureResult", "PropertyResult", "Witness"]
