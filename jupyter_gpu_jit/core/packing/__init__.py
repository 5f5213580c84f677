"""The planner: who sits where, what to launch, and why somebody has to wait.

Called by the provisioner (``solve``) and by the service (``quote``). A greedy planner for now;
the interface is made for one that improves its answer with ``warm`` and ``steps``.
"""

from __future__ import annotations

from .policy import EMPTY, Policy, Warm
from .quotes import Quote, WaitModel, quote
from .solver import solve

__all__ = ["EMPTY", "Policy", "Quote", "WaitModel", "Warm", "quote", "solve"]
