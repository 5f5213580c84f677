"""What a profile would get if somebody asked now: price, place and waiting time, or why not.

Called by the service for the spawn page and the notebook panel; answers come from the same
solve that plans, so a quote is what would happen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..model import Plan, PlannedClaim, Profile, Resources, Seat, SessionRequest, Snapshot
from ..nodes import SESSION_TOLERATIONS, node_labels, node_taints
from ..quotas import left_of
from .market import Entry, entries, in_layout
from .policy import DEFAULT, Policy
from .seats import seat_share_micro
from .solver import work_out

NOW, IN_FLIGHT, NEW_NODE = "now", "in-flight", "new-node"
_PLANNED = "planned/"
_PROBE = "quote"


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitModel:
    """How long a start takes in seconds, half and nine tenths of the time; guesses until measured.

    A new node: 30-65 s of boot and join are published for EC2, plus driver and image.
    """

    now_p50_seconds: int = 5
    now_p90_seconds: int = 10
    in_flight_p50_seconds: int = 45
    in_flight_p90_seconds: int = 120
    new_node_p50_seconds: int = 90
    new_node_p90_seconds: int = 180

    def of(self, seat: str) -> tuple[int, int]:
        """Both figures for a kind of seat."""
        return {
            NOW: (self.now_p50_seconds, self.now_p90_seconds),
            IN_FLIGHT: (self.in_flight_p50_seconds, self.in_flight_p90_seconds),
            NEW_NODE: (self.new_node_p50_seconds, self.new_node_p90_seconds),
        }[seat]


DEFAULT_WAITS = WaitModel()


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """The answer for one profile; when not ``possible``, only reason and alternative say anything.

    ``usd_per_hour_micro`` is the session's share of ``node_usd_per_hour_micro``. ``seat`` is
    now, in-flight or new-node. Type and zone are "" while the cloud may still choose.
    """

    slug: str
    possible: bool
    usd_per_hour_micro: int = 0
    node_usd_per_hour_micro: int = 0
    capacity_type: str = ""
    seat: str = ""
    instance_type: str = ""
    zone: str = ""
    wait_p50_seconds: int = 0
    wait_p90_seconds: int = 0
    reason: str = ""
    alternative: str = ""


def quote(
    snapshot: Snapshot,
    profiles: Sequence[Profile],
    policy: Policy = DEFAULT,
    *,
    waits: WaitModel = DEFAULT_WAITS,
) -> tuple[Quote, ...]:
    """One answer per profile, in their order, each as if it came next after those who wait."""
    eligible = entries(snapshot.instance_types, policy)
    plan = work_out(snapshot, policy, eligible).plan
    after = _after(snapshot, plan, {entry.type.name: entry for entry in eligible})
    return tuple(
        _quote(after, profile, policy, waits=waits, eligible=eligible) for profile in profiles
    )


def _quote(
    after: Snapshot,
    profile: Profile,
    policy: Policy,
    *,
    waits: WaitModel,
    eligible: tuple[Entry, ...],
) -> Quote:
    probe = _probe(profile, after.now)
    solution = work_out(replace(after, waiting=(probe,)), policy, eligible)
    if why := solution.reasons.get(_PROBE):
        return Quote(
            slug=profile.slug, possible=False, reason=why.message, alternative=why.alternative
        )
    if solution.plan.claims:
        kinds = {entry.type.name: entry for entry in eligible}
        seat = _planned_seat(solution.plan.claims[0], kinds, Resources())
    else:
        place = solution.plan.placements[0].place
        seat = next(seat for seat in after.seats if seat.place == place)
    return _on_seat(profile, seat, waits)


def _probe(profile: Profile, now: float) -> SessionRequest:
    """A session as the hub would make it of that profile."""
    return SessionRequest(
        uid=_PROBE,
        user="",
        profile=profile.slug,
        resources=profile.resources,
        requirements=replace(profile.requirements, tolerations=SESSION_TOLERATIONS),
        created_at=now,
    )


def _on_seat(profile: Profile, seat: Seat, waits: WaitModel) -> Quote:
    kind = NEW_NODE if seat.place.startswith(_PLANNED) else NOW if seat.ready else IN_FLIGHT
    half, most = waits.of(kind)
    return Quote(
        slug=profile.slug,
        possible=True,
        usd_per_hour_micro=seat_share_micro(profile.resources, seat),
        node_usd_per_hour_micro=seat.usd_per_hour_micro,
        capacity_type=seat.capacity_type.value,
        seat=kind,
        instance_type=seat.instance_type,
        zone=seat.zone,
        wait_p50_seconds=half,
        wait_p90_seconds=most,
    )


def _after(snapshot: Snapshot, plan: Plan, kinds: Mapping[str, Entry]) -> Snapshot:
    """The snapshot once the plan is carried out and its sessions sit where it says."""
    sizes = {session.uid: session.resources for session in snapshot.waiting}
    taken: defaultdict[str, Resources] = defaultdict(Resources)
    for placement in plan.placements:
        taken[placement.place] += sizes[placement.session]
    seats = [replace(s, residual=s.residual - taken[s.place]) for s in snapshot.seats]
    seats += [_planned_seat(claim, kinds, taken[claim.key]) for claim in plan.claims]
    vcpus = {name: entry.type.vcpu for name, entry in kinds.items()}
    bought = [claim.offerings[0] for claim in plan.claims]
    left = left_of(snapshot.quotas, [(o.instance_type, o.capacity_type) for o in bought], vcpus)
    return replace(snapshot, waiting=(), seats=tuple(seats), quotas=left)


def _planned_seat(claim: PlannedClaim, kinds: Mapping[str, Entry], taken: Resources) -> Seat:
    """A node that is planned but not asked for yet, as its cheapest offering."""
    cheapest = claim.offerings[0]
    entry = in_layout(kinds[cheapest.instance_type], claim.layout)
    return Seat(
        place=_PLANNED + claim.key,
        ready=False,
        residual=entry.room - taken,
        total=entry.total,
        labels=node_labels(entry.type, cheapest, entry.layout),
        taints=node_taints(),
        instance_type=cheapest.instance_type,
        zone=cheapest.zone,
        capacity_type=cheapest.capacity_type,
        gpu_model=entry.type.gpu_model,
        gpu_memory_mib=entry.type.gpu_memory_mib,
        gpu_interconnect=entry.type.gpu_interconnect,
        layout=entry.layout,
        driver_family=entry.type.driver_family,
        efa_interfaces=entry.type.efa_interfaces,
        architecture=entry.type.architecture,
        usd_per_hour_micro=cheapest.usd_per_hour_micro,
    )
