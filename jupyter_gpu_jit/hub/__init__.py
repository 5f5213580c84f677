"""What JupyterHub imports: the spawner, its form and its handlers.

The names are loaded when first used, so that pure modules here (manifest, form) can be had
without a hub. ``c.JupyterHub.spawner_class = "jupyter_gpu_jit.GpuJitSpawner"`` or ``setup(c)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import setup
    from .spawner import GpuJitSpawner

__all__ = ["GpuJitSpawner", "setup"]

_HOMES = {"GpuJitSpawner": ".spawner", "setup": ".config"}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)
