"""What a profile would get if somebody asked now: price, place and waiting time, or why not.

Called by the service for the spawn page and the notebook panel; answers come from the same
steps that plan (solver.OneByOne), so a quote is what would happen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..model import Plan, PlannedClaim, Profile, Resources, Seat, SessionRequest, Snapshot
from ..nodes import SESSION_TOLERATIONS, seat_of
from ..pricing import dominant_share, share_micro
from ..quotas import left_of
from .market import Entry, entries, in_layout
from .policy import DEFAULT, Policy
from .seats import seat_share_micro
from .solver import OneByOne, work_out

NOW, IN_FLIGHT, NEW_NODE = "now", "in-flight", "new-node"
_PLANNED = "planned/"


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

    ``usd_per_hour_micro`` is the session's share of ``node_usd_per_hour_micro``; the range is over
    every offering that a launch might take instead. ``seat`` is now, in-flight or new-node. Type
    and zone are "" while the cloud may still choose. ``interruptions_per_hour``: how often the
    cloud takes such a node back. ``alternative``: the smallest change with which it would start.
    """

    slug: str
    possible: bool
    usd_per_hour_micro: int = 0
    least_usd_per_hour_micro: int = 0
    most_usd_per_hour_micro: int = 0
    node_usd_per_hour_micro: int = 0
    capacity_type: str = ""
    seat: str = ""
    instance_type: str = ""
    zone: str = ""
    wait_p50_seconds: int = 0
    wait_p90_seconds: int = 0
    interruptions_per_hour: float = 0.0
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
    kinds = {entry.type.name: entry for entry in eligible}
    plan = work_out(snapshot, policy, eligible).plan if snapshot.waiting else Plan()
    after = _after(snapshot, plan, kinds)
    probes = [_probe(profile, number) for number, profile in enumerate(profiles)]
    desk = _Desk(after, policy, waits, kinds, OneByOne(after, policy, eligible, probes))
    return tuple(desk.quote(*each) for each in zip(profiles, probes, strict=True))


def _probe(profile: Profile, number: int) -> SessionRequest:
    """A session as the hub would make it of that profile."""
    return SessionRequest(
        uid=f"quote-{number}",
        user="",
        profile=profile.slug,
        resources=profile.resources,
        requirements=replace(profile.requirements, tolerations=SESSION_TOLERATIONS),
    )


class _Desk:
    """Answers for one moment."""

    def __init__(
        self,
        after: Snapshot,
        policy: Policy,
        waits: WaitModel,
        kinds: Mapping[str, Entry],
        one_by_one: OneByOne,
    ) -> None:
        self._policy, self._waits, self._kinds = policy, waits, kinds
        self._one_by_one = one_by_one
        self._seats = {seat.place: seat for seat in after.seats}

    def quote(self, profile: Profile, probe: SessionRequest) -> Quote:
        solution = self._one_by_one.solution(probe)
        why = solution.reasons.get(probe.uid)
        if why is not None:
            return Quote(
                slug=profile.slug, possible=False, reason=why.message, alternative=why.alternative
            )
        if not solution.plan.claims:
            seat = self._seats[solution.plan.placements[0].place]
            return self._on_seat(profile, seat, [seat_share_micro(profile.resources, seat)])
        (claim,) = solution.plan.claims
        seat = _planned_seat(claim, self._kinds, Resources())
        return self._on_seat(profile, seat, self._shares(profile.resources, claim))

    def _shares(self, size: Resources, claim: PlannedClaim) -> list[int]:
        """What the session would cost on each node that the claim may become, micro-USD/h."""
        names = {offering.instance_type for offering in claim.offerings}
        totals = {name: in_layout(self._kinds[name], claim.layout).total for name in names}
        shares = {name: dominant_share(size, total) for name, total in totals.items()}
        return [
            share_micro(offering.usd_per_hour_micro, shares[offering.instance_type])
            for offering in claim.offerings
        ]

    def _on_seat(self, profile: Profile, seat: Seat, shares: Sequence[int]) -> Quote:
        kind = NEW_NODE if seat.place.startswith(_PLANNED) else NOW if seat.ready else IN_FLIGHT
        half, most = self._waits.of(kind)
        rate = self._policy.rate_of(seat.capacity_type, seat.interruptions_per_hour)
        return Quote(
            slug=profile.slug,
            possible=True,
            usd_per_hour_micro=shares[0],
            least_usd_per_hour_micro=min(shares),
            most_usd_per_hour_micro=max(shares),
            node_usd_per_hour_micro=seat.usd_per_hour_micro,
            capacity_type=seat.capacity_type.value,
            seat=kind,
            instance_type=seat.instance_type,
            zone=seat.zone,
            wait_p50_seconds=half,
            wait_p90_seconds=most,
            interruptions_per_hour=rate or 0.0,
        )


def _after(snapshot: Snapshot, plan: Plan, kinds: Mapping[str, Entry]) -> Snapshot:
    """The snapshot once the plan is carried out and its sessions sit where it says."""
    sizes = {session.uid: session.resources for session in snapshot.waiting}
    taken: defaultdict[str, Resources] = defaultdict(Resources)
    for placement in plan.placements:
        taken[placement.place] += sizes[placement.session]
    seats = [
        replace(s, residual=s.residual - taken[s.place]) if s.place in taken else s
        for s in snapshot.seats
    ]
    seats += [_planned_seat(claim, kinds, taken[claim.key]) for claim in plan.claims]
    vcpus = {name: entry.type.vcpu for name, entry in kinds.items()}
    bought = [claim.offerings[0] for claim in plan.claims]
    left = left_of(snapshot.quotas, [(o.instance_type, o.capacity_type) for o in bought], vcpus)
    return replace(snapshot, waiting=(), seats=tuple(seats), quotas=left)


def _planned_seat(claim: PlannedClaim, kinds: Mapping[str, Entry], taken: Resources) -> Seat:
    """A node that is planned but not asked for yet, as its cheapest offering."""
    cheapest = claim.offerings[0]
    entry = in_layout(kinds[cheapest.instance_type], claim.layout)
    return seat_of(
        entry.type,
        cheapest,
        entry.layout,
        place=_PLANNED + claim.key,
        ready=False,
        total=entry.total,
        residual=entry.room - taken,
    )
