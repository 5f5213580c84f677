"""Prices beyond the catalogue's, and limits on what may be bought: each where it alone decides."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
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
    refusal,
    seat,
    session,
    snapshot,
)

from jupyter_gpu_jit.core.model import Offering, Plan, Probe, Profile, Snapshot
from jupyter_gpu_jit.core.packing import Policy, quote, solve
from jupyter_gpu_jit.core.packing.policy import BARE, USUAL
from jupyter_gpu_jit.core.pricing import PRIOR_INTERRUPTIONS_PER_HOUR, NodeCosts
from jupyter_gpu_jit.core.quotas import Quota, vcpu_class
from jupyter_gpu_jit.core.requirements import CapacityType
from jupyter_gpu_jit.errors import Defect

A, B = ZONES
M5 = kind("m5.xlarge", 0.1)
CENT = 10_000


def sold(
    name: str, usd: float, rate: float | None = None, zone: str = A, capacity: CapacityType = SPOT
) -> Offering:
    return replace(offering(name, usd, zone, capacity), interruptions_per_hour=rate)


def one(name: str, *offerings: Offering, **more):
    return kind(name, 0, offerings=offerings, **more)


def bought(plan: Plan) -> list[tuple[str, str, str]]:
    """What is launched where, as first choice of each claim."""
    firsts = (claim.offerings[0] for claim in plan.claims)
    return sorted((o.instance_type, o.zone, o.capacity_type.value) for o in firsts)


# --- what a node costs ---------------------------------------------------------------------------


def test_costs_of_a_node_add_up():
    costs = NodeCosts(root_disk=7, node_restart=1000, session_restart=500)
    pool = sold("m5.xlarge", 0.1, 0.02)
    assert costs.of_node(pool) == 100_000 + 7 + 20
    assert costs.of_session(pool) == 10
    assert costs.together(pool, 3) == 100_057
    assert NodeCosts().of_node(sold("m5.xlarge", 0)) == 1
    assert costs.of_session(sold("m5.xlarge", 0.1)) == 0


def test_a_root_disk_for_each_node_speaks_for_fewer_nodes():
    types = [kind("c5.large", 0.1, cpu=4), kind("c5.4xlarge", 0.42, cpu=16)]
    waiting = [session(f"s{n}", cpu=4) for n in range(4)]
    assert launched(solve(snapshot(waiting, types))) == [("c5.large", 1)] * 4
    plan = solve(snapshot(waiting, types), Policy(root_disk_usd_per_hour_micro=CENT))
    assert launched(plan) == [("c5.4xlarge", 4)]
    assert plan.usd_per_hour_micro == 420_000
    assert plan.extra_usd_per_hour_micro == CENT
    assert plan.lower_bound_usd_per_hour_micro == plan.cost_usd_per_hour_micro == 430_000
    assert plan.proven
    assert plan.gap == 0


def test_a_pool_that_is_often_taken_back_must_be_that_much_cheaper():
    types = [one("m5.xlarge", sold("m5.xlarge", 0.10, 0.5, A), sold("m5.xlarge", 0.11, 0.01, B))]
    world = snapshot([session("a")], types)
    assert bought(solve(world)) == [("m5.xlarge", A, "spot")]
    careful = Policy(session_restart_usd_micro=50_000)
    assert bought(solve(world, careful)) == [("m5.xlarge", B, "spot")]
    careless = Policy(session_restart_usd_micro=10_000)
    assert bought(solve(world, careless)) == [("m5.xlarge", A, "spot")]


def test_the_restart_of_a_node_is_paid_once_for_all_its_sessions():
    types = [one("m5.xlarge", sold("m5.xlarge", 0.10, 1.0, A), sold("m5.xlarge", 0.13, 0.0, B))]
    two = snapshot([session(u) for u in "ab"], types)
    per_node = Policy(node_restart_usd_micro=20_000)
    per_session = Policy(session_restart_usd_micro=20_000)
    assert bought(solve(two, per_node)) == [("m5.xlarge", A, "spot")]
    assert bought(solve(two, per_session)) == [("m5.xlarge", B, "spot")]


def test_on_demand_is_worth_more_when_spot_is_expected_to_end():
    pools = sold("m5.xlarge", 0.1), sold("m5.xlarge", 0.12, capacity=ON_DEMAND)
    world = snapshot([session("a", capacity=ANY_CAPACITY)], [one("m5.xlarge", *pools)])
    unknown = Policy(session_restart_usd_micro=250_000)
    assert bought(solve(world, unknown)) == [("m5.xlarge", A, "spot")]
    prior = replace(unknown, prior_interruptions_per_hour=0.1)
    assert bought(solve(world, prior)) == [("m5.xlarge", A, "on-demand")]


def test_many_sessions_weigh_more_than_the_few_that_a_plan_is_first_made_for():
    # Risky costs 1 + 8 x 0.05 = 1.4 when full; calm 1.3.
    types = [
        one("m5.8xlarge", sold("m5.8xlarge", 1.0, 0.2), cpu=32, gib=64),
        one("c5.9xlarge", sold("c5.9xlarge", 1.3, 0.0), cpu=32, gib=64),
    ]
    policy = Policy(session_restart_usd_micro=250_000)
    few = solve(snapshot([session(f"s{n}", cpu=4) for n in range(4)], types), policy)
    many = solve(snapshot([session(f"s{n}", cpu=4) for n in range(8)], types), policy)
    assert launched(few) == [("m5.8xlarge", 4)]
    assert launched(many) == [("c5.9xlarge", 8)]
    assert many.proven


def test_the_hubs_cap_counts_the_price_of_what_might_be_launched():
    # Dearest first, as the cheap pool is the risky one.
    types = [one("m5.xlarge", sold("m5.xlarge", 0.10, 0.2, A), sold("m5.xlarge", 0.11, 0.0, B))]
    policy = Policy(session_restart_usd_micro=100_000)
    waiting = [session(u, cpu=4) for u in "ab"]
    plan = solve(snapshot(waiting, types, cap_usd=0.22), policy)
    assert [[o.zone for o in claim.offerings] for claim in plan.claims] == [[B, A]] * 2
    assert len(solve(snapshot(waiting, types, cap_usd=0.21), policy).claims) == 1


def test_what_a_hub_plans_with_unless_told_otherwise():
    assert Policy() == BARE
    assert BARE.node_costs == NodeCosts()
    assert USUAL.prior_interruptions_per_hour == PRIOR_INTERRUPTIONS_PER_HOUR
    plan = solve(snapshot([session("a")], [M5]), USUAL)
    assert plan.extra_usd_per_hour_micro == 11_000 + 200 + 2_500
    assert plan.proven


# --- a session's own cap on interruptions ------------------------------------------------------


def test_a_session_may_refuse_pools_that_are_often_taken_back():
    types = [one("m5.xlarge", sold("m5.xlarge", 0.10, 0.5, A), sold("m5.xlarge", 0.19, 0.01, B))]
    calm = session("a", max_interruptions_per_hour=0.02)
    plan = solve(snapshot([calm, session("b")], types))
    assert bought(plan) == [("m5.xlarge", B, "spot")]
    none = solve(snapshot([session("a", max_interruptions_per_hour=0.001)], types))
    told = refusal(none, "a")
    assert told.reason == "OverInterruptionCap"
    assert told.excluded == (("interruptions", 2),)
    assert "0 of 2 pools are taken back that seldom" in told.message
    assert "with more interruptions from" in told.message


def test_where_no_rate_is_known_the_prior_is_held_against_the_cap():
    world = snapshot([session("a", max_interruptions_per_hour=0.005)], [M5])
    assert launched(solve(world)) == [("m5.xlarge", 1)]
    assert solve(world, USUAL).claims == ()
    firm = session("a", max_interruptions_per_hour=0.0, capacity=ANY_CAPACITY)
    assert bought(solve(snapshot([firm], [M5]), USUAL)) == [("m5.xlarge", A, "on-demand")]


def test_a_seat_that_may_be_taken_back_is_held_against_the_cap_too():
    calm = session("a", max_interruptions_per_hour=0.02)
    risky = seat("c1", M5, interruptions_per_hour=0.5)
    assert places(solve(snapshot([calm], [], [risky]))) == {}
    assert places(solve(snapshot([calm], [], [replace(risky, interruptions_per_hour=0.01)])))
    unknown = snapshot([calm], [], [seat("c1", M5)])
    assert places(solve(unknown)) == {"a": "c1"}
    assert places(solve(unknown, replace(USUAL, prior_interruptions_per_hour=0.1))) == {}
    firm = snapshot([calm], [], [seat("c1", M5, capacity_type=ON_DEMAND)])
    anywhere = replace(calm.requirements, capacity=ANY_CAPACITY)
    firm = replace(firm, waiting=(replace(calm, requirements=anywhere),))
    assert places(solve(firm, replace(USUAL, prior_interruptions_per_hour=0.1))) == {"a": "c1"}


# --- a volume in use ----------------------------------------------------------------------------


def test_a_session_goes_to_the_node_where_its_volume_is():
    seats = [seat("c1", M5, node_name="n1"), seat("c2", M5, node_name="n2")]
    assert places(solve(snapshot([session("a", node="n2")], [M5], seats))) == {"a": "c2"}


def test_a_session_waits_for_the_node_where_its_volume_is():
    full = seat("c2", M5, node_name="n2", taken=amount(0, 4, 1))
    told = refusal(solve(snapshot([session("a", node="n2")], [M5], [full])), "a")
    assert told.reason == "VolumeInUse"
    assert told.temporary
    assert "are the node n2, where its volume is in use" in told.message
    assert told.message.endswith("it starts when a seat on a running node is free.")


@pytest.mark.parametrize("taken", [[], [("c1", "n1")]], ids=["no seats", "seats elsewhere"])
def test_a_volume_in_use_on_a_node_that_is_not_ours_is_waited_for(taken):
    seats = [seat(place, M5, node_name=name) for place, name in taken]
    told = refusal(solve(snapshot([session("a", node="n9")], [M5], seats)), "a")
    assert (told.reason, told.temporary) == ("VolumeInUse", True)


# --- vCPU quotas --------------------------------------------------------------------------------


def with_quotas(world: Snapshot, *free: tuple[str, CapacityType, int]) -> Snapshot:
    quotas = (Quota(vcpu_class=c, capacity_type=t, free_vcpus=n) for c, t, n in free)
    return replace(world, quotas=tuple(quotas))


def test_a_quota_ends_what_may_be_bought_and_says_so():
    world = snapshot([session(u, cpu=4) for u in "abc"], [M5])
    plan = solve(with_quotas(world, ("standard", SPOT, 8)))
    assert launched(plan) == [("m5.xlarge", 1)] * 2
    told = plan.refused[0]
    assert told.reason == "QuotaReached"
    assert told.temporary
    assert told.message == (
        "The account's quota of spot vCPUs of class standard has 0 left, and a node for it takes "
        "4 or more; it starts when others stop."
    )
    assert launched(solve(with_quotas(world, ("standard", SPOT, 12)))) == [("m5.xlarge", 1)] * 3


def test_a_quota_of_another_class_or_capacity_type_is_none():
    world = snapshot([session(u, cpu=4) for u in "abc"], [M5])
    other = with_quotas(world, ("g-vt", SPOT, 0), ("standard", ON_DEMAND, 0))
    assert len(solve(other).placements) == 3


def test_where_spot_is_used_up_a_session_that_may_goes_on_demand():
    waiting = [session(u, cpu=4, capacity=ANY_CAPACITY) for u in "abc"]
    plan = solve(with_quotas(snapshot(waiting, [M5]), ("standard", SPOT, 4)))
    assert [capacity for _, _, capacity in bought(plan)] == ["on-demand", "on-demand", "spot"]
    spot = [c for c in plan.claims if c.offerings[0].capacity_type is SPOT]
    others = [o for c in plan.claims if c not in spot for o in c.offerings]
    assert {o.capacity_type for o in others} == {ON_DEMAND}


def test_a_dearer_type_of_another_class_serves_when_the_quota_is_gone():
    types = [M5, kind("g6.xlarge", 0.3, gpus=1, model="L4")]
    waiting = [session("a", cpu=4), session("b", 1, cpu=3)]
    plan = solve(with_quotas(snapshot(waiting, types), ("g-vt", SPOT, 3)))
    assert launched(plan) == [("m5.xlarge", 1)]
    assert refusal(plan, "b").reason == "QuotaReached"
    swapped = solve(with_quotas(snapshot(waiting[:1], types), ("standard", SPOT, 0)))
    assert launched(swapped) == [("g6.xlarge", 1)]


def test_a_claim_lists_no_pool_that_would_break_a_quota():
    names = ("g6.xlarge", 0.30), ("p4d.xlarge", 0.31)
    types = [kind(name, usd, gpus=1, model="L4") for name, usd in names]
    world = snapshot([session("a", 1)], types)
    free = solve(world).claims[0].offerings
    assert {o.instance_type for o in free} == {"g6.xlarge", "p4d.xlarge"}
    for class_, kept in (("p", "g6.xlarge"), ("g-vt", "p4d.xlarge")):
        plan = solve(with_quotas(world, (class_, SPOT, 0)))
        assert {o.instance_type for o in plan.claims[0].offerings} == {kept}


def test_a_quota_counts_vcpus_and_not_nodes():
    types = [kind("m5.xlarge", 0.1, cpu=4), kind("m5.4xlarge", 0.39, cpu=16, gib=64)]
    waiting = [session(f"s{n}", cpu=4) for n in range(4)]
    assert launched(solve(snapshot(waiting, types))) == [("m5.4xlarge", 4)]
    plan = solve(with_quotas(snapshot(waiting, types), ("standard", SPOT, 12)))
    assert launched(plan) == [("m5.xlarge", 1)] * 3
    assert len(plan.refused) == 1


def test_the_nearer_limit_is_told_where_cap_and_quota_both_bind():
    world = with_quotas(snapshot([session("a")], [M5], cap_usd=0.05), ("standard", SPOT, 8))
    assert refusal(solve(world), "a").reason == "SpendingCap"
    world = with_quotas(world, ("standard", SPOT, 0))
    assert refusal(solve(world), "a").reason == "QuotaReached"


# --- a type that is new here --------------------------------------------------------------------


def test_a_new_type_is_tried_with_one_node():
    new = replace(M5, probe=Probe.FIRST)
    plan = solve(snapshot([session(u, cpu=4) for u in "ab"], [new]))
    assert launched(plan) == [("m5.xlarge", 1)]
    told = plan.refused[0]
    assert (told.reason, told.temporary) == ("ProbeRunning", True)
    assert told.message == (
        "m5.xlarge is new here and is tried with one node first; it starts when that node is up."
    )


def test_who_cannot_try_the_new_type_gets_a_proven_one():
    new = replace(kind("c5.xlarge", 0.05), probe=Probe.FIRST)
    plan = solve(snapshot([session(u, cpu=4) for u in "abc"], [new, M5]))
    assert launched(plan) == [("c5.xlarge", 1), ("m5.xlarge", 1), ("m5.xlarge", 1)]
    listed = [{o.instance_type for o in claim.offerings} for claim in plan.claims]
    assert sum("c5.xlarge" in names for names in listed) == 1


@pytest.mark.parametrize("probe", [Probe.IN_FLIGHT, Probe.FAILED])
def test_a_type_on_trial_or_failed_is_left_out_and_told(probe):
    tried = replace(kind("c5.xlarge", 0.05), probe=probe)
    assert launched(solve(snapshot([session("a")], [tried, M5]))) == [("m5.xlarge", 1)]
    told = refusal(solve(snapshot([session("a")], [tried])), "a")
    assert told.reason == "TypeNotProven"
    assert told.excluded == (("probe", 2),)
    assert "0 of 2 pools are of a type that is proven to work here" in told.message


# --- Spot pools and zones ----------------------------------------------------------------------


def crowd(count: int, types, *seats, policy: Policy) -> Plan:
    return solve(snapshot([session(f"s{n}", cpu=4) for n in range(count)], types, seats), policy)


def pools_of(*prices: float, name: str = "m5.xlarge", zones=ZONES):
    return one(
        name, *(sold(name, usd, zone=zone) for usd, zone in zip(prices, zones, strict=False))
    )


def test_spot_nodes_are_spread_over_pools():
    types = [pools_of(0.1, 0.2)]
    everything = crowd(4, types, policy=Policy())
    assert {zone for _, zone, _ in bought(everything)} == {A}
    halves = crowd(4, types, policy=Policy(max_pool_share=0.5))
    assert [zone for _, zone, _ in bought(halves)] == [A, A, B, B]
    assert halves.usd_per_hour_micro == 600_000
    assert halves.proven
    assert len(bought(crowd(1, types, policy=Policy(max_pool_share=0.1)))) == 1


def test_another_type_is_another_pool_but_the_same_zone():
    types = [
        pools_of(0.1),
        pools_of(0.15, name="c5.xlarge"),
        pools_of(0.3, name="r5.xlarge", zones=[B]),
    ]
    by_pool = crowd(2, types, policy=Policy(max_pool_share=0.5))
    assert [name for name, _, _ in bought(by_pool)] == ["c5.xlarge", "m5.xlarge"]
    by_zone = crowd(2, types, policy=Policy(max_zone_share=0.5))
    assert [name for name, _, _ in bought(by_zone)] == ["m5.xlarge", "r5.xlarge"]


def test_nodes_that_run_count_in_their_pool():
    types = [pools_of(0.1, 0.2)]
    there = [
        seat(f"c{n}", types[0], taken=amount(0, 4, 1), sessions=(session(f"old{n}"),))
        for n in range(2)
    ]
    plan = crowd(2, types, *there, policy=Policy(max_pool_share=0.5))
    assert [zone for _, zone, _ in bought(plan)] == [B, B]
    firm = [replace(each, capacity_type=ON_DEMAND) for each in there]
    plan = crowd(2, types, *firm, policy=Policy(max_pool_share=0.5))
    assert [zone for _, zone, _ in bought(plan)] == [A, B]


def test_on_demand_nodes_need_no_spreading():
    pools = [sold("m5.xlarge", usd, 0, z, ON_DEMAND) for usd, z in ((0.1, A), (0.2, B))]
    waiting = [session(f"s{n}", cpu=4, capacity=ANY_CAPACITY) for n in range(4)]
    plan = solve(snapshot(waiting, [one("m5.xlarge", *pools)]), Policy(max_pool_share=0.5))
    assert {zone for _, zone, _ in bought(plan)} == {A}


def test_nobody_is_refused_for_the_sake_of_spreading():
    plan = crowd(4, [pools_of(0.1)], policy=Policy(max_pool_share=0.5))
    assert len(plan.placements) == 4
    assert len(plan.notes) == 1
    assert "no other serves all" in plan.notes[0]


def test_spreading_goes_on_while_the_next_pool_is_crowded_in_turn():
    names = [f"m{n}.xlarge" for n in range(5, 9)]
    types = [pools_of(0.1 + n / 100, name=name) for n, name in enumerate(names)]
    plan = crowd(8, types, policy=Policy(max_pool_share=0.25))
    assert [name for name, _, _ in bought(plan)] == sorted(names * 2)
    assert plan.notes == ()


def test_many_pools_take_their_part_each():
    names = [f"t{n}.xlarge" for n in range(30)]
    types = [pools_of(0.1 + n / 100, name=name) for n, name in enumerate(names)]
    plan = crowd(20, types, policy=Policy(max_pool_share=0.05))
    assert len({name for name, _, _ in bought(plan)}) == 20
    assert plan.notes == ()


def test_shares_of_nothing_are_no_policy():
    for share in (0.0, 1.5):
        for name in ("max_pool_share", "max_zone_share"):
            with pytest.raises(Defect):
                Policy(**{name: share})
    with pytest.raises(Defect):
        Policy(spread_price_factor=0.9)


# --- and all together ---------------------------------------------------------------------------


def test_the_order_of_limits_and_sessions_does_not_matter():
    types = [pools_of(0.1, 0.12), replace(pools_of(0.05, name="c5.xlarge"), probe=Probe.FIRST)]
    waiting = [session(u, cpu=4, capacity=ANY_CAPACITY) for u in "abcd"]
    quotas = [("standard", SPOT, 12), ("standard", ON_DEMAND, 4)]
    plans = {
        repr(solve(with_quotas(snapshot(order, types), *free), USUAL))
        for order in itertools.permutations(waiting, 4)
        for free in (quotas, quotas[::-1])
    }
    assert len(plans) == 1


def test_a_quote_counts_what_those_who_wait_will_take_of_a_quota():
    profile = Profile(slug="big", display_name="Big", cpu_guarantee_millicpu=4000)
    world = snapshot([session("a", cpu=4)], [M5])
    (enough,) = quote(with_quotas(world, ("standard", SPOT, 8)), [profile])
    assert enough.possible
    (short,) = quote(with_quotas(world, ("standard", SPOT, 4)), [profile])
    assert not short.possible
    assert "quota of spot vCPUs of class standard has 0 left" in short.reason


_RATES = st.sampled_from([None, 0.0, 0.02, 0.3])
_TYPES = st.lists(
    st.tuples(
        st.sampled_from(["m5.xlarge", "c5.4xlarge", "g6.2xlarge", "p5.4xlarge"]),
        st.integers(50, 900),
        st.integers(50, 900),
        _RATES,
        st.sampled_from(list(Probe)),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda row: row[0],
)
_SESSIONS = st.lists(
    st.tuples(st.integers(1, 5), st.booleans(), st.sampled_from([None, 0.0, 0.1])), max_size=10
)
_FREE = st.dictionaries(
    st.tuples(st.sampled_from(["standard", "g-vt", "p5"]), st.sampled_from([SPOT, ON_DEMAND])),
    st.integers(0, 24),
)
_CORES = {"m5.xlarge": 4, "c5.4xlarge": 16, "g6.2xlarge": 8, "p5.4xlarge": 16}


@settings(max_examples=60, deadline=None)
@given(_TYPES, _SESSIONS, _FREE, st.sampled_from([BARE, USUAL, Policy(max_zone_share=0.4)]))
def test_no_plan_breaks_a_limit_and_every_bound_is_below_its_cost(rows, asked, free, policy):
    types = [
        replace(
            one(
                name,
                sold(name, milli_usd / 1000, rate, A),
                sold(name, other / 1000, rate, B),
                sold(name, 2 * milli_usd / 1000, 0.0, A, ON_DEMAND),
                cpu=_CORES[name],
                gib=64,
            ),
            probe=probe,
        )
        for name, milli_usd, other, rate, probe in rows
    ]
    waiting = [
        session(
            f"s{n}",
            cpu=cpu,
            max_interruptions_per_hour=cap,
            **({"capacity": ANY_CAPACITY} if either else {}),
        )
        for n, (cpu, either, cap) in enumerate(asked)
    ]
    quotas = [(*key, vcpus) for key, vcpus in sorted(free.items())]
    plan = solve(with_quotas(snapshot(waiting, types), *quotas), policy)
    assert len(plan.placements) + len(plan.refused) == len(waiting)
    assert 0 <= plan.lower_bound_usd_per_hour_micro <= plan.cost_usd_per_hour_micro
    for pick in (0, -1):
        bought = [claim.offerings[pick] for claim in plan.claims]
        for class_, capacity, vcpus in quotas:
            used = [
                _CORES[o.instance_type]
                for o in bought
                if (vcpu_class(o.instance_type, o.capacity_type), o.capacity_type)
                == (class_, capacity)
            ]
            assert sum(used) <= vcpus
        probes = {kind.name: kind.probe for kind in types}
        tried = [o.instance_type for o in bought if probes[o.instance_type] is not Probe.PROVEN]
        assert all(probes[name] is Probe.FIRST for name in tried)
        assert len(tried) == len(set(tried))
    by_uid = {s.uid: s.requirements.max_interruptions_per_hour for s in waiting}
    for claim in plan.claims:
        for uid in claim.sessions:
            cap, rates = by_uid[uid], [o.interruptions_per_hour or 0 for o in claim.offerings]
            assert cap is None or max(rates) <= cap
