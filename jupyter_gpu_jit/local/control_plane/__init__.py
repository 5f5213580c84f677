"""A real Kubernetes control plane on this machine: built once from source, started in seconds.

For the tests and for ``gpu-jit demo --control-plane real``. ``build`` gives the programs,
``ControlPlane`` runs them on loopback.
"""

from __future__ import annotations

from .builder import PROGRAMS, build
from .plane import ControlPlane

__all__ = ["PROGRAMS", "ControlPlane", "build"]
