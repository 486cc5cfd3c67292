"""VNN-LIB, the verification community's format of properties: versions 1.0 and 2.0."""

from lipverify.spec.vnnlib.read import SUFFIXES, VnnLibFile, is_vnnlib, read_vnnlib

__all__ = ["SUFFIXES", "VnnLibFile", "is_vnnlib", "read_vnnlib"]
