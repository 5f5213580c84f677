"""A profile's sessions over Spot pools and zones: counted, priced, and proven."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from packing_worlds import (
    ANY_CAPACITY,
    ON_DEMAND,
    SPOT,
    ZONES,
    amount,
    kind,
    launched,
    offering,
    places,
    seat,
    session,
    snapshot,
)
from parts_worlds import optimum

from jupyter_gpu_jit.core.model import GroupPolicy, Plan, SessionRequest, Together
from jupyter_gpu_jit.core.packing import Policy, solve, spreading
from jupyter_gpu_jit.core.packing.engine import SETTLE_STEPS
from jupyter_gpu_jit.core.packing.parts import Parts
from jupyter_gpu_jit.core.packing.problem import problem
from jupyter_gpu_jit.core.packing.spreading import NOT_SPREAD, TOO_DEAR

A, B = ZONES
HALF = Policy(max_pool_share=0.5)


def of(profile: str, *uids: str, cpu: float = 4, **more) -> list[SessionRequest]:
    """Sessions that have their requirements in common, as those of a profile do."""
    one = session("one", cpu=cpu, **more)
    return [replace(one, uid=uid, user=uid, profile=profile) for uid in uids]


def pools(name: str, *prices: float, cpu: float = 16, capacity=SPOT):
    """A type in as many zones as there are prices."""
    zones = [f"us-east-1{letter}" for letter in "abcdef"]
    sold = [offering(name, usd, zone, capacity) for usd, zone in zip(prices, zones, strict=False)]
    return kind(name, 0, cpu=cpu, gib=64, offerings=sold)


LARGE = pools("m5.4xlarge", 0.40, 0.42)
SMALL = pools("m5.xlarge", 0.15, 0.16, cpu=4)


def by_pool(plan: Plan, waiting, profile: str = "p") -> Counter[tuple[str, str]]:
    """Sessions of a profile in each pool, as first choice."""
    own = {s.uid for s in waiting if s.profile == profile}
    found: Counter[tuple[str, str]] = Counter()
    for claim in plan.claims:
        first = claim.offerings[0]
        if first.capacity_type is SPOT:
            found[first.instance_type, first.zone] += len(own.intersection(claim.sessions))
    return found


# --- what is counted ----------------------------------------------------------------------------


def test_sessions_are_spread_and_not_nodes():
    waiting = of("p", *"abcd")
    assert launched(solve(snapshot(waiting, [LARGE]))) == [("m5.4xlarge", 4)]
    plan = solve(snapshot(waiting, [LARGE]), HALF)
    assert sorted(by_pool(plan, waiting).values()) == [2, 2]
    assert plan.usd_per_hour_micro == plan.lower_bound_usd_per_hour_micro == 820_000
    assert plan.proven


def test_each_profile_is_spread_by_itself():
    waiting = [*of("p", "a"), *of("q", "b"), *of("r", "c"), *of("s", "d")]
    assert launched(solve(snapshot(waiting, [LARGE]), HALF)) == [("m5.4xlarge", 4)]
    pairs = [*of("p", *"ab"), *of("q", *"cd")]
    plan = solve(snapshot(pairs, [LARGE]), HALF)
    assert launched(plan) == [("m5.4xlarge", 2)] * 2
    for profile in "pq":
        assert sorted(by_pool(plan, pairs, profile).values()) == [1, 1]


def test_sizes_of_one_profile_count_together():
    waiting = [*of("p", "a", "b", cpu=4), *of("p", "c", "d", cpu=3)]
    plan = solve(snapshot(waiting, [LARGE]), HALF)
    assert sorted(by_pool(plan, waiting).values()) == [2, 2]


def test_zones_are_limited_for_themselves():
    types = [LARGE, pools("c5.4xlarge", 0.41, 0.6)]
    waiting = of("p", *"abcd")
    in_pools = solve(snapshot(waiting, types), HALF)
    assert set(by_pool(in_pools, waiting)) == {("m5.4xlarge", A), ("c5.4xlarge", A)}
    in_zones = solve(snapshot(waiting, types), Policy(max_zone_share=0.5))
    assert set(by_pool(in_zones, waiting)) == {("m5.4xlarge", A), ("m5.4xlarge", B)}


def test_sessions_that_run_count_where_they_are():
    there = seat("c1", LARGE, taken=amount(0, 16, 4), sessions=tuple(of("p", "x", "y")))
    waiting = of("p", "a", "b")
    plan = solve(snapshot(waiting, [LARGE], [there]), HALF)
    assert by_pool(plan, waiting) == {("m5.4xlarge", B): 2}
    others = replace(there, sessions=tuple(of("q", "x", "y")))
    plan = solve(snapshot(waiting, [LARGE], [others]), HALF)
    assert sorted(by_pool(plan, waiting).values()) == [1, 1]


def test_sessions_that_take_a_seat_now_count_there():
    room = seat("c1", LARGE, taken=amount(0, 8, 4))
    waiting = of("p", *"abcd")
    plan = solve(snapshot(waiting, [LARGE], [room]), HALF)
    assert sorted(places(plan).values())[:2] == ["c1", "c1"]
    assert by_pool(plan, waiting) == {("m5.4xlarge", B): 2}
    firm = replace(room, capacity_type=ON_DEMAND)
    anywhere = of("p", *"abcd", capacity=ANY_CAPACITY)
    plan = solve(snapshot(anywhere, [LARGE], [firm]), HALF)
    assert sorted(by_pool(plan, anywhere).values()) == [1, 1]


def test_on_demand_is_no_pool_to_be_spread_over():
    sold = [offering("m5.4xlarge", 0.40, A), offering("m5.4xlarge", 0.50, A, ON_DEMAND)]
    types = [kind("m5.4xlarge", 0, cpu=16, gib=64, offerings=sold)]
    waiting = of("p", *"abcd", capacity=ANY_CAPACITY)
    plan = solve(snapshot(waiting, types), HALF)
    assert [c.offerings[0].capacity_type for c in plan.claims] == [ON_DEMAND]
    assert plan.proven
    firm = of("p", *"abcd", capacity=ANY_CAPACITY.ON_DEMAND)
    assert launched(solve(snapshot(firm, types), HALF)) == [("m5.4xlarge", 4)]


def test_sessions_of_a_group_stay_together():
    policy = GroupPolicy(together=Together.ZONE, all_or_none=True)
    waiting = [replace(s, group="g", group_policy=policy) for s in of("p", *"abcd", cpu=7)]
    plan = solve(snapshot(waiting, [LARGE]), HALF)
    assert by_pool(plan, waiting) == {("m5.4xlarge", A): 4}
    assert plan.notes == ()
    there = seat("c1", LARGE, taken=amount(0, 14, 2), sessions=tuple(waiting[:2]))
    late = snapshot(of("p", "x", "y", cpu=2), [LARGE], [there])
    assert sorted(places(solve(late, HALF)).values()) == ["c1", "new-1"]
    room = seat("c1", LARGE, taken=amount(0, 2, 2))
    mixed = snapshot([*waiting[:2], *of("p", "x", "y", cpu=4)], [LARGE], [room])
    assert len(solve(mixed, HALF).placements) == 4


# --- what it may cost ---------------------------------------------------------------------------


def test_spreading_stops_where_the_policy_says_it_is_too_dear():
    waiting = of("p", *"abcd")
    thrifty = replace(HALF, spread_price_factor=2.0)
    plan = solve(snapshot(waiting, [LARGE]), thrifty)
    assert launched(plan) == [("m5.4xlarge", 4)]
    assert plan.notes == (TOO_DEAR,)
    assert plan.proven
    assert (
        len(solve(snapshot(waiting, [LARGE]), replace(HALF, spread_price_factor=2.06)).claims) == 2
    )


def test_profiles_on_one_node_stay_there_where_only_they_are_dear():
    dear = kind("p4d.24xlarge", 0, gpus=8, cpu=96, gib=1000, model="A100", offerings=[
        offering("p4d.24xlarge", 10, A), offering("p4d.24xlarge", 10, B)
    ])  # fmt: skip
    waiting = [*of("gpu", "x", "y", cpu=2, gpus=4), *of("p", *"abcd")]
    thrifty = replace(HALF, spread_price_factor=1.25)
    small = pools("m5.xlarge", 0.15, 0.16, cpu=4)
    pinned = [replace(s, requirements=replace(s.requirements, gpu_models=("A100",)))
              if s.profile == "gpu" else s for s in waiting]  # fmt: skip
    types = [dear, replace(small, allocatable=replace(small.allocatable, cpu_millicpu=4000))]
    cpu_heavy = [replace(s, requirements=replace(s.requirements, node_labels=NOT_GPU))
                 if s.profile == "p" else s for s in pinned]  # fmt: skip
    plan = solve(snapshot(cpu_heavy, types), thrifty)
    assert ("p4d.24xlarge", 2) in launched(plan)
    assert sorted(by_pool(plan, waiting).values())[-2:] == [2, 2]
    assert plan.notes == (TOO_DEAR,)


NOT_GPU = (("node.kubernetes.io/instance-type", "m5.xlarge"),)


def test_a_budget_is_kept_while_spreading():
    waiting = of("p", *"abcd")
    fine = solve(snapshot(waiting, [LARGE], cap_usd=0.82), HALF)
    assert len(fine.claims) == 2
    short = solve(snapshot(waiting, [LARGE], cap_usd=0.81), HALF)
    assert launched(short) == [("m5.4xlarge", 4)]
    assert short.notes == (NOT_SPREAD,)


THIRTY = [pools(f"w{n}.xlarge", 0.10 + n / 100, cpu=4) for n in range(30)]
TWENTIETH = Policy(max_pool_share=0.05)


def test_of_many_the_last_nodes_go_to_other_pools_as_they_are():
    waiting = of("p", *(f"s{n}" for n in range(30)))
    plan = solve(snapshot(waiting, THIRTY), TWENTIETH)
    assert plan.notes == ()
    assert sorted(by_pool(plan, waiting).values()) == [2] * 15
    # Two in each of the fifteen cheapest: nothing is cheaper.
    assert plan.usd_per_hour_micro == sum(2 * (100_000 + n * 10_000) for n in range(15))


def test_where_the_last_nodes_find_no_other_pool_all_stay(monkeypatch):
    monkeypatch.setattr(spreading, "_FAR", 1.0)
    monkeypatch.setattr(spreading, "_NEAR", 1.0)
    waiting = of("p", *(f"s{n}" for n in range(30)))
    plan = solve(snapshot(waiting, THIRTY), TWENTIETH)
    assert plan.notes == (NOT_SPREAD,)
    assert by_pool(plan, waiting) == {("w0.xlarge", A): 30}


def test_the_last_nodes_do_not_go_where_money_is_short(monkeypatch):
    monkeypatch.setattr(spreading, "_NEAR", 1.0)
    waiting = of("p", *(f"s{n}" for n in range(30)))
    enough = snapshot(waiting, THIRTY, cap_usd=5.1)
    assert solve(enough, TWENTIETH).notes == ()
    assert solve(snapshot(waiting, THIRTY, cap_usd=5.0), TWENTIETH).notes == (NOT_SPREAD,)


# --- what a launch may turn to ------------------------------------------------------------------


def test_no_node_lists_a_pool_that_would_be_crowded_if_all_went_there():
    types = [pools(f"m{n}.4xlarge", 0.40, 0.41, 0.42) for n in (5, 6, 7)]
    waiting = of("p", *(f"s{n}" for n in range(16)))
    plan = solve(snapshot(waiting, types), Policy(max_pool_share=0.25, max_zone_share=0.5))
    worst: Counter[tuple[str, ...]] = Counter()
    for claim in plan.claims:
        for place in {(o.instance_type, o.zone) for o in claim.offerings}:
            worst[place] += len(claim.sessions)
        for zone in {o.zone for o in claim.offerings}:
            worst[(zone,)] += len(claim.sessions)
    assert max(n for place, n in worst.items() if len(place) == 2) <= 4
    assert max(n for place, n in worst.items() if len(place) == 1) <= 8
    assert any(len(claim.offerings) > 1 for claim in plan.claims)


# --- proven -------------------------------------------------------------------------------------


def drawn(seed: int):
    dice = Random(seed)
    types = [
        pools(f"w{n}.large", *(dice.randint(20, 90) / 100 for _ in range(dice.randint(1, 3))),
              cpu=dice.choice((4, 8, 16)))
        for n in range(dice.randint(1, 3))
    ]  # fmt: skip
    waiting = [
        *itertools.chain.from_iterable(
            of(profile, *(f"{profile}{n}" for n in range(dice.randint(0, 3))), cpu=cpu)
            for profile, cpu in (("p", dice.choice((2, 4))), ("q", dice.choice((3, 4))))
        )
    ]
    policy = Policy(
        max_pool_share=dice.choice((0.34, 0.5, 0.7)), max_zone_share=dice.choice((1.0, 0.6))
    )
    return waiting, types, policy


def stated(waiting, types, policy, there=None):
    """The same in numbers: a bin for each pool, a part for each profile in each pool and zone.

    With a node that is there as a bin that costs nothing. What is on new nodes counts in a part,
    and who runs there, but not who might take a seat: so nothing that may be done is left out.
    """
    sold = [(kind_, o) for kind_ in types for o in kind_.offerings]
    profiles = sorted({s.profile for s in waiting})
    sizes = {s.profile: [s.resources.cpu_millicpu, 1] for s in waiting}
    demand = [sum(s.profile == p for s in waiting) for p in profiles]
    rooms = [[k.allocatable.cpu_millicpu, k.allocatable.pods] for k, _ in sold]
    prices = [o.usd_per_hour_micro for _, o in sold]
    running = Counter(s.profile for s in there.sessions) if there else Counter()
    if there:
        rooms.append([there.residual.cpu_millicpu, there.residual.pods])
        prices.append(0)
    once = [0] * len(sold) + [1] * (len(rooms) - len(sold))
    world = problem(
        [sizes[p] for p in profiles],
        demand,
        rooms,
        prices,
        limits=[1 if seat_ else 1 << 40 for seat_ in once],
        rows=[once],
        row_limits=[1],
    )
    bins, shapes, limits = [], [], []
    for (number, count), (share, key) in itertools.product(
        enumerate(demand),
        (
            (policy.max_pool_share, lambda o: (o.instance_type, o.zone)),
            (policy.max_zone_share, lambda o: o.zone),
        ),
    ):
        for place in sorted({key(o) for _, o in sold}, key=str):
            bins.append([key(o) == place for _, o in sold] + [False] * sum(once))
            shapes.append([i == number for i in range(len(profiles))])
            profile = profiles[number]
            here = running[profile] if there and key(there.sold) == place else 0
            most = math.ceil(share * (count + running[profile]) - 1e-9)
            limits.append(max(0, most - here))
    caps = np.full((len(bins), len(rooms)), 1 << 40)
    return world, Parts(np.array(bins), np.array(shapes), np.array(limits), caps)


@pytest.mark.parametrize("number", range(4))
def test_a_handful_is_spread_at_the_true_optimum(number):
    spread = proven = 0
    for seed in range(number * 40, number * 40 + 40):
        waiting, types, policy = drawn(seed)
        if not waiting:
            continue
        plan = solve(snapshot(waiting, types), policy)
        assert len(plan.placements) == len(waiting), seed
        best = optimum(*stated(waiting, types, policy))
        if best is None:
            assert plan.notes, seed
            continue
        assert plan.lower_bound_usd_per_hour_micro <= best, seed
        if plan.notes:
            continue
        spread += 1
        assert plan.usd_per_hour_micro >= best, seed
        proven += plan.proven and plan.usd_per_hour_micro == best
    assert spread > 10
    assert proven == spread


@pytest.mark.parametrize("number", range(3))
def test_the_bound_holds_beside_nodes_that_are_there(number):
    spread = near = 0
    for seed in range(number * 40, number * 40 + 40):
        waiting, types, policy = drawn(seed)
        if not waiting:
            continue
        dice = Random(seed)
        running = of("p", *(f"old{n}" for n in range(dice.randint(0, 3))))
        room = amount(0, types[0].allocatable.cpu_millicpu / 1000 - dice.randint(2, 8), 1)
        there = seat("c1", types[0], taken=room, sessions=tuple(running))
        plan = solve(snapshot(waiting, types, [there]), policy)
        best = optimum(*stated(waiting, types, policy, there))
        if best is None:
            continue
        assert plan.lower_bound_usd_per_hour_micro <= best, seed
        if not plan.notes:
            spread += 1
            assert plan.usd_per_hour_micro >= best, seed
            near += plan.gap < 0.25
    assert spread > 10
    assert near > 0.3 * spread


@pytest.mark.parametrize("steps", [8, SETTLE_STEPS])
def test_a_crowd_is_spread_and_the_bound_holds(steps):
    for seed in range(3):
        dice = Random(seed)
        types = [
            pools(f"w{n}.large", *(dice.randint(40, 60) / 100 * size for _ in range(3)),
                  cpu=16 * size)
            for n, size in enumerate((1, 2, 4))
        ]  # fmt: skip
        waiting = [
            *of("p", *(f"p{n}" for n in range(dice.randint(20, 40))), cpu=3),
            *of("q", *(f"q{n}" for n in range(dice.randint(10, 30))), cpu=7),
        ]
        plan = solve(snapshot(waiting, types), HALF, steps=steps)
        free = solve(snapshot(waiting, types), steps=steps)
        assert plan.notes == ()
        for profile in "pq":
            count = sum(s.profile == profile for s in waiting)
            assert max(by_pool(plan, waiting, profile).values()) <= math.ceil(count / 2)
        assert free.lower_bound_usd_per_hour_micro <= plan.lower_bound_usd_per_hour_micro
        assert plan.gap < 0.1


def test_the_order_of_sessions_does_not_matter():
    waiting = [*of("p", *"abc"), *of("q", "d")]
    plans = {
        repr(solve(snapshot(order, [LARGE, SMALL]), HALF))
        for order in itertools.permutations(waiting)
    }
    assert len(plans) == 1
