"""``bench plan``: what the planner's answers cost and how long they take, beside bound and peer.

Called by figures.py. Time is processor time of this process, which solves on one thread: what a
quiet machine would take, also on a busy one. Every crowd comes from a seed (sim/workloads.py).
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

from ...core.model import InstanceType, Plan, SessionRequest, Snapshot
from ...core.packing import EMPTY, FIRST_STEPS, SETTLE_STEPS, Warm, solve
from ...sim import peer
from ...sim.baselines import karpenter_like
from ...sim.workloads import benchmark_mix, hub_mix, linear_types
from .measuring import Catalogues, Counts, ratio_of, row, timed
from .mix import plan_mix
from .online import Online
from .rows import Row, median, percentile

Say = Callable[[str], None]
EXACT_SESSIONS, EXACT_SHAPES = 20, 40
SHAPES, THOUSAND, TEN_THOUSAND = 40, 1000, 10_000
CHANGED_SHARE = 0.2
MIX_SEED = 42
GO_PODS_PER_S = "its Go program: 250-400 on the same kind of machine"


def measure(catalogues: Catalogues, counts: Counts, say: Say) -> list[Row]:
    """All rows, in the order of the issue that asked for them."""
    bench, online = _Bench(catalogues, counts), Online(catalogues.common, counts)
    rows: list[Row] = []
    for part in (
        bench.peer_rows,
        bench.exact_rows,
        bench.first_and_settled_rows,
        bench.large_rows,
        bench.warm_rows,
        bench.mix_rows,
        online.repack_rows,
        online.day_rows,
        online.quote_rows,
    ):
        say((part.__doc__ or "").rstrip("."))
        gc.collect()
        rows += part()
    return rows


@dataclass(frozen=True, slots=True)
class _Draw:
    """One crowd: its first answer, its settled one, processor seconds of each."""

    first: Plan
    first_s: float
    settled: Plan
    settled_s: float
    unseen_s: float
    """Of the very first answer, to profiles never planned before."""

    @property
    def bound(self) -> int:
        """The best that is proven of what any plan costs."""
        return max(
            self.first.lower_bound_usd_per_hour_micro, self.settled.lower_bound_usd_per_hour_micro
        )

    @property
    def first_ratio(self) -> float:
        """Of the first answer, to the best bound."""
        return ratio_of(self.first.usd_per_hour_micro, self.bound)

    @property
    def settled_ratio(self) -> float:
        """Of the settled answer, to the best bound."""
        return ratio_of(self.settled.usd_per_hour_micro, self.bound)


class _Bench:
    """The measurements, each a few rows."""

    def __init__(self, catalogues: Catalogues, counts: Counts) -> None:
        self.catalogues, self.counts = catalogues, counts

    # --- small and proven ---

    def peer_rows(self) -> list[Row]:
        """the peer's table: thirteen workloads, 58 types."""
        plans = {work.name: self._settled_peer(work) for work in peer.TABLE}
        ratios = {
            name: ratio_of(plan.usd_per_hour_micro, plan.lower_bound_usd_per_hour_micro)
            for name, plan in plans.items()
        }
        worst = max(ratios, key=lambda name: ratios[name])
        ten = plans[peer.TEN_PODS.name].usd_per_hour_micro
        optimum = round(peer.TEN_PODS.optimum_usd * 1_000_000)
        return [
            row("ten_pods_ratio", "x", 1.001, ten / optimum, _ten_pods_beside(ten)),
            row("peer_table_worst_ratio", "x", 1.01, ratios[worst], _table_beside(worst)),
        ]

    def _settled_peer(self, work: peer.Workload) -> Plan:
        sessions = peer.sessions(work.asks)
        return self._solve(sessions, SETTLE_STEPS, types=self.catalogues.peer)

    def exact_rows(self) -> list[Row]:
        """twenty sessions, exactly."""
        crowds = self._crowds("exact", EXACT_SHAPES, EXACT_SESSIONS, self.counts.exact_draws)
        draws = [self._often(crowd) for crowd in crowds]
        ms = [1000 * seconds for _, seconds in draws]
        proven = sum(plan.proven for plan, _ in draws)
        beside = (
            f"slowest of {len(ms)} crowds of {EXACT_SESSIONS}, median {median(ms):.0f} ms; "
            f"proven optimal: {proven} of {len(ms)}"
        )
        return [row("exact_20_ms", "ms", 150, max(ms), beside)]

    # --- a thousand and ten thousand ---

    def first_and_settled_rows(self) -> list[Row]:
        """a thousand sessions of forty shapes, first and settled."""
        draws = self._draws("first", THOUSAND, self.counts.first_draws)
        ms = [1000 * d.first_s for d in draws]
        ratios = [d.first_ratio for d in draws]
        unseen = [1000 * d.unseen_s for d in draws]
        first = (
            f"{len(draws)} crowds of known profiles; median {median(ms):.1f} ms; of profiles "
            f"never seen before: median {median(unseen):.1f}, 99 % {percentile(unseen, 99):.1f} ms"
        )
        ratio = f"99th percentile of {len(draws)} crowds; median {median(ratios):.4f}"
        return [
            row("first_1000x40_p99_ms", "ms", 50, percentile(ms, 99), first),
            row("first_1000x40_ratio", "x", 1.02, percentile(ratios, 99), ratio),
            *_settled_rows("settled_1000x40", draws, 1.01),
        ]

    def large_rows(self) -> list[Row]:
        """ten thousand sessions of forty shapes, settled."""
        draws = self._draws("large", TEN_THOUSAND, self.counts.large_draws)
        return _settled_rows("settled_10000x40", draws, 1.005)

    def warm_rows(self) -> list[Row]:
        """a thousand sessions, each shape's number changed by up to a fifth."""
        ms, ratios = [], []
        for number, crowd in enumerate(
            self._crowds("warm", SHAPES, THOUSAND, self.counts.warm_draws)
        ):
            warm = Warm(patterns=self._solve(crowd, SETTLE_STEPS).patterns)
            changed = _changed(Random(number), crowd)
            plan, seconds = self._often(changed, warm)
            bound = self._solve(changed, SETTLE_STEPS).lower_bound_usd_per_hour_micro
            ms.append(1000 * seconds)
            ratios.append(ratio_of(plan.usd_per_hour_micro, bound))
        beside = f"median of {len(ms)}, slowest {max(ms):.0f} ms; ratio {median(ratios):.4f}"
        return [row("warm_1000x40_ms", "ms", 15, median(ms), beside)]

    def _draws(self, name: str, sessions: int, count: int) -> list[_Draw]:
        return [self._draw(crowd) for crowd in self._crowds(name, SHAPES, sessions, count)]

    def _draw(self, crowd: Sequence[SessionRequest]) -> _Draw:
        _, unseen_s = timed(self._solve, crowd, FIRST_STEPS)
        first, first_s = self._often(crowd)
        settled, settled_s = timed(self._solve, crowd, SETTLE_STEPS)
        return _Draw(first, first_s, settled, settled_s, unseen_s)

    def _often(self, crowd: Sequence[SessionRequest], warm: Warm = EMPTY) -> tuple[Plan, float]:
        """The first answer, which is always the same, and the median time for it."""
        runs = [
            timed(self._solve, crowd, FIRST_STEPS, warm=warm) for _ in range(self.counts.repeats)
        ]
        return runs[0][0], median([seconds for _, seconds in runs])

    def _crowds(
        self, name: str, shapes: int, sessions: int, count: int
    ) -> list[tuple[SessionRequest, ...]]:
        """Random hubs; a seed for each. The first solve of a catalogue prepares it: not timed."""
        self._solve(hub_mix(Random(0), self.catalogues.common, shapes=1, sessions=1), 0)
        asked = self.counts.crowd(sessions)
        return [
            hub_mix(Random(f"{name}-{n}"), self.catalogues.common, shapes=shapes, sessions=asked)
            for n in range(count)
        ]

    def _solve(
        self,
        sessions: Sequence[SessionRequest],
        steps: int,
        *,
        warm: Warm = EMPTY,
        types: tuple[InstanceType, ...] = (),
    ) -> Plan:
        on_sale = types or self.catalogues.common
        asked = Snapshot(now=0.0, waiting=tuple(sessions), instance_types=on_sale)
        return solve(asked, warm=warm, steps=steps)

    # --- the peer's benchmark, a day, quotes ---

    def mix_rows(self) -> list[Row]:
        """Karpenter's benchmark mix, 400 types."""
        types, pods = linear_types(), self.counts.mix_pods
        mix = benchmark_mix(Random(MIX_SEED), pods)
        runs = [timed(plan_mix, mix, types) for _ in range(self.counts.runs)]
        rate = median([pods / seconds for _, seconds in runs])
        ours = runs[0][0].cost_micro
        asked = Snapshot(now=0.0, waiting=mix.sessions, instance_types=types)
        theirs = karpenter_like(asked, mix.one_per_node)
        cost = (
            f"Karpenter-like {theirs.usd_per_hour_micro / 1e6:.0f} USD/h on "
            f"{len(theirs.claims)} nodes, ours {ours / 1e6:.0f}"
        )
        return [
            row(
                f"karpenter_mix_{TEN_THOUSAND}_pods_per_s",
                "pods/s",
                20_000,
                rate,
                GO_PODS_PER_S,
                higher=True,
            ),
            row("karpenter_mix_cost_ratio", "x", 0.75, ours / theirs.usd_per_hour_micro, cost),
        ]


def _settled_rows(name: str, draws: Sequence[_Draw], aim: float) -> list[Row]:
    ratios = [draw.settled_ratio for draw in draws]
    seconds = [draw.settled_s for draw in draws]
    firsts = median([draw.first_ratio for draw in draws])
    worst = f"median of {len(draws)}, worst {max(ratios):.4f}; first answer {firsts:.4f}"
    slowest = f"median of {len(draws)}, slowest {max(seconds):.2f} s"
    return [
        row(f"{name}_ratio", "x", aim, median(ratios), worst),
        row(f"{name}_s", "s", 1, median(seconds), slowest),
    ]


def _ten_pods_beside(cost_micro: int) -> str:
    ten = peer.TEN_PODS
    return (
        f"optimum {ten.optimum_usd:.3f} USD/h (integer program over all fillings), ours "
        f"{cost_micro / 1e6:.3f}, Karpenter's plan {ten.peer_usd:.2f}"
    )


def _table_beside(worst: str) -> str:
    ratios = [work.peer_usd / work.optimum_usd for work in peer.TABLE]
    return (
        f"{worst} of {len(peer.TABLE)} workloads; Karpenter's plans {median(ratios):.2f} "
        f"(worst {max(ratios):.2f}) times the optimum"
    )


def _changed(dice: Random, crowd: Sequence[SessionRequest]) -> list[SessionRequest]:
    """The crowd with up to a fifth more or fewer of each shape."""
    shapes: dict[object, list[SessionRequest]] = {}
    for session in crowd:
        shapes.setdefault((session.resources, session.requirements), []).append(session)
    return [who for alike in shapes.values() for who in _resized(dice, alike)]


def _resized(dice: Random, alike: Sequence[SessionRequest]) -> list[SessionRequest]:
    count = round(len(alike) * (1 + dice.uniform(-CHANGED_SHARE, CHANGED_SHARE)))
    more = (replace(alike[0], uid=f"{alike[0].uid}-{n}") for n in range(count - len(alike)))
    return [*alike[:count], *more]
