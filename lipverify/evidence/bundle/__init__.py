"""Evidence bundles: folders that stand alone, made from results and verified offline."""

from lipverify.evidence.bundle.make import Made, make_bundle
from lipverify.evidence.bundle.verify import Finding, Verification, verify_bundle

__all__ = ["Finding", "Made", "Verification", "make_bundle", "verify_bundle"]
