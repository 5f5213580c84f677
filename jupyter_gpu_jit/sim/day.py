"""A day of sessions under a policy: what it costs, against the least that it could.

Used by ``gpu-jit bench plan``. Ticks of one minute; nodes are there at once and go when empty,
so that only the decisions differ: where to put who comes, and whom to move when. A policy is a
plug-in: our planner, the peer's (baselines.py), with or without moves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ..core.model import (
    InstanceType,
    Offering,
    Placement,
    Plan,
    PlannedClaim,
    Resources,
    Seat,
    SessionRequest,
    Snapshot,
)
from ..core.nodes import seat_of
from ..core.packing.repack import Repacking, repack
from ..errors import Defect
from .baselines import KarpenterLike
from .workloads import Stay

_MINUTES_PER_HOUR = 60
MOST_COMMANDS_PER_MINUTE = 3
# Karpenter looks at no more nodes in one multi-node command.
_MOST_CANDIDATES = 100


@dataclass(frozen=True, slots=True)
class Change:
    """Nodes to give back, and a plan for all who sit there: seats that stay, or new nodes."""

    removed: tuple[str, ...]
    plan: Plan


class Policy(Protocol):
    """Who decides."""

    def place(self, snapshot: Snapshot) -> Plan:
        """Where those who wait go."""
        ...

    def changes(self, fleet: Fleet) -> Iterator[Change]:
        """What to do about the nodes after each minute; each is carried out before the next."""
        ...


@dataclass(slots=True)
class LiveNode:
    """A node, and who sits there by session uid."""

    place: str
    kind: InstanceType
    offering: Offering
    sessions: dict[str, SessionRequest] = field(default_factory=dict)

    @property
    def usd_per_hour_micro(self) -> int:
        """What it costs."""
        return self.offering.usd_per_hour_micro

    def seat(self) -> Seat:
        """What a planner sees of it."""
        taken = Resources()
        for session in self.sessions.values():
            taken = taken + session.resources
        return seat_of(
            self.kind,
            self.offering,
            place=self.place,
            ready=True,
            total=self.kind.allocatable,
            residual=self.kind.allocatable - taken,
        )


class Fleet:
    """The nodes of now and their sessions; ``moves`` counts sessions that had to move."""

    def __init__(self, types: tuple[InstanceType, ...]) -> None:
        self.types = types
        self.nodes: dict[str, LiveNode] = {}
        self.moves = 0
        self._kinds = {kind.name: kind for kind in types}
        self._made = 0
        self._where: dict[str, str] = {}

    @property
    def usd_per_hour_micro(self) -> int:
        """What all nodes cost."""
        return sum(node.usd_per_hour_micro for node in self.nodes.values())

    def snapshot(self, waiting: Sequence[SessionRequest], without: Iterable[str] = ()) -> Snapshot:
        """These sessions, and the nodes as seats, some left out."""
        out = frozenset(without)
        seats = (node.seat() for place, node in self.nodes.items() if place not in out)
        return Snapshot(
            now=0.0, waiting=tuple(waiting), seats=tuple(seats), instance_types=self.types
        )

    def seat_all(self, waiting: Sequence[SessionRequest], plan: Plan) -> None:
        """Carry a plan out. Raises Defect when it leaves somebody out or overfills a node."""
        names = {claim.key: self._launch(claim) for claim in plan.claims}
        requests = {session.uid: session for session in waiting}
        for placement in plan.placements:
            place = names.get(placement.place, placement.place)
            self.nodes[place].sessions[placement.session] = requests.pop(placement.session)
            self._where[placement.session] = place
        if requests:
            raise Defect(f"The plan left out {min(requests)}.")
        self._check({self._where[session.uid] for session in waiting})

    def _launch(self, claim: PlannedClaim) -> str:
        self._made += 1
        place, offering = f"node-{self._made:05}", claim.offerings[0]
        self.nodes[place] = LiveNode(place, self._kinds[offering.instance_type], offering)
        return place

    def _check(self, places: Iterable[str]) -> None:
        for place in sorted(places):
            if not Resources().fits_in(self.nodes[place].seat().residual):
                raise Defect(f"The plan puts more on {place} than it holds.")

    def end(self, uid: str) -> None:
        """A session is over; a node that it leaves empty goes at once."""
        place = self._where.pop(uid)
        del self.nodes[place].sessions[uid]
        if not self.nodes[place].sessions:
            del self.nodes[place]

    def carry_out(self, change: Change) -> None:
        """Move everybody off the removed nodes."""
        leaving = [self.nodes.pop(place) for place in change.removed]
        moving = [session for node in leaving for session in node.sessions.values()]
        self.moves += len(moving)
        self.seat_all(moving, change.plan)


@dataclass(frozen=True, slots=True, kw_only=True)
class DayResult:
    """``cost_micro_usd`` of the nodes alone; moves are counted, not priced."""

    cost_micro_usd: int
    moves: int
    most_nodes: int
    most_sessions: int


def play(stays: Sequence[Stay], types: tuple[InstanceType, ...], policy: Policy) -> DayResult:
    """The day from its first start to its last end."""
    fleet, cost, most_nodes, most_sessions = Fleet(types), 0, 0, 0
    alive = 0
    for ended, started in _minutes(stays):
        for session in ended:
            fleet.end(session.uid)
        if started:
            fleet.seat_all(started, policy.place(fleet.snapshot(started)))
        for change in policy.changes(fleet):
            fleet.carry_out(change)
        alive += len(started) - len(ended)
        cost += fleet.usd_per_hour_micro
        most_nodes, most_sessions = max(most_nodes, len(fleet.nodes)), max(most_sessions, alive)
    return DayResult(
        cost_micro_usd=cost // _MINUTES_PER_HOUR,
        moves=fleet.moves,
        most_nodes=most_nodes,
        most_sessions=most_sessions,
    )


def least_cost_micro_usd(
    stays: Sequence[Stay], bound: Callable[[Sequence[SessionRequest]], int]
) -> int:
    """What no policy can go below: the sum over the minutes of a bound for who is there then.

    ``bound``: least micro-USD per hour of nodes for these sessions alone.
    """
    there: dict[str, SessionRequest] = {}
    total, now = 0, 0
    for ended, started in _minutes(stays):
        for session in ended:
            del there[session.uid]
        there.update((session.uid, session) for session in started)
        if ended or started:
            now = bound(tuple(there.values()))
        total += now
    return total // _MINUTES_PER_HOUR


_Sessions = Sequence[SessionRequest]


def _minutes(stays: Sequence[Stay]) -> Iterator[tuple[_Sessions, _Sessions]]:
    """Who ends and who starts in each minute."""
    ending, starting = defaultdict(list), defaultdict(list)
    for stay in stays:
        starting[stay.start_minute].append(stay.session)
        ending[stay.end_minute].append(stay.session)
    for minute in range(min(starting, default=0), max(ending, default=-1) + 1):
        yield ending[minute], starting[minute]


# --- policies ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WithoutMoves:
    """Whatever planner, and no session is ever disturbed."""

    planner: Callable[[Snapshot], Plan]

    def place(self, snapshot: Snapshot) -> Plan:
        """See Policy."""
        return self.planner(snapshot)

    def changes(self, fleet: Fleet) -> Iterator[Change]:
        """None."""
        yield from ()


@dataclass(frozen=True, slots=True)
class WithConsolidation:
    """The peer with its consolidation: some nodes become none or one that is cheaper.

    Several nodes first (the longest list, by binary search over the cheapest to disturb), then
    one at a time; at most three commands a minute, which is more than the peer's own pace.
    """

    planner: KarpenterLike

    def place(self, snapshot: Snapshot) -> Plan:
        """See Policy."""
        return self.planner.plan(snapshot)

    def changes(self, fleet: Fleet) -> Iterator[Change]:
        """The next command, as long as there is one."""
        for _ in range(MOST_COMMANDS_PER_MINUTE):
            change = self._command(fleet)
            if change is None:
                return
            yield change

    def _command(self, fleet: Fleet) -> Change | None:
        ranked = sorted(fleet.nodes.values(), key=_disruption_per_price)
        several = self._several(fleet, ranked[:_MOST_CANDIDATES])
        if several is not None:
            return several
        tries = (self._try(fleet, [node]) for node in ranked)
        return next((change for change in tries if change is not None), None)

    def _several(self, fleet: Fleet, ranked: Sequence[LiveNode]) -> Change | None:
        """The most of the first nodes that can go together, two or more."""
        best, low, high = None, 2, len(ranked)
        while low <= high:
            middle = (low + high) // 2
            change = self._try(fleet, ranked[:middle])
            if change is None:
                high = middle - 1
            else:
                best, low = change, middle + 1
        return best

    def _try(self, fleet: Fleet, nodes: Sequence[LiveNode]) -> Change | None:
        removed = tuple(node.place for node in nodes)
        moving = [session for node in nodes for session in node.sessions.values()]
        plan = self.planner.plan(fleet.snapshot(moving, without=removed))
        worth = sum(node.usd_per_hour_micro for node in nodes)
        if plan.refused or len(plan.claims) > 1 or plan.usd_per_hour_micro >= worth:
            return None
        return Change(removed, plan)


def _disruption_per_price(node: LiveNode) -> tuple[float, str]:
    return (len(node.sessions) / max(node.usd_per_hour_micro, 1), node.place)


@dataclass(slots=True)
class WithMoves:
    """Our planner, and every so many minutes a look at all nodes; ``repack`` is the plug."""

    planner: Callable[[Snapshot], Plan]
    repack: Callable[[Fleet], Change | None]
    every_minutes: int = 5
    minutes: int = 0

    def place(self, snapshot: Snapshot) -> Plan:
        """See Policy."""
        return self.planner(snapshot)

    def changes(self, fleet: Fleet) -> Iterator[Change]:
        """What repacking says, when it is time."""
        self.minutes += 1
        if fleet.nodes and self.minutes % self.every_minutes == 0:
            change = self.repack(fleet)
            if change is not None:
                yield change


def repacked(fleet: Fleet, move_price_micro_usd: int) -> Repacking:
    """What our planner would change, were every session as dear to move."""
    residents = {place: tuple(n.sessions.values()) for place, n in fleet.nodes.items()}
    prices = {s.uid: move_price_micro_usd for there in residents.values() for s in there}
    return repack(fleet.snapshot(()), residents, prices)


def moves_at(move_price_micro_usd: int) -> Callable[[Fleet], Change | None]:
    """The plug for WithMoves."""

    def change(fleet: Fleet) -> Change | None:
        found = repacked(fleet, move_price_micro_usd)
        placements = tuple(Placement(session=m.session, place=m.place) for m in found.moves)
        plan = Plan(placements=placements, claims=found.claims)
        return Change(found.ended, plan) if found.ended else None

    return change
