"""The planner's behaviour, one rule at a time, on worlds small enough to check by hand."""

from __future__ import annotations

import time
from dataclasses import replace

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
    refusal,
    seat,
    session,
    snapshot,
)

from jupyter_gpu_jit.catalogue import instance_types
from jupyter_gpu_jit.core.model import Plan, Resources
from jupyter_gpu_jit.core.nodes import NODE_TAINTS, node_labels, node_taints
from jupyter_gpu_jit.core.packing import EMPTY, SETTLE_STEPS, Policy, Warm, solve
from jupyter_gpu_jit.core.packing.fillings import open_market
from jupyter_gpu_jit.core.packing.market import entries
from jupyter_gpu_jit.core.packing.memory import recalled, remembered
from jupyter_gpu_jit.core.packing.shapes import group
from jupyter_gpu_jit.core.requirements import (
    CapacityPolicy,
    LabelRequirement,
    Taint,
    Toleration,
)
from jupyter_gpu_jit.core.wire import UNREGISTERED_TAINT
from jupyter_gpu_jit.errors import Defect

CPU = kind("m5.xlarge", 0.1)
L4 = kind("g6.xlarge", 0.3, gpus=1, model="L4")
T4 = kind("g4dn.xlarge", 0.2, gpus=1, model="T4")
A100 = kind("p4d.24xlarge", 8, gpus=8, cpu=96, gib=1000, model="A100")
TYPES = (CPU, L4, T4, A100)


def a100(uid, **more):
    return session(uid, 1, 8, 64, gpu_models=("A100",), **more)


def l4(uid, **more):
    return session(uid, 1, 3, 12, gpu_models=("L4",), **more)


# --- sharing, with the real catalogue ----------------------------------------------------------


def test_three_a100_sessions_share_one_eight_gpu_node():
    plan = solve(snapshot([a100(u) for u in "abc"], instance_types()))
    assert launched(plan) == [("p4d.24xlarge", 3)]
    assert {o.instance_type for o in plan.claims[0].offerings} == {"p4d.24xlarge"}


def test_three_l4_sessions_get_a_node_each():
    plan = solve(snapshot([l4(u) for u in "abc"], instance_types()))
    assert launched(plan) == [("g6.xlarge", 1)] * 3


def test_nine_a100_sessions_need_a_second_node():
    plan = solve(snapshot([a100(u) for u in "abcdefghi"], instance_types()))
    assert launched(plan) == [("p4d.24xlarge", 1), ("p4d.24xlarge", 8)]


def test_a_plan_costs_what_its_cheapest_offerings_cost():
    plan = solve(snapshot([a100("a"), l4("b")], instance_types()))
    assert plan.usd_per_hour_micro == 8_783_057 + 321_920
    assert 0 < plan.lower_bound_usd_per_hour_micro <= plan.usd_per_hour_micro


def test_the_second_user_sits_down_where_the_first_one_is():
    node = seat("c1", A100, taken=amount(1, 8, 64))
    plan = solve(snapshot([a100("b")], TYPES, [node]))
    assert places(plan) == {"b": "c1"}
    assert plan.claims == ()
    assert plan.placements[0].reason == "Ready"


def test_nothing_waiting_is_nothing_to_do():
    assert solve(snapshot(types=TYPES)) == solve(snapshot())


def test_two_hundred_sessions_are_planned_in_a_moment():
    small = [session(f"s{n}", cpu=2, gib=4) for n in range(80)]
    mixed = [a100(f"a{n}") for n in range(60)] + [l4(f"l{n}") for n in range(60)]
    world = snapshot(small + mixed, instance_types())
    began = time.process_time()
    plan = solve(world)
    assert time.process_time() - began < 0.5  # about 0.04 s; a loop over sessions takes seconds
    assert len(plan.placements) == 200


# --- existing seats ---------------------------------------------------------------------------


def test_ready_seats_come_before_seats_in_flight_and_cheap_before_dear():
    seats = [
        seat("dear", kind("m5.xlarge", 0.4), taken=amount(0, 3, 3)),
        seat("cheap", kind("m5.xlarge", 0.2), taken=amount(0, 3, 3)),
        seat("coming", kind("m5.xlarge", 0.1), ready=False, taken=amount(0, 3, 3)),
    ]
    waiting = [session(u, created_at=n) for n, u in enumerate("abc")]
    plan = solve(snapshot(waiting, TYPES, seats))
    assert places(plan) == {"a": "cheap", "b": "dear", "c": "coming"}
    assert [p.reason for p in plan.placements] == ["Ready", "Ready", "InFlight"]


def test_equally_cheap_seats_are_taken_by_name():
    seats = [seat(name, CPU) for name in ("c2", "c1", "c3")]
    assert places(solve(snapshot([session("a")], TYPES, seats))) == {"a": "c1"}


def test_a_session_keeps_its_place_in_flight():
    seats = [seat("c1", CPU, ready=False), seat("c2", CPU, ready=False)]
    plan = solve(snapshot([session("a", place="c2")], TYPES, seats))
    assert places(plan) == {"a": "c2"}
    assert plan.placements[0].reason == "Kept"


def test_a_cpu_session_keeps_the_place_it_was_planned_for_beside_idle_gpus():
    coming = seat("c1", L4, ready=False)
    kept = solve(snapshot([session("a", place="c1")], TYPES, [coming]))
    assert places(kept) == {"a": "c1"}
    newcomer = solve(snapshot([session("a")], TYPES, [coming]))
    assert places(newcomer) != {"a": "c1"}


def test_a_newcomer_does_not_take_the_place_of_whom_it_was_launched_for():
    seats = [seat("c1", L4, ready=False)]
    newcomer = l4("a", created_at=0.0)
    owner = l4("z", created_at=9.0, place="c1")
    plan = solve(snapshot([newcomer, owner], TYPES, seats))
    assert places(plan)["z"] == "c1"
    assert launched(plan) == [("g6.xlarge", 1)]


def test_a_place_that_has_become_ready_is_kept_as_well():
    seats = [seat("c1", L4), seat("c2", L4, ready=False)]
    plan = solve(snapshot([l4("a"), l4("z", place="c1", created_at=9.0)], TYPES, seats))
    assert places(plan) == {"a": "c2", "z": "c1"}


def test_a_place_that_no_longer_fits_is_given_up():
    seats = [seat("c1", L4, ready=False, taken=amount(1, 1, 1))]
    plan = solve(snapshot([l4("a", place="c1")], TYPES, seats))
    assert launched(plan) == [("g6.xlarge", 1)]


def test_a_place_that_no_longer_serves_is_given_up():
    seats = [seat("c1", T4, ready=False)]
    plan = solve(snapshot([l4("a", place="c1")], TYPES, seats))
    assert launched(plan) == [("g6.xlarge", 1)]


def test_a_waiting_session_moves_from_its_coming_place_to_a_ready_seat():
    seats = [seat("c1", CPU, ready=False), seat("c2", CPU)]
    assert places(solve(snapshot([session("a", place="c1")], TYPES, seats))) == {"a": "c2"}


def test_a_cpu_session_keeps_off_a_node_with_an_idle_gpu():
    seats = [seat("gpu", A100, taken=amount(7, 10, 10))]
    assert launched(solve(snapshot([session("a")], TYPES, seats))) == [("m5.xlarge", 1)]


def test_a_cpu_session_uses_what_is_left_when_all_gpus_are_taken():
    seats = [seat("gpu", A100, taken=amount(8, 10, 10))]
    assert places(solve(snapshot([session("a")], TYPES, seats))) == {"a": "gpu"}


def test_a_cpu_session_follows_the_gpu_session_that_takes_the_last_gpu():
    seats = [seat("gpu", A100, taken=amount(7, 10, 10))]
    plan = solve(snapshot([session("a"), a100("b")], TYPES, seats))
    assert places(plan) == {"a": "gpu", "b": "gpu"}


def test_a_cpu_session_may_idle_a_gpu_when_no_cpu_type_can_serve_it():
    big = session("a", cpu=50, gib=100)
    assert places(solve(snapshot([big], TYPES, [seat("gpu", A100)]))) == {"a": "gpu"}
    assert launched(solve(snapshot([big], TYPES))) == [("p4d.24xlarge", 1)]


def test_cpu_sessions_that_no_other_node_serves_sit_beside_idle_gpus():
    crowd = [session("a"), session("b")]
    assert places(solve(snapshot(crowd, (L4,), [seat("gpu", L4)]))) == {"a": "gpu", "b": "gpu"}


def test_cpu_sessions_ride_along_on_a_new_node_with_room():
    types = (kind("m5.xlarge", 1.0), kind("g6.xlarge", 0.3, gpus=1, cpu=8, model="L4"), A100)
    assert launched(solve(snapshot([l4("a"), session("b")], types))) == [("g6.xlarge", 2)]
    assert launched(solve(snapshot([a100("a"), session("b")], types))) == [("p4d.24xlarge", 2)]


def test_a_gpu_node_that_is_cheaper_than_any_other_takes_cpu_sessions():
    types = (kind("m5.xlarge", 0.31), L4)
    assert launched(solve(snapshot([session("a")], types))) == [("g6.xlarge", 1)]


def test_of_two_equally_cheap_nodes_the_one_without_gpus_takes_cpu_sessions():
    types = (kind("m5.xlarge", 0.3), L4)
    plan = solve(snapshot([session("a")], types))
    assert {o.instance_type for o in plan.claims[0].offerings} == {"m5.xlarge"}


def test_a_full_node_is_used_up_before_another_grows_for_cpu_sessions():
    """Greedily a larger L4 node looks like a bargain; the A100 node has the room anyway."""
    crowd = [a100(f"a{n}") for n in range(8)]
    crowd += [l4("l"), *(session(f"c{n}", 0, 2, 4) for n in range(6))]
    plan = solve(snapshot(crowd, instance_types()))
    assert launched(plan) == [("g6.xlarge", 1), ("p4d.24xlarge", 14)]


def test_who_rides_along_is_never_offered_a_node_with_more_gpus():
    types = (
        kind("m5.xlarge", 1.0),
        kind("g6.xlarge", 0.30, gpus=1, cpu=8, model="L4"),
        kind("g6.12xlarge", 0.31, gpus=4, cpu=48, model="L4"),
    )
    plan = solve(snapshot([l4("a"), session("b")], types))
    assert {o.instance_type for o in plan.claims[0].offerings} == {"g6.xlarge"}


def test_an_overfull_seat_takes_nobody_and_does_not_lower_the_bound():
    overfull = seat("c1", A100, taken=amount(9, 1, 1))
    plan = solve(snapshot([session("a")], TYPES, [overfull]))
    assert launched(plan) == [("m5.xlarge", 1)]
    assert plan.lower_bound_usd_per_hour_micro == plan.usd_per_hour_micro == 100_000


# --- requirements of seats ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "needs",
    [
        {"gpu_models": ("A100",)},
        {"gpu_memory_gib": 40},
        {"zones": (ZONES[1],)},
        {"capacity": CapacityPolicy.ON_DEMAND},
        {"architectures": ("arm64",)},
        {"max_usd_per_hour_micro": 299_999},
        {"node_labels": (("disk", "ssd"),)},
        {"node_terms": ((LabelRequirement(key="disk", operator="Exists"),),)},
        {"tolerations": ()},
    ],
    ids=lambda needs: next(iter(needs)),
)
def test_a_seat_that_misses_one_requirement_is_not_taken(needs):
    plan = solve(snapshot([session("a", 1, **needs)], [L4], [seat("c1", L4)]))
    assert "c1" not in places(plan).values()


def test_a_seat_that_meets_them_all_is_taken():
    wish = session(
        "a",
        1,
        gpu_models=("T4", "L4"),
        gpu_memory_gib=24,
        zones=ZONES,
        capacity=ANY_CAPACITY,
        max_usd_per_hour_micro=300_000,
        node_labels=(("disk", "ssd"),),
    )
    node = seat("c1", L4, labels={"disk": "ssd"})
    assert places(solve(snapshot([wish], [], [node]))) == {"a": "c1"}


def test_architectures_may_be_left_open():
    plan = solve(snapshot([session("a", architectures=())], [], [seat("c1", CPU)]))
    assert places(plan) == {"a": "c1"}


def test_taints_that_a_joining_node_loses_by_itself_do_not_count():
    joining = (*NODE_TAINTS, UNREGISTERED_TAINT, Taint(key="node.kubernetes.io/not-ready"))
    coming = seat("c1", CPU, ready=False, taints=joining)
    assert places(solve(snapshot([session("a")], [], [coming]))) == {"a": "c1"}
    assert places(solve(snapshot([session("a")], [], [replace(coming, ready=True)]))) == {}


# --- new nodes: choice ----------------------------------------------------------------------------


def test_every_pool_that_holds_the_filling_is_listed_cheapest_first():
    types = [
        kind("a.large", 0.10),
        kind("b.large", 0.11),
        kind("c.large", 0.13),
        kind("d.large", 0.10, cpu=1),
        kind("e.large", 0, offerings=[offering("e.large", 0.12, z) for z in ZONES]),
    ]
    plan = solve(snapshot([session("x", cpu=2)], types))
    assert [(o.instance_type, o.zone) for o in plan.claims[0].offerings] == [
        ("a.large", ZONES[0]),
        ("b.large", ZONES[0]),
        ("e.large", ZONES[0]),
        ("e.large", ZONES[1]),
    ]


def test_a_type_that_holds_each_session_but_not_all_is_not_listed():
    types = [kind("a.large", 0.10), kind("b.large", 0.11), kind("c.large", 0.09, cpu=3)]
    plan = solve(snapshot([session(u, cpu=2) for u in "xy"], types))
    assert [[o.instance_type for o in c.offerings] for c in plan.claims] == [["a.large", "b.large"]]


def test_the_policy_limits_what_is_listed():
    types = [kind("a.large", 0.10), kind("b.large", 0.11), kind("c.large", 0.13)]
    world = snapshot([session("x")], types)
    narrow, wide = Policy(price_factor=1.0), Policy(price_factor=2.0, max_offerings=2)
    assert len(solve(world, narrow).claims[0].offerings) == 1
    assert len(solve(world, wide).claims[0].offerings) == 2


@pytest.mark.parametrize("wrong", [{"price_factor": 0.9}, {"max_offerings": 0}])
def test_a_policy_under_which_nothing_can_be_listed_is_a_defect(wrong):
    with pytest.raises(Defect, match="price_factor"):
        Policy(**wrong)


@pytest.mark.parametrize(
    "unfit",
    [
        kind("m1.xlarge", 0.01),
        kind("m5.metal", 0.01, bare_metal=True),
        kind("g6f.xlarge", 0.01, gpus=1, gpu_interconnect="fraction"),
        kind("g4ad.xlarge", 0.01, gpus=1, model="radeon-pro-v520"),
        kind("x.large", 0.01, offerings=()),
    ],
    ids=lambda t: t.name,
)
def test_types_that_are_not_for_sessions_are_never_bought(unfit):
    plan = solve(snapshot([session("a"), session("b", 1)], [unfit, CPU, L4]))
    assert {o.instance_type for c in plan.claims for o in c.offerings} <= {"m5.xlarge", "g6.xlarge"}
    assert plan.refused == ()


def test_excluded_families_are_the_admins():
    plan = solve(snapshot([session("a")], TYPES), Policy(excluded_families=frozenset({"m5"})))
    assert {o.instance_type for o in plan.claims[0].offerings} == {"g4dn.xlarge"}


def test_daemonsets_take_their_part_of_a_new_node():
    policy = Policy(daemons=Resources(cpu_millicpu=500, pods=2))
    plan = solve(snapshot([session("a", cpu=3.6)], TYPES), policy)
    assert launched(plan) == [("p4d.24xlarge", 1)]


def test_nodes_are_not_filled_beyond_their_pods():
    types = [kind("m5.xlarge", 0.1, pods=2)]
    plan = solve(snapshot([session(u, cpu=0.1, gib=0.1) for u in "abcde"], types))
    assert launched(plan) == [("m5.xlarge", 1), ("m5.xlarge", 2), ("m5.xlarge", 2)]


def test_a_session_that_asks_for_nothing_still_gets_a_place():
    nothing = session("a", cpu=0, gib=0)
    assert launched(solve(snapshot([nothing], TYPES))) == [("m5.xlarge", 1)]


def test_a_free_offering_is_no_trouble():
    plan = solve(snapshot([session("a")], [kind("m5.xlarge", 0)]))
    assert plan.usd_per_hour_micro == 0
    assert launched(plan) == [("m5.xlarge", 1)]


@pytest.mark.parametrize(
    ("policy", "sold"),
    [
        (CapacityPolicy.SPOT, SPOT),
        (CapacityPolicy.ON_DEMAND, ON_DEMAND),
        (CapacityPolicy.SPOT_THEN_ON_DEMAND, SPOT),
    ],
)
def test_the_capacity_policy_chooses_among_capacity_types(policy, sold):
    plan = solve(snapshot([session("a", capacity=policy)], [CPU]))
    assert {o.capacity_type for o in plan.claims[0].offerings} == {sold}


def test_on_demand_serves_while_spot_has_no_capacity():
    offers = [
        offering("m5.xlarge", 0.1, available=False),
        offering("m5.xlarge", 0.2, ZONES[0], ON_DEMAND),
    ]
    plan = solve(
        snapshot([session("a", capacity=ANY_CAPACITY)], [kind("m5.xlarge", 0, offerings=offers)])
    )
    assert [o.capacity_type for o in plan.claims[0].offerings] == [ON_DEMAND]


def test_sessions_that_share_no_pool_do_not_share_a_node():
    offers = [offering("m5.xlarge", 0.1, z) for z in ZONES]
    waiting = [session("a", zones=(ZONES[0],)), session("b", zones=(ZONES[1],))]
    plan = solve(snapshot(waiting, [kind("m5.xlarge", 0, offerings=offers)]))
    assert [{o.zone for o in c.offerings} for c in plan.claims] in (
        [{ZONES[0]}, {ZONES[1]}],
        [{ZONES[1]}, {ZONES[0]}],
    )


def test_sessions_meet_in_the_one_dearer_pool_that_serves_both():
    offers = [offering("m5.xlarge", 0.10 + n / 100, f"z{n}") for n in range(3)]
    waiting = [session("a", zones=("z0", "z2")), session("b", zones=("z1", "z2"))]
    plan = solve(snapshot(waiting, [kind("m5.xlarge", 0, offerings=offers)]))
    assert [[o.zone for o in c.offerings] for c in plan.claims] == [["z2"]]


def test_the_price_cap_is_on_the_sessions_own_share():
    cheap = session("a", 1, 8, 64, gpu_models=("A100",), max_usd_per_hour_micro=1_000_000)
    assert launched(solve(snapshot([cheap], TYPES))) == [("p4d.24xlarge", 1)]
    refused = session("a", 1, 8, 64, gpu_models=("A100",), max_usd_per_hour_micro=999_999)
    assert solve(snapshot([refused], TYPES)).claims == ()


def test_a_node_selector_is_matched_against_the_labels_a_node_will_have():
    label = ("topology.kubernetes.io/zone", ZONES[1])
    offers = [offering("m5.xlarge", 0.1, z) for z in ZONES]
    types = [kind("m5.xlarge", 0, offerings=offers)]
    plan = solve(snapshot([session("a", node_labels=(label,)), session("b")], types))
    assert [o.zone for c in plan.claims if "a" in c.sessions for o in c.offerings] == [ZONES[1]]


def test_a_new_nodes_labels_and_taints():
    labels = node_labels(L4, L4.offerings[0])
    assert labels == {
        "gpu-jit.io/capacity-type": "spot",
        "hub.jupyter.org/node-purpose": "user",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": "g6.xlarge",
        "topology.kubernetes.io/zone": ZONES[0],
    }
    assert [t.key for t in node_taints()] == ["nvidia.com/gpu", "hub.jupyter.org/dedicated"]


def test_the_oldest_of_equal_sessions_gets_the_scarce_seat():
    waiting = [session("b", created_at=1.0), session("a", created_at=2.0)]
    plan = solve(snapshot(waiting, [], [seat("c1", CPU, taken=amount(0, 3, 3))]))
    assert places(plan) == {"b": "c1"}


def test_a_head_start_of_another_kind_is_no_trouble():
    world = snapshot([l4("a"), session("b")], TYPES)
    plan = solve(world)
    assert solve(world, warm=EMPTY, steps=9) == solve(world, warm=Warm(patterns=(1,))) == plan


def test_a_head_start_saves_the_search_for_patterns():
    sizes = [(1, 2.5), (2, 3.5), (3, 7), (1.5, 9)]
    waiting = [session(f"s{n}", 0, *sizes[n % 4]) for n in range(80)]
    world = snapshot(waiting, instance_types())
    settled = solve(world, steps=SETTLE_STEPS)
    cold, warm = solve(world, steps=0), solve(world, warm=Warm(patterns=settled.patterns), steps=1)
    assert warm.usd_per_hour_micro <= cold.usd_per_hour_micro
    assert warm.gap < 0.01


def test_patterns_of_shapes_and_types_that_are_gone_are_dropped():
    before = solve(snapshot([l4("a"), l4("b"), session("c"), a100("d")], TYPES))
    world = snapshot([l4("e"), session("f")], [CPU, L4])
    assert solve(world, warm=Warm(patterns=before.patterns)) == solve(world)


def test_a_pattern_of_which_nobody_is_left_is_dropped_though_its_type_is_there():
    before = solve(snapshot([session("g", cpu=4, gib=15)], [CPU]))
    world = snapshot([session("f")], [CPU])
    assert before.patterns
    assert solve(world, warm=Warm(patterns=before.patterns)) == solve(world)


def test_a_plan_tells_how_far_it_may_be_from_the_best():
    assert Plan(usd_per_hour_micro=110, lower_bound_usd_per_hour_micro=100).gap == 0.1
    assert Plan(usd_per_hour_micro=100, lower_bound_usd_per_hour_micro=100).gap == 0
    assert Plan(usd_per_hour_micro=1).gap == float("inf")
    assert solve(snapshot([l4("a"), session("b")], TYPES)).proven


# --- refusals -----------------------------------------------------------------------------------


def only(world):
    (refused,) = solve(world).refused
    return refused


def test_the_sentence_names_the_requirements_the_count_and_the_way_out():
    offers = [offering("g6.xlarge", 0.4, z, available=False) for z in ("a", "b", "c")]
    offers.append(offering("g6.xlarge", 1.21, "a", ON_DEMAND))
    types = [kind("g6.xlarge", 0, gpus=1, model="L4", offerings=offers), T4, CPU]
    refused = only(snapshot([session("a", 1, gpu_memory_gib=24)], types))
    assert refused.message == (
        "1 GPU, 24 GB per GPU and spot only: 0 of 3 pools have capacity now; "
        "on-demand from $1.21/h."
    )
    assert (refused.reason, refused.temporary) == ("InsufficientCapacity", True)
    assert refused.excluded == (("gpu-memory", 2), ("capacity", 1), ("availability", 3))


@pytest.mark.parametrize(
    ("needs", "reason", "sentence"),
    [
        (
            {"gpu_models": ("H100",)},
            "NoSuchGpuModel",
            "1 x H100 and spot only: 0 of 6 pools have that GPU; with T4 from $0.20/h.",
        ),
        (
            {"gpu_memory_gib": 80},
            "NoSuchGpuMemory",
            "1 GPU, 80 GB per GPU and spot only: 0 of 6 pools have that much memory per GPU; "
            "with 40 GB per GPU from $1.00/h.",
        ),
        (
            {"architectures": ("arm64",)},
            "NoSuchArchitecture",
            "1 GPU and spot only: 0 of 6 pools are arm64; on amd64 from $0.20/h.",
        ),
        (
            {"zones": ("mars-1a", "mars-1b")},
            "NoSuchZone",
            "1 GPU, in mars-1a or mars-1b and spot only: 0 of 6 pools are in that zone; "
            "in us-east-1a from $0.20/h.",
        ),
        (
            {"max_usd_per_hour_micro": 100_000},
            "OverSessionCap",
            "1 GPU, spot only and at most $0.10/h: 0 of 3 pools are within the session's "
            "price cap; without the cap from $0.20/h.",
        ),
        (
            {"node_labels": (("disk", "ssd"),), "capacity": ANY_CAPACITY},
            "NodeSelectorMismatch",
            "1 GPU: 0 of 6 pools match the pod's node selector and affinity; "
            "without its node selector and affinity from $0.20/h.",
        ),
        (
            {"tolerations": (Toleration(key="nvidia.com/gpu", operator="Exists"),)},
            "TaintNotTolerated",
            "1 GPU and spot only: 0 of 6 pools have only taints that the pod tolerates; "
            "with tolerations for GPU and user nodes from $0.20/h.",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)
def test_each_requirement_has_its_reason_and_its_way_out(needs, reason, sentence):
    refused = only(snapshot([session("a", 1, **needs)], TYPES))
    assert (refused.reason, refused.message) == (reason, sentence)
    assert not refused.temporary


def test_a_session_larger_than_every_node_hears_what_there_is():
    refused = only(snapshot([session("a", cpu=200, gib=20)], TYPES))
    assert refused.reason == "TooLarge"
    assert refused.message == (
        "200 CPU, 20 GiB and spot only: 0 of 8 pools hold 200 CPU and 20 GiB; "
        "with at most 8 GPUs, 96 CPU and 1000 GiB from $8.00/h."
    )


def test_several_gpus_are_plural():
    refused = only(snapshot([session("a", 9)], TYPES))
    assert refused.message.startswith("9 GPUs and spot only: 0 of 6 pools hold 9 GPUs, 1 CPU")


def test_on_demand_only_where_all_is_spot():
    types = [kind("m5.xlarge", 0, offerings=[offering("m5.xlarge", 0.1)])]
    refused = only(snapshot([session("a", capacity=CapacityPolicy.ON_DEMAND)], types))
    assert refused.reason == "NoSuchCapacityType"
    assert refused.message.endswith("0 of 1 pools are sold as on-demand; spot from $0.025/h.")


def test_two_obstacles_have_no_single_way_out():
    wish = session("a", 1, gpu_models=("H100",), zones=("mars",), capacity=ANY_CAPACITY)
    refused = only(snapshot([wish], TYPES))
    assert refused.message == "1 x H100 and in mars: 0 of 6 pools have that GPU."


def test_without_any_pool_there_is_nothing_to_count():
    assert only(snapshot([session("a")])).message == "No eligible instance type is on sale."
    refused = only(snapshot([session("a", 1)], [CPU]))
    assert refused.message == "No eligible type with a GPU is on sale."
    assert (refused.reason, refused.temporary, refused.excluded) == ("NoPools", False, ())


def test_a_full_seat_of_the_right_kind_makes_a_refusal_temporary():
    full = seat("c1", CPU, taken=CPU.allocatable)
    refused = only(snapshot([session("a")], [], [full]))
    assert refused.temporary
    assert refused.message.endswith("on sale; it starts when a seat on a running node is free.")


# --- the hub's spending cap -----------------------------------------------------------------------


def test_the_cap_counts_seats_and_new_nodes():
    node = seat("c1", A100, taken=A100.allocatable)
    assert launched(solve(snapshot([l4("a")], TYPES, [node], cap_usd=8.3))) == [("g6.xlarge", 1)]
    refused = only(snapshot([l4("a")], TYPES, [node], cap_usd=8.29))
    assert (refused.reason, refused.temporary) == ("SpendingCap", True)
    assert refused.message == (
        "A node for it costs $0.30/h or more, and the hub's cap of $8.29/h leaves $0.29/h now; "
        "it starts when others stop."
    )


def test_a_cap_already_passed_leaves_nothing():
    node = seat("c1", A100, taken=A100.allocatable)
    refused = only(snapshot([l4("a")], TYPES, [node], cap_usd=1))
    assert "leaves $0.00/h now" in refused.message


def test_seats_are_given_whatever_the_cap():
    assert places(solve(snapshot([l4("a")], TYPES, [seat("c1", L4)], cap_usd=0))) == {"a": "c1"}


def test_as_many_as_the_cap_allows_are_started_the_oldest_first():
    waiting = [l4(u, created_at=n) for n, u in enumerate("abc")]
    plan = solve(snapshot(waiting, TYPES, cap_usd=0.65))
    assert sorted(places(plan)) == ["a", "b"]
    assert [r.session for r in plan.refused] == ["c"]


def test_even_the_dearest_listed_offerings_keep_to_the_cap():
    types = [
        kind("g6.xlarge", 0.30, gpus=1, model="L4"),
        kind("g6.2xlarge", 0.35, gpus=1, model="L4"),
    ]
    plan = solve(snapshot([l4("a"), l4("b")], types, cap_usd=0.66))
    assert [[o.instance_type for o in c.offerings] for c in plan.claims] == [
        ["g6.xlarge", "g6.2xlarge"],
        ["g6.xlarge"],
    ]


def test_a_refusal_is_found_by_its_session():
    plan = solve(snapshot([l4("a"), session("b", 9)], TYPES))
    assert refusal(plan, "b").reason == "TooLarge"
    assert places(plan).keys() == {"a"}


def test_patterns_of_shapes_that_are_gone_are_not_recalled():
    def market(uid, cpu):
        return open_market(entries(TYPES, Policy()), group([session(uid, gpus=1, cpu=cpu)]))

    then, now = market("a", 1), market("b", 2)
    number = next(i for i, each in enumerate(then.bins) if each.entry.type == T4)
    assert T4 in [each.entry.type for each in now.bins]
    kept = remembered(then, [(number, (1,))])
    assert list(recalled(then, kept)) == [(number, (1,))]
    assert list(recalled(now, kept)) == []
