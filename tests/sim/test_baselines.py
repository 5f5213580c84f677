"""The peer's planner costs what the peer's own program costs, and packs as it says it does."""

from random import Random

import pytest
from packing_worlds import ANY_CAPACITY, ZONES, amount, kind, launched, places, seat, session
from packing_worlds import snapshot as world

from jupyter_gpu_jit.catalogue import instance_types
from jupyter_gpu_jit.core.model import Snapshot
from jupyter_gpu_jit.core.packing import SETTLE_STEPS, solve
from jupyter_gpu_jit.core.requirements import Taint
from jupyter_gpu_jit.sim import peer
from jupyter_gpu_jit.sim.baselines import KarpenterLike, karpenter_like
from jupyter_gpu_jit.sim.workloads import benchmark_mix, linear_types

PEER_TYPES = peer.peer_types(instance_types())
SMALL = kind("m5.large", 0.1, cpu=2, gib=8)
LARGE = kind("m5.4xlarge", 0.9, cpu=16, gib=64)
T4 = kind("g4dn.xlarge", 0.2, gpus=1, cpu=4, model="T4")
L4 = kind("g6.xlarge", 0.3, gpus=1, cpu=4, model="L4")


def test_the_peer_was_given_58_types_on_demand():
    assert len(PEER_TYPES) == 58
    assert {o.capacity_type for t in PEER_TYPES for o in t.offerings} == {"on-demand"}


@pytest.mark.parametrize("workload", peer.TABLE, ids=lambda workload: workload.name)
def test_it_costs_what_the_go_program_costs(workload):
    asked = Snapshot(now=0.0, waiting=peer.sessions(workload.asks), instance_types=PEER_TYPES)
    plan = karpenter_like(asked)
    assert plan.usd_per_hour_micro / 1e6 == pytest.approx(workload.peer_usd, abs=0.0051)
    assert not plan.refused


@pytest.mark.parametrize("workload", peer.TABLE, ids=lambda workload: workload.name)
def test_the_stated_optimum_is_what_our_planner_finds_too(workload):
    asked = Snapshot(now=0.0, waiting=peer.sessions(workload.asks), instance_types=PEER_TYPES)
    plan = solve(asked, steps=SETTLE_STEPS)
    assert plan.usd_per_hour_micro / 1e6 == pytest.approx(workload.optimum_usd, abs=0.0051)
    assert plan.lower_bound_usd_per_hour_micro <= workload.optimum_usd * 1e6 + 5100


@pytest.mark.parametrize(("pods", "nodes"), [(500, 100), (1000, 200), (2000, 400)])
def test_the_benchmark_mix_takes_as_many_nodes_as_the_go_program_takes(pods, nodes):
    mix = benchmark_mix(Random(42), pods)
    asked = Snapshot(now=0.0, waiting=mix.sessions, instance_types=linear_types())
    plan = karpenter_like(asked, mix.one_per_node)
    assert len(plan.claims) == nodes
    assert len(plan.placements) == pods


def test_no_two_of_a_class_share_a_node():
    sessions = [session(uid, cpu=0.5) for uid in "abcd"]
    plan = karpenter_like(world(sessions, [LARGE]), {"a": "x", "b": "x", "c": "y"})
    assert [set(c.sessions) & {"a", "b"} for c in plan.claims] == [{"a"}, {"b"}]


def test_a_class_is_kept_apart_on_nodes_that_exist_too():
    nodes = [seat("n1", LARGE), seat("n2", LARGE)]
    plan = karpenter_like(world([session("a"), session("b")], [LARGE], nodes), {"a": "x", "b": "x"})
    assert places(plan) == {"a": "n1", "b": "n2"}


def test_the_claim_with_the_fewest_pods_comes_first():
    """Three that fill a claim each, then small ones: they go round."""
    sessions = [session(f"big{n}", cpu=9) for n in range(3)]
    sessions += [session(f"small{n}", cpu=1) for n in range(6)]
    plan = karpenter_like(world(sessions, [LARGE]))
    assert [len(c.sessions) for c in plan.claims] == [3, 3, 3]


def test_prices_are_not_compared_while_packing():
    """Two small nodes would cost 0.2, but one large node still fits."""
    sessions = [session(f"s{n}", cpu=2) for n in range(2)]
    assert launched(karpenter_like(world(sessions, [SMALL, LARGE]))) == [("m5.4xlarge", 2)]
    assert launched(karpenter_like(world(sessions[:1], [SMALL, LARGE]))) == [("m5.large", 1)]


def test_a_gpu_is_no_sort_key():
    """The CPU session is larger, so it takes the GPU node's room first."""
    sessions = [session("gpu", 1, cpu=2), session("cpu", cpu=3)]
    assert launched(karpenter_like(world(sessions, [SMALL, T4]))) == [
        ("g4dn.xlarge", 1),
        ("g4dn.xlarge", 1),
    ]


def test_ready_nodes_come_first_then_names_and_the_first_that_fits_is_taken():
    nodes = [
        seat("a-coming", LARGE, ready=False),
        seat("b-full", LARGE, taken=amount(cpu=16)),
        seat("c-ready", LARGE),
        seat("d-ready", SMALL),
    ]
    sessions = [session("one", cpu=2), session("two", cpu=12), session("three", cpu=9)]
    plan = karpenter_like(world(sessions, [LARGE], nodes))
    assert places(plan) == {"two": "c-ready", "three": "a-coming", "one": "c-ready"}


@pytest.mark.parametrize(
    "needs",
    [
        {"gpu_models": ("L4",)},
        {"gpu_memory_gib": 20},
        {"zones": (ZONES[1],)},
        {"architectures": ("arm64",)},
        {"node_labels": (("disk", "fast"),)},
        {"tolerations": ()},
    ],
    ids=lambda needs: next(iter(needs)),
)
def test_a_requirement_alone_keeps_a_session_out(needs):
    asked = world([session("a", 1, **needs)], [T4], [seat("n", T4)])
    plan = karpenter_like(asked)
    assert [r.session for r in plan.refused] == ["a"]
    assert not plan.placements


def test_what_is_sold_otherwise_or_sold_out_is_not_taken():
    kinds = [kind("dry", 0.1, offerings=()), L4]
    plan = karpenter_like(world([session("a", 1, capacity=ANY_CAPACITY)], kinds))
    assert [(o.instance_type, o.usd_per_hour_micro) for o in plan.claims[0].offerings] == [
        ("g6.xlarge", 300_000),
        ("g6.xlarge", 600_000),
    ]


def test_a_tainted_node_is_passed_over():
    nodes = [seat("n1", LARGE, taints=(Taint(key="out"),)), seat("n2", LARGE)]
    assert places(karpenter_like(world([session("a")], [], nodes))) == {"a": "n2"}


def test_what_is_too_large_for_any_type_is_refused_and_the_rest_is_planned():
    plan = karpenter_like(world([session("huge", cpu=99), session("a")], [SMALL]))
    assert [r.session for r in plan.refused] == ["huge"]
    assert launched(plan) == [("m5.large", 1)]


def test_the_order_of_the_input_is_nothing():
    asked = Snapshot(now=0.0, waiting=peer.sessions(peer.TABLE[10].asks), instance_types=PEER_TYPES)
    turned = Snapshot(
        now=0.0, waiting=asked.waiting[::-1], instance_types=asked.instance_types[::-1]
    )
    assert karpenter_like(asked) == karpenter_like(turned)


def test_one_catalogue_serves_many_plans_alike():
    planner = KarpenterLike([SMALL, LARGE])
    asked = world([session("a", cpu=3), session("b")], [SMALL, LARGE])
    assert planner.plan(asked) == planner.plan(asked) == karpenter_like(asked)
