"""What a solve gives inside the planner: the plan, and the reasons of refusals in parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..model import Plan
from .explain import Explanation


@dataclass(frozen=True, slots=True)
class Solution:
    """A plan, with the reason of each refusal in parts, by session uid."""

    plan: Plan
    reasons: Mapping[str, Explanation] = field(default_factory=dict)


def with_refusals(found: Solution, more: Mapping[str, Explanation]) -> Solution:
    """The same plan with more sessions refused."""
    reasons = {**found.reasons, **more}
    refused = tuple(reasons[uid].refusal(uid) for uid in sorted(reasons))
    return Solution(replace(found.plan, refused=refused), reasons)
