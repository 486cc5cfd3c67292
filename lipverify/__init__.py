"""lipverify: proofs about neural networks by bound propagation on forward and backward graphs.

The public names are loaded on first use, so that `import lipverify` has no effect and is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lipverify.api import METHODS, lipschitz, verify, verify_spec
    from lipverify.config import VerifyConfig
    from lipverify.graph import backward_graph
    from lipverify.network import load_network
    from lipverify.reading import Preprocessing, Reading

__version__ = "0.1.0"

_HOMES = {
    "METHODS": "lipverify.api",
    "Preprocessing": "lipverify.reading",
    "Reading": "lipverify.reading",
    "VerifyConfig": "lipverify.config",
    "backward_graph": "lipverify.graph",
    "lipschitz": "lipverify.api",
    "load_network": "lipverify.network",
    "verify": "lipverify.api",
    "verify_spec": "lipverify.api",
}

__all__ = [
    "METHODS",
    "Preprocessing",
    "Reading",
    "VerifyConfig",
    "__version__",
    "backward_graph",
    "lipschitz",
    "load_network",
    "verify",
    "verify_spec",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'lipverify' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
