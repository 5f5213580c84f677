"""What ``gpu-jit plan`` answers: every node with its offering, sessions and price, and the reasons.

``answer`` puts a plan beside what was asked; ``answer_json`` is its documented form
(docs/wire/plan-answer.json), from which anyone can check it; drawing.py draws it.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .layouts import room_of
from .model import InstanceType, Offering, Plan, PlannedClaim, Profile, Refusal, Resources
from .packing.seats import IN_FLIGHT, KEPT, READY
from .packing.shapes import times
from .packing.solver import NEW
from .planfile import LiveNode, Request, request_of
from .pricing import NodeCosts
from .quantity import MICRO_USD, format_bytes, format_cpu

WHY = {
    NEW: "no free seat; the cheapest offering found for those who share it",
    READY: "free seats on a node that runs already",
    KEPT: "planned onto it before",
    IN_FLIGHT: "free seats on a node that is on its way",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnNode:
    """A node of the answer. ``sessions``: how many of which request; ``held``: who was there.

    ``extra_usd_per_hour_micro``: a new one's root disk and expected interruptions.
    """

    name: str
    state: str
    offering: Offering
    total: Resources
    gpu_model: str
    layout: str
    sessions: tuple[tuple[int, int], ...]
    held: tuple[tuple[Profile, int], ...] = ()
    also: tuple[Offering, ...] = ()
    why: str = ""
    extra_usd_per_hour_micro: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """``count`` sessions of a request without a place, and the reason they share."""

    request: int
    count: int
    refusal: Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A plan as people and programs are told it; ``seconds`` is what the solve took."""

    requests: tuple[Request, ...]
    nodes: tuple[DrawnNode, ...]
    existing: tuple[DrawnNode, ...]
    refused: tuple[Refused, ...]
    plan: Plan
    seconds: float
    bare: bool
    source: str


def answer(
    requests: Sequence[Request],
    types: Iterable[InstanceType],
    live: Sequence[LiveNode],
    plan: Plan,
    *,
    costs: NodeCosts,
    **more: Any,
) -> Answer:
    """The plan beside what was asked; ``costs`` as it was planned with.

    ``more`` are ``seconds``, ``bare`` and ``source``.
    """
    by_place = _sessions_by_place(plan)
    kinds = {kind.name: kind for kind in types}
    return Answer(
        requests=tuple(requests),
        nodes=tuple(_new(claim, kinds, by_place[claim.key], costs) for claim in plan.claims),
        existing=tuple(_live(node, by_place.get(node.seat.place, []), plan) for node in live),
        refused=tuple(_refused(plan)),
        plan=plan,
        **more,
    )


def _sessions_by_place(plan: Plan) -> dict[str, list[int]]:
    found: defaultdict[str, list[int]] = defaultdict(list)
    for placement in plan.placements:
        found[placement.place].append(request_of(placement.session))
    return found


def _counted(requests: Sequence[int]) -> tuple[tuple[int, int], ...]:
    return tuple(sorted(Counter(requests).items()))


def _new(
    claim: PlannedClaim, types: Mapping[str, InstanceType], here: Sequence[int], costs: NodeCosts
) -> DrawnNode:
    best = claim.offerings[0]
    kind = types[best.instance_type]
    return DrawnNode(
        name=claim.key,
        state="new",
        offering=best,
        total=room_of(kind, claim.layout),
        gpu_model=kind.gpu_model,
        layout=claim.layout,
        sessions=_counted(here),
        also=claim.offerings[1:],
        why=WHY[NEW],
        extra_usd_per_hour_micro=costs.together(best, len(here)) - best.usd_per_hour_micro,
    )


def _live(node: LiveNode, here: Sequence[int], plan: Plan) -> DrawnNode:
    seat = node.seat
    reasons = {p.reason for p in plan.placements if p.place == seat.place}
    return DrawnNode(
        name=seat.place,
        state="ready" if seat.ready else "in-flight",
        offering=seat.sold,
        total=seat.total,
        gpu_model=seat.gpu_model,
        layout=seat.layout,
        sessions=_counted(here),
        held=node.held,
        why="; ".join(WHY.get(reason, reason) for reason in sorted(reasons)),
    )


def _refused(plan: Plan) -> Iterator[Refused]:
    """Sessions of one request that are refused in the same words are one row."""
    rows: dict[tuple[int, str, str], list[Refusal]] = {}
    for refusal in plan.refused:
        key = (request_of(refusal.session), refusal.reason, refusal.message)
        rows.setdefault(key, []).append(refusal)
    for (request, _, _), members in sorted(rows.items()):
        yield Refused(request=request, count=len(members), refusal=members[0])


def used(node: DrawnNode, requests: Sequence[Request]) -> Resources:
    """What the sessions on a node take, old and new."""
    total = Resources()
    for index, count in node.sessions:
        total = total + times(requests[index].profile.resources, count)
    for profile, count in node.held:
        total = total + times(profile.resources, count)
    return total


# --- as JSON ---------------------------------------------------------------------------------


def answer_json(told: Answer) -> dict[str, Any]:
    """The answer as plain data; money in USD per hour, sizes as Kubernetes quantities."""
    plan = told.plan
    return {
        "v": 1,
        "catalogue": told.source,
        "bare": told.bare,
        "usd_per_hour": usd(plan.usd_per_hour_micro),
        "extra_usd_per_hour": usd(plan.extra_usd_per_hour_micro),
        "cost_usd_per_hour": usd(plan.cost_usd_per_hour_micro),
        "lower_bound_usd_per_hour": usd(plan.lower_bound_usd_per_hour_micro),
        "gap": round(plan.gap, 6) if math.isfinite(plan.gap) else None,
        "proven": plan.proven,
        "seconds": round(told.seconds, 6),
        "existing_usd_per_hour": usd(sum(n.offering.usd_per_hour_micro for n in told.existing)),
        "requests": [_request_json(request) for request in told.requests],
        "nodes": [_node_json(node, told) for node in told.nodes],
        "existing": [_node_json(node, told) for node in told.existing],
        "refused": [_refused_json(row, told) for row in told.refused],
        "notes": list(plan.notes),
    }


def usd(micro: int) -> float:
    """USD of micro-USD."""
    return round(micro / MICRO_USD, 6)


def _request_json(request: Request) -> dict[str, Any]:
    return {
        "slug": request.profile.slug,
        "count": request.count,
        "each": _size_json(request.profile.resources),
    }


def _size_json(size: Resources) -> dict[str, Any]:
    return {
        "cpu": format_cpu(size.cpu_millicpu),
        "memory": format_bytes(size.memory_bytes),
        "gpus": size.gpus,
        "pods": size.pods,
    }


def _node_json(node: DrawnNode, told: Answer) -> dict[str, Any]:
    return {
        "name": node.name,
        "state": node.state,
        **_offering_json(node.offering),
        "extra_usd_per_hour": usd(node.extra_usd_per_hour_micro),
        "gpu_model": node.gpu_model,
        "layout": node.layout,
        "allocatable": _size_json(node.total),
        "free": _size_json(node.total - used(node, told.requests)),
        "sessions": [_session_json(index, count, told) for index, count in node.sessions],
        "held": [_held_json(profile, count) for profile, count in node.held],
        "also": [_offering_json(offering) for offering in node.also],
        "why": node.why,
    }


def _held_json(profile: Profile, count: int) -> dict[str, Any]:
    return {"slug": profile.slug, "count": count, "each": _size_json(profile.resources)}


def _session_json(index: int, count: int, told: Answer) -> dict[str, Any]:
    return {"request": index, "slug": told.requests[index].profile.slug, "count": count}


def _offering_json(offering: Offering) -> dict[str, Any]:
    rate = offering.interruptions_per_hour
    return {
        "type": offering.instance_type,
        "zone": offering.zone,
        "capacity_type": offering.capacity_type.value,
        "usd_per_hour": usd(offering.usd_per_hour_micro),
        **({} if rate is None else {"interruptions_per_hour": rate}),
    }


def _refused_json(row: Refused, told: Answer) -> dict[str, Any]:
    refusal = row.refusal
    return {
        **_session_json(row.request, row.count, told),
        "reason": refusal.reason,
        "message": refusal.message,
        "temporary": refusal.temporary,
        "excluded": [{"requirement": name, "offerings": n} for name, n in refusal.excluded],
    }
