"""Records of what was proved."""

from lipverify.evidence.record import (
    Bound,
    CertificateRecord,
    FeatureResult,
    PropertyResult,
    StageRecord,
    TimePoint,
    Witness,
)

__all__ = [
    "Bound",
    "CertificateRecord",
    "FeatureResult",
    "PropertyResult",
    "StageRecord",
    "TimePoint",
    "Witness",
]
