"""Records of what was proved."""

from lipverify.evidence.record import (
    Bound,
    FeatureResult,
    PropertyResult,
    StageRecord,
    TimePoint,
    Witness,
)

__all__ = ["Bound", "FeatureResult", "PropertyResult", "StageRecord", "TimePoint", "Witness"]
