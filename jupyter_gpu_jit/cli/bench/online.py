"""``bench plan`` over time: whole days, a thousand nodes to repack, quotes beside them.

Called by plan.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from random import Random

from ...core.model import InstanceType, Plan, SessionRequest, Snapshot
from ...core.packing import EMPTY, FIRST_STEPS, SETTLE_STEPS, Warm, quote, solve
from ...sim.baselines import KarpenterLike
from ...sim.day import (
    DayResult,
    Fleet,
    Policy,
    WithConsolidation,
    WithMoves,
    WithoutMoves,
    least_cost_micro_usd,
    moves_at,
    play,
    repacked,
)
from ...sim.workloads import Stay, crowd_of_the_day, day_of_sessions, day_profiles
from .measuring import Counts, ratio_of, row, timed
from .rows import Row, median

MOVE_MICRO_USD = 250_000
DEAR_MOVE_MICRO_USD, CHEAP_MOVE_MICRO_USD = 1_000_000, 50_000
# How the thousand nodes came to be: in waves, and then most of their sessions left.
WAVES, LEFT_SHARE = 12, 0.75


class Online:
    """Measurements that need nodes with sessions on them, over one catalogue."""

    def __init__(self, types: tuple[InstanceType, ...], counts: Counts) -> None:
        self.types, self.counts = types, counts
        self.peer = KarpenterLike(types)

    @cached_property
    def _nodes(self) -> Fleet:
        return scattered(Random(7), self.types, self.counts.nodes, self.peer.plan)

    def repack_rows(self) -> list[Row]:
        """repacking a thousand nodes, 0.25 USD a move."""
        fleet = self._nodes
        runs = [timed(repacked, fleet, MOVE_MICRO_USD) for _ in range(self.counts.runs)]
        found, seconds = runs[0][0], median([seconds for _, seconds in runs])
        there = [s for node in fleet.nodes.values() for s in node.sessions.values()]
        bound = self._solve(there, SETTLE_STEPS).lower_bound_usd_per_hour_micro
        own = ratio_of(found.counted_usd_per_hour_micro, found.lower_bound_usd_per_hour_micro)
        size = f"{len(fleet.nodes)} nodes of the peer's planner, {len(there)} sessions"
        beside = (
            f"bound {bound / 1e6:.0f} USD/h of a fresh plan; from "
            f"{found.before_usd_per_hour_micro / 1e6:.0f} to "
            f"{found.after_usd_per_hour_micro / 1e6:.0f} with {len(found.moves)} moves; moves "
            f"counted, {own:.3f} of what is proven of any change"
        )
        ratio = ratio_of(found.after_usd_per_hour_micro, bound)
        return [
            row("repack_1000_nodes_s", "s", 1, seconds, f"{size}; median of {len(runs)}"),
            row("repack_1000_nodes_ratio", "x", 1.10, ratio, beside),
        ]

    def day_rows(self) -> list[Row]:
        """whole days online, with moves and without."""
        days = [
            day_of_sessions(Random(n), self.counts.day_sessions) for n in range(self.counts.days)
        ]
        least = [self._least(day) for day in days]
        moved = [self._play(day, self._moving(MOVE_MICRO_USD)) for day in days]
        still = [self._play(day, WithoutMoves(_first_plan)) for day in days]
        theirs = [self._play(day, WithoutMoves(self.peer.plan)) for day in days]
        against = [o.cost_micro_usd / t.cost_micro_usd for o, t in zip(still, theirs, strict=True)]
        many = f"{len(days)} days of about {self.counts.day_sessions} sessions"
        beside = (
            f"{many}; to the sum of bounds: ours {median(_ratios(still, least)):.2f}, "
            f"Karpenter-like {median(_ratios(theirs, least)):.2f}"
        )
        others = f"{many}, {moved[0].moves} moves on the first; there: {self._others(days, least)}"
        ratio = median(_ratios(moved, least))
        return [
            row("day_025_ratio", "x", 1.12, ratio, others),
            row("day_no_moves_vs_karpenter_like", "x", 0.95, median(against), beside),
        ]

    def _others(self, days: Sequence[Sequence[Stay]], least: Sequence[int]) -> str:
        """The other policies, on the first day only: no rows, but what rows stand beside."""
        policies: dict[str, Policy] = {
            "1.00 USD a move": self._moving(DEAR_MOVE_MICRO_USD),
            "0.05 USD": self._moving(CHEAP_MOVE_MICRO_USD),
            "Karpenter-like with consolidation": WithConsolidation(self.peer),
        }
        results = {name: self._play(days[0], policy) for name, policy in policies.items()}
        return ", ".join(
            f"{name} {ratio_of(result.cost_micro_usd, least[0]):.2f} ({result.moves} moves)"
            for name, result in results.items()
        )

    def _moving(self, move_micro_usd: int) -> WithMoves:
        return WithMoves(_first_plan, moves_at(move_micro_usd))

    def _play(self, day: Sequence[Stay], policy: Policy) -> DayResult:
        return play(day, self.types, policy)

    def _least(self, day: Sequence[Stay]) -> int:
        """The sum of bounds over a day; each minute starts from what the last one found."""
        warm = EMPTY

        def bound(sessions: Sequence[SessionRequest]) -> int:
            nonlocal warm
            plan = self._solve(sessions, FIRST_STEPS, warm=warm)
            warm = Warm(patterns=plan.patterns)
            return plan.lower_bound_usd_per_hour_micro

        return least_cost_micro_usd(day, bound)

    def _solve(self, sessions: Sequence[SessionRequest], steps: int, warm: Warm = EMPTY) -> Plan:
        asked = Snapshot(now=0.0, waiting=tuple(sessions), instance_types=self.types)
        return solve(asked, warm=warm, steps=steps)

    def quote_rows(self) -> list[Row]:
        """quotes for 21 profiles beside a thousand nodes."""
        snapshot, profiles = self._nodes.snapshot(()), day_profiles()
        runs = [timed(quote, snapshot, profiles) for _ in range(self.counts.repeats)]
        quotes = runs[0][0]
        now = sum(each.seat == "now" for each in quotes)
        beside = f"{len(snapshot.seats)} nodes; {now} of {len(quotes)} profiles have a seat now"
        ms = median([1000 * seconds for _, seconds in runs])
        return [row("quotes_1000_nodes_ms", "ms", 20, ms, beside)]


def _ratios(results: Sequence[DayResult], least: Sequence[int]) -> list[float]:
    return [ratio_of(r.cost_micro_usd, low) for r, low in zip(results, least, strict=True)]


def _first_plan(snapshot: Snapshot) -> Plan:
    return solve(snapshot, steps=FIRST_STEPS)


def scattered(
    dice: Random,
    types: tuple[InstanceType, ...],
    nodes: int,
    planner: Callable[[Snapshot], Plan] = _first_plan,
) -> Fleet:
    """So many nodes after a busy hour: planned in waves, then most sessions left, evenly."""
    crowd, fleet = crowd_of_the_day(dice, WAVES * nodes), Fleet(types)
    for wave in range(WAVES):
        coming = crowd[wave::WAVES]
        fleet.seat_all(coming, planner(fleet.snapshot(coming)))
    for session in dice.sample(crowd, int(LEFT_SHARE * len(crowd))):
        fleet.end(session.uid)
    for place in dice.sample(sorted(fleet.nodes), max(0, len(fleet.nodes) - nodes)):
        for uid in list(fleet.nodes[place].sessions):
            fleet.end(uid)
    return fleet
