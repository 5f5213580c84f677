"""GPU sessions for JupyterHub, provisioned just in time.

Imports nothing that costs: the names below are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .hub import GpuJitSpawner, setup
    from .notebook import session

__version__ = "0.1.0"
__all__ = ["GpuJitSpawner", "__version__", "session", "setup"]

_HOMES = {"GpuJitSpawner": ".hub", "setup": ".hub", "session": ".notebook"}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)
