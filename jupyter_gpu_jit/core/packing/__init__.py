"""The planner: who sits where, what to launch, and why somebody has to wait.

Called by the provisioner (``solve``) and by the service (``quote``). The first answer and a
settled one are two calls with different ``steps``; ``warm`` hands on what an earlier plan found.
For sessions that run already there is ``repack.repack``: whom to move, and which nodes to end.
Under it lies an engine that knows only numbers (``engine.pack`` on a ``problem.Problem``).
"""

from __future__ import annotations

from .engine import FIRST_STEPS, SETTLE_STEPS
from .policy import BARE, EMPTY, USUAL, Policy, Warm
from .quotes import Quote, WaitModel, quote
from .solver import solve

__all__ = [
    "BARE",
    "EMPTY",
    "FIRST_STEPS",
    "SETTLE_STEPS",
    "USUAL",
    "Policy",
    "Quote",
    "WaitModel",
    "Warm",
    "quote",
    "solve",
]
