"""Importing auto_LiRPA 0.3 on today's Python, numpy and torch.

0.3 imports `numpy.lib.arraysetops`, which numpy 2 does not have, and its `parse_graph`, which
needs torch internals that are gone; lipverify never traces, so both get stand-ins. On import it
also sets up logging, warning filters and a data folder; logging and filters are put back.
"""

import logging
import sys
import types
import warnings
from functools import cache
from types import ModuleType

import numpy as np
import torch

from lipverify.errors import MissingDependency

INSTALL = "pip install --no-deps auto-LiRPA==0.3"


@cache
def auto_lirpa() -> ModuleType:
    """The package `auto_LiRPA`; `MissingDependency` with the command that installs it."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    stand_ins = _stand_ins()
    missing = {name: module for name, module in stand_ins.items() if name not in sys.modules}
    sys.modules.update(missing)
    try:
        with warnings.catch_warnings(record=True):  # it resets the filters while it is imported
            warnings.simplefilter("ignore")
            import auto_LiRPA
            import auto_LiRPA.bound_general
    except ImportError as error:
        raise MissingDependency(
            f"auto_LiRPA 0.3 cannot be imported ({error}). It declares an old torch, so it is "
            f"installed apart: {INSTALL}"
        ) from error
    finally:
        for name in missing:
            if name.startswith("numpy"):
                sys.modules.pop(name, None)
        root.handlers[:] = handlers
        root.setLevel(level)
    return auto_LiRPA


def _stand_ins() -> dict[str, ModuleType]:
    arraysetops = types.ModuleType("numpy.lib.arraysetops")
    arraysetops.isin = np.isin  # type: ignore[attr-defined]

    parse_graph = types.ModuleType("auto_LiRPA.parse_graph")

    def parse_module(*_: object, **__: object) -> None:
        raise AssertionError("lipverify builds auto_LiRPA's nodes itself and never traces")

    parse_graph.parse_module = parse_module  # type: ignore[attr-defined]
    # `from .parse_graph import *`-style imports of 0.3 expect torch to come along.
    parse_graph.torch = torch  # type: ignore[attr-defined]
    return {"numpy.lib.arraysetops": arraysetops, "auto_LiRPA.parse_graph": parse_graph}
