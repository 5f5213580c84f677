"""What goes wrong with calls: throttling, errors, latency, lost answers. Used by ``front``.

Token buckets are counted in world time, so a compressed world refills as fast as its clock runs.
An injected fault says for which service and action, of what kind, and for how many calls.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .call import Call
from .parameters import LAUNCHES, RATE_LIMITS, READS, Parameters

Json = dict[str, Any]
KINDS = ("error", "latency", "drop", "lost_answer")
"""``drop``: the connection ends, nothing was done. ``lost_answer``: it ends after it was."""
READING = ("Describe", "Get", "List")


@dataclass(slots=True, kw_only=True)
class Fault:
    """``count`` None is until it is cleared; ``action`` and ``service`` may be ``*``."""

    kind: str
    service: str = "*"
    action: str = "*"
    count: int | None = 1
    code: str = "InternalError"
    message: str = "An internal error has occurred"
    status: int = 500
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"A fault is of kind {', '.join(KINDS)}; not {self.kind}.")

    def hits(self, call: Call) -> bool:
        """Whether it is for that call."""
        if self.count is not None and self.count <= 0:
            return False
        return self.service in ("*", call.service) and self.action in ("*", call.action)


@dataclass(slots=True)
class Bucket:
    """Tokens that refill."""

    burst: float
    per_second: float
    tokens: float
    at: float

    def take(self, now: float, wanted: float = 1.0) -> bool:
        """Whether there were so many; then they are gone."""
        self.tokens = min(self.burst, self.tokens + max(now - self.at, 0.0) * self.per_second)
        self.at = now
        if self.tokens < wanted:
            return False
        self.tokens -= wanted
        return True


@dataclass(slots=True)
class Faults:
    """All faults and buckets of one world."""

    faults: list[Fault] = field(default_factory=list)
    buckets: dict[str, Bucket] = field(default_factory=dict)
    throttled: dict[str, int] = field(default_factory=dict)

    def draw(self, call: Call) -> Fault | None:
        """The first fault for this call; it is used up by one."""
        found = next((fault for fault in self.faults if fault.hits(call)), None)
        if found is not None and found.count is not None:
            found.count -= 1
        return found

    def throttles(self, call: Call, parameters: Parameters, now: float) -> bool:
        """Whether a bucket says no; only EC2 has buckets here."""
        if call.service != "ec2" or not parameters.throttle:
            return False
        allowed = self._allowed(call, now)
        if not allowed:
            self.throttled[call.action] = self.throttled.get(call.action, 0) + 1
        return not allowed

    def _allowed(self, call: Call, now: float) -> bool:
        limits = RATE_LIMITS.get(call.action)
        if limits is None and not call.action.startswith(READING):
            return True
        return self._bucket(call.action, limits or READS, now).take(now) and self._launches(
            call, now
        )

    def _launches(self, call: Call, now: float) -> bool:
        if call.action != "CreateFleet":
            return True
        target = call.params.get("TargetCapacitySpecification") or {}
        wanted = float(target.get("TotalTargetCapacity") or 0)
        return self._bucket("instances", LAUNCHES, now).take(now, wanted)

    def _bucket(self, name: str, limits: tuple[float, float], now: float) -> Bucket:
        if name not in self.buckets:
            self.buckets[name] = Bucket(limits[0], limits[1], limits[0], now)
        return self.buckets[name]
