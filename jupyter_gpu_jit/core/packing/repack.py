"""Better nodes for sessions that run already: which nodes end, which come, and who moves where.

Called by consolidation and by ``gpu-jit bench plan``. Every move has a price that says how much
its session would mind: little for one that is idle and saved, much for an active kernel, none for
one that must not be touched (unknown is busy). A change is proposed only if what it saves until
the plan is stale is worth more than its moves, with a margin, so that plans do not swing. Any
number of nodes become any number of others, one into several as well.

Sessions only move to room that is there now or to new nodes, never to where another must leave
first, so that all moves may be made at once, each when its place is ready. Pure: equal arguments,
in whatever order their parts come, give equal answers. Who waits is planned elsewhere (``solve``).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...errors import Defect
from ..model import PlannedClaim, SessionRequest, Snapshot
from ..pricing import total_usd_per_hour_micro
from .crew import Crew, Node
from .fillings import open_market, sizes
from .keeping import Choice, Standing, choose
from .limits import Row, limits_of
from .listing import offerings_for
from .market import entries
from .policy import DEFAULT, Policy
from .problem import Load
from .seats import serves, with_rates
from .served import Served
from .spread import crowded

REPACK_STEPS = 30
"""Rounds of column generation: enough for some thousand nodes."""
MARGIN = 0.1
"""What a change saves must exceed the price of its moves by that part of it."""
# How often a change is planned again because it crowds Spot pools.
_MOST_LIMITS = 6


@dataclass(frozen=True, slots=True)
class Move:
    """A session leaves a place for another: one that exists, or the key of a planned claim."""

    session: str
    source: str
    place: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Repacking:
    """What to change, nothing if nothing is worth it.

    ``ended``: places to give back once their sessions have moved. Prices are of all seats of the
    snapshot before, and of all nodes after. ``saved_usd_per_hour_micro`` is the difference of
    prices and of all that comes on top (``Policy.node_costs``); ``net_gain_micro_usd`` is what it
    comes to over the horizon less ``move_price_micro_usd``. ``lower_bound_usd_per_hour_micro``: no
    choice of nodes to keep, to fill and to buy costs less, with what comes on top and the moves
    (with the margin, spread over the horizon); ``counted_usd_per_hour_micro``: this one's cost.
    """

    ended: tuple[str, ...] = ()
    claims: tuple[PlannedClaim, ...] = ()
    moves: tuple[Move, ...] = ()
    before_usd_per_hour_micro: int = 0
    after_usd_per_hour_micro: int = 0
    saved_usd_per_hour_micro: int = 0
    move_price_micro_usd: int = 0
    net_gain_micro_usd: int = 0
    counted_usd_per_hour_micro: int = 0
    lower_bound_usd_per_hour_micro: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """When a change is worth it; the horizon is the time until the plan is expected to be stale."""

    horizon_hours: float = 1.0
    margin: float = MARGIN

    def __post_init__(self) -> None:
        """Raise Defect for terms under which nothing could be weighed."""
        if not self.horizon_hours > 0 or not self.margin >= 0:
            raise Defect("Repacking needs a horizon above 0 hours and a margin of 0 or more.")

    def hourly(self, price_micro_usd: int) -> int:
        """A move's price with the margin for each hour of the horizon, rounded up."""
        return math.ceil(price_micro_usd * (1 + self.margin) / self.horizon_hours)

    def gain(self, saved_usd_per_hour_micro: int, price_micro_usd: int) -> int:
        """What is left of the savings when the moves are paid, micro-USD."""
        return math.floor(saved_usd_per_hour_micro * self.horizon_hours) - price_micro_usd

    def pays(self, saved_usd_per_hour_micro: int, price_micro_usd: int) -> bool:
        """Whether the gain exceeds the margin."""
        return self.gain(saved_usd_per_hour_micro, price_micro_usd) > self.margin * price_micro_usd


ONE_HOUR = Terms()


def repack(
    snapshot: Snapshot,
    residents: Mapping[str, Sequence[SessionRequest]],
    movable: Mapping[str, int | None],
    policy: Policy = DEFAULT,
    *,
    terms: Terms = ONE_HOUR,
    steps: int = REPACK_STEPS,
) -> Repacking:
    """The best change found.

    ``residents``: all sessions on each seat of the snapshot, by place. A place that is not in it,
    or not ready, never ends, though its room may be used. ``movable``: the price of moving each
    session by uid, micro-USD; a session that is not in it, or has None, never moves, and its node
    keeps whom it has. Neither does one of a group: its members must stay together.
    """
    seats = with_rates(snapshot.seats, policy)
    crew = Crew.of(seats, residents, movable)
    run = _Repack(snapshot, policy, terms, crew)
    return run.answer(steps) if crew.any_may_end else run.told([])


# --- the change ----------------------------------------------------------------------------------


Holds = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Group:
    """Nodes alike in everything that counts, by place; ``cost`` is of one with all on it."""

    nodes: list[Node]
    cost: int
    risk: int
    holds: Holds
    serves: int


@dataclass
class _Part:
    """Nodes and moves that belong together: none of it makes sense without the rest."""

    ended: list[str] = field(default_factory=list)
    claims: list[PlannedClaim] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)


class _Repack:
    """One run."""

    def __init__(self, snapshot: Snapshot, policy: Policy, terms: Terms, crew: Crew) -> None:
        self.policy, self.terms, self.crew = policy, terms, crew
        self.costs = policy.node_costs
        self.shapes = crew.shapes()
        self._shape_of = {s.uid: i for i, shape in enumerate(self.shapes) for s in shape.sessions}
        self._node = {node.seat.place: node for node in crew.nodes}
        self.eligible = entries(snapshot.instance_types, policy)
        limits = limits_of(snapshot, self.costs, self.eligible)
        self.market = open_market(self.eligible, self.shapes, limits)
        self.groups = self._groups()

    def answer(self, steps: int) -> Repacking:
        """Plan; where that crowds Spot pools, limit those and plan again, or else do nothing."""
        bound = 0
        for attempt in range(_MOST_LIMITS):
            standing = self._standing()
            choice, lowest = choose(standing, steps)
            if not attempt:
                kept = sum(n.may_end * self._cost(n) for n in self.crew.nodes)
                bound = lowest + self._before() - kept
            worthy = [part for part in _parts(self._change(choice)) if self._pays(part)]
            more = self._crowded(worthy)
            if not more:
                return self.told(worthy, bound)
            limits = self.market.limits.and_also(more)
            self.market = open_market(self.eligible, self.shapes, limits)
        return self.told([], bound)

    def _crowded(self, parts: Sequence[_Part]) -> list[tuple[Row, int]]:
        ended = {place for part in parts for place in part.ended}
        seats = [node.seat for node in self.crew.nodes if node.seat.place not in ended]
        sold = [(claim.offerings[0], 1) for part in parts for claim in part.claims]
        return crowded(sold, seats, self.policy, self.market.limits.rules.rows)

    def told(self, parts: Sequence[_Part], bound: int | None = None) -> Repacking:
        """The change with all its sums; without a bound there was nothing to choose."""
        saved, price = sum(map(self._saved, parts)), sum(map(self._price, parts))
        claims = [claim for part in parts for claim in part.claims]
        moves = sorted((m for part in parts for m in part.moves), key=lambda m: m.session)
        ended = sorted(place for part in parts for place in part.ended)
        before = sum(node.seat.usd_per_hour_micro for node in self.crew.nodes)
        after = before - sum(self._node[place].seat.usd_per_hour_micro for place in ended)
        counted = self._before() - saved
        counted += sum(self.terms.hourly(self.crew.prices[move.session]) for move in moves)
        return Repacking(
            ended=tuple(ended),
            claims=tuple(claims),
            moves=tuple(moves),
            before_usd_per_hour_micro=before,
            after_usd_per_hour_micro=after
            + total_usd_per_hour_micro(claim.offerings[0] for claim in claims),
            saved_usd_per_hour_micro=saved,
            move_price_micro_usd=price,
            net_gain_micro_usd=self.terms.gain(saved, price),
            counted_usd_per_hour_micro=counted,
            lower_bound_usd_per_hour_micro=counted if bound is None else min(bound, counted),
        )

    def _cost(self, node: Node) -> int:
        return self.costs.together(node.seat.sold, node.known)

    def _before(self) -> int:
        return sum(map(self._cost, self.crew.nodes))

    def _saved(self, part: _Part) -> int:
        """What goes less what comes: new nodes, and newcomers on nodes that stay."""
        gone = sum(self._cost(self._node[place]) for place in part.ended)
        new = sum(self.costs.together(c.offerings[0], len(c.sessions)) for c in part.claims)
        stay = (self._node[move.place] for move in part.moves if move.place in self._node)
        return gone - new - sum(self.costs.of_session(node.seat.sold) for node in stay)

    def _price(self, part: _Part) -> int:
        return sum(self.crew.prices[move.session] for move in part.moves)

    def _pays(self, part: _Part) -> bool:
        return self.terms.pays(self._saved(part), self._price(part))

    # --- into numbers ---

    def _standing(self) -> Standing:
        demand = [len(shape.sessions) for shape in self.shapes]
        costs = [g.cost * g.nodes[0].may_end for g in self.groups]
        width = range(len(self.shapes))
        moves = [self.terms.hourly(self.crew.prices[s.sessions[0].uid]) for s in self.shapes]
        return Standing(
            market=self.market.problem(demand),
            rooms=sizes([g.nodes[0].seat.residual for g in self.groups])[:, self.market.counted],
            costs=np.array(costs, dtype=np.int64),
            risks=np.array([g.risk for g in self.groups], dtype=np.int64),
            serves=np.array([[bool(g.serves >> i & 1) for i in width] for g in self.groups]),
            nodes=np.array([len(g.nodes) for g in self.groups], dtype=np.int64),
            holds=np.array([g.holds for g in self.groups], dtype=np.int64),
            moves=np.array(moves, dtype=np.int64),
        )

    def _groups(self) -> list[_Group]:
        """Nodes by cost, room, whom they serve, and what they hold; by their first place."""
        served = Served(self.shapes, serves)
        found: dict[Hashable, _Group] = {}
        for node in self.crew.nodes:
            cost, risk = self._cost(node), self.costs.of_session(node.seat.sold)
            holds, mask = self._holds(node), served.mask(node.seat)
            key = (cost, risk, node.seat.residual, mask, holds, node.may_end)
            found.setdefault(key, _Group([], cost, risk, holds, mask)).nodes.append(node)
        return list(found.values())

    def _holds(self, node: Node) -> Holds:
        counts = [0] * len(self.shapes)
        for session in node.sessions:
            counts[self._shape_of[session.uid]] += 1
        return tuple(counts)

    # --- back to names ---

    def _change(self, choice: Choice) -> _Part:
        """All of it as one part: the first nodes of each group stay."""
        part = _Part()
        stay: list[list[str]] = []
        queues: list[list[tuple[str, str]]] = [[] for _ in self.shapes]
        for each, kept in zip(self.groups, choice.kept.tolist(), strict=True):
            stay.append([node.seat.place for node in each.nodes[:kept]])
            for node in each.nodes[kept:]:
                part.ended.append(node.seat.place)
                for session in sorted(node.sessions, key=lambda s: s.uid):
                    queues[self._shape_of[session.uid]].append((session.uid, node.seat.place))
        for load in choice.fills:
            for _ in range(load.repeat):
                part.moves += _handed_out(queues, load, stay[load.bin].pop(0))
        for load in choice.new:
            self._buy(part, queues, load)
        return part

    def _buy(self, part: _Part, queues: list[list[tuple[str, str]]], load: Load) -> None:
        bin_ = self.market.bins[load.bin]
        offerings = offerings_for(self.market, load.counts, self.policy, bin_)
        for _ in range(load.repeat):
            key = f"new-{len(part.claims) + 1}"
            moves = _handed_out(queues, load, key)
            sessions = tuple(move.session for move in moves)
            claim = PlannedClaim(
                key=key, offerings=offerings, sessions=sessions, layout=bin_.entry.layout
            )
            part.claims.append(claim)
            part.moves += moves


def _handed_out(queues: list[list[tuple[str, str]]], load: Load, place: str) -> list[Move]:
    """The next sessions of each shape, taken from their queues."""
    moves: list[Move] = []
    for queue, count in zip(queues, load.counts, strict=True):
        moves += [Move(uid, source, place) for uid, source in queue[:count]]
        del queue[:count]
    return moves


def _parts(whole: _Part) -> list[_Part]:
    """The change in parts that do not touch each other: joined by a session's way."""
    root: dict[str, str] = {}

    def top(place: str) -> str:
        while root.setdefault(place, place) != place:
            place = root[place]
        return place

    for move in whole.moves:
        root[top(move.place)] = top(move.source)
    parts: defaultdict[str, _Part] = defaultdict(_Part)
    for place in whole.ended:
        parts[top(place)].ended.append(place)
    for claim in whole.claims:
        parts[top(claim.key)].claims.append(claim)
    for move in whole.moves:
        parts[top(move.source)].moves.append(move)
    return [parts[key] for key in sorted(parts)]
