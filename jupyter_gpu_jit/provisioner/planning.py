"""The planner as the provisioner uses it: what it learnt is kept, and what it did is judged.

A plan is made in the time a waiting person has. When nothing has been planned for a moment, the
last plan is thought over with time to spare: not to change it (its nodes are launched), but to
know how far from the best it was, and to keep better patterns for the next. Called by
provisioning.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ..core.model import Plan, Snapshot
from ..core.packing import EMPTY, SETTLE_STEPS, Policy, Warm, solve
from ..ports import Meter
from . import metrics

QUIET_SECONDS = 2.0
"""A crowd comes in several plans; none of them is to wait for thoughts about the one before."""
WIDE = 0.02


@dataclass(frozen=True, slots=True)
class _Made:
    snapshot: Snapshot
    plan: Plan
    at: float


class Planning:
    """Plans, one after the other; ``warm`` is what was learnt. ``now`` is the clock's."""

    def __init__(self, policy: Policy, meter: Meter, now: Callable[[], float]) -> None:
        self._policy, self._meter, self._now = policy, meter, now
        self.warm: Warm = EMPTY
        self._last: _Made | None = None

    def plan(self, snapshot: Snapshot) -> Plan:
        """A plan for those who wait."""
        made = solve(snapshot, self._policy, warm=self.warm)
        self.warm = Warm(patterns=made.patterns)
        if made.claims:
            self._judge(self._last)
            self._last = _Made(snapshot, made, self._now())
        return made

    def settle(self) -> float | None:
        """Think over the last plan once it is quiet; when to be called again, epoch seconds."""
        last = self._last
        if last is None:
            return None
        if self._now() < last.at + QUIET_SECONDS:
            return last.at + QUIET_SECONDS
        bound = 0
        if last.plan.gap > WIDE:
            settled = solve(last.snapshot, self._policy, warm=self.warm, steps=SETTLE_STEPS)
            self.warm = Warm(patterns=settled.patterns)
            bound = settled.lower_bound_usd_per_hour_micro
        self._judge(last, bound)
        self._last = None
        return None

    def _judge(self, made: _Made | None, bound: int = 0) -> None:
        """Count a plan by its distance from the best bound that is known."""
        if made is not None:
            self._meter.count(metrics.PLANS, gap=_gap(made.plan, bound))


def _gap(plan: Plan, bound: int) -> str:
    best = max(plan.lower_bound_usd_per_hour_micro, bound)
    judged = replace(plan, lower_bound_usd_per_hour_micro=best)
    if plan.proven or not judged.gap:
        return "proven"
    return "within" if judged.gap <= WIDE else "above"
