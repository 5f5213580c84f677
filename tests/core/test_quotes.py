"""What the spawn page is told before anybody starts anything."""

from __future__ import annotations

import time

import pytest
from packing_worlds import amount, kind, offering, seat, session, snapshot

from jupyter_gpu_jit.catalogue import instance_types
from jupyter_gpu_jit.core.model import Profile
from jupyter_gpu_jit.core.packing import Policy, Quote, WaitModel, quote, solve
from jupyter_gpu_jit.core.quantity import GIB
from jupyter_gpu_jit.core.requirements import CapacityPolicy

CPU = kind("m5.xlarge", 0.1, cpu=4, gib=16)
L4 = kind("g6.xlarge", 0.3, gpus=1, model="L4")
A100 = kind("p4d.24xlarge", 8, gpus=8, cpu=96, gib=1000, model="A100")
TYPES = (CPU, L4, A100)


def profile(slug: str, gpus: int = 0, cpu: int = 1, gib: int = 1, **more) -> Profile:
    return Profile(
        slug=slug,
        display_name=slug,
        gpus=gpus,
        cpu_guarantee_millicpu=cpu * 1000,
        memory_guarantee_bytes=gib * GIB,
        **more,
    )


SMALL = profile("cpu", cpu=2, gib=4)
ONE_L4 = profile("l4", 1, 3, 12, gpu_models=("L4",))
ONE_A100 = profile("a100", 1, 8, 64, gpu_models=("A100",))


def test_a_new_node_is_quoted_with_the_sessions_share_of_it():
    assert quote(snapshot(types=TYPES), [ONE_A100]) == (
        Quote(
            slug="a100",
            possible=True,
            usd_per_hour_micro=1_000_000,
            node_usd_per_hour_micro=8_000_000,
            capacity_type="spot",
            seat="new-node",
            instance_type="p4d.24xlarge",
            zone="us-east-1a",
            wait_p50_seconds=90,
            wait_p90_seconds=180,
        ),
    )


def test_quotes_come_in_the_order_of_the_profiles():
    profiles = [ONE_A100, SMALL, ONE_L4]
    assert [q.slug for q in quote(snapshot(types=TYPES), profiles)] == ["a100", "cpu", "l4"]


@pytest.mark.parametrize(
    ("ready", "where", "half", "most"), [(True, "now", 1, 2), (False, "in-flight", 3, 4)]
)
def test_a_seat_that_exists_is_quoted_as_such(ready, where, half, most):
    waits = WaitModel(
        now_p50_seconds=1,
        now_p90_seconds=2,
        in_flight_p50_seconds=3,
        in_flight_p90_seconds=4,
    )
    node = seat("c1", L4, ready=ready)
    (answer,) = quote(snapshot(types=TYPES, seats=[node]), [ONE_L4], waits=waits)
    assert (answer.seat, answer.wait_p50_seconds, answer.wait_p90_seconds) == (where, half, most)
    assert (answer.instance_type, answer.node_usd_per_hour_micro) == ("g6.xlarge", 300_000)


def test_those_who_wait_already_come_first():
    waiting = [session("first", 1, 3, 12, gpu_models=("L4",))]
    (answer,) = quote(snapshot(waiting, TYPES, [seat("c1", L4)]), [ONE_L4])
    assert answer.seat == "new-node"


def test_room_on_a_node_that_is_planned_for_others_is_still_a_new_node_to_wait_for():
    waiting = [session("first", 1, 8, 64, gpu_models=("A100",))]
    (answer,) = quote(snapshot(waiting, TYPES, cap_usd=8.5), [ONE_A100])
    assert (answer.possible, answer.seat, answer.usd_per_hour_micro) == (
        True,
        "new-node",
        1_000_000,
    )


def test_a_node_that_is_planned_for_others_is_not_filled_beyond_its_room():
    waiting = [session(f"s{n}", 1, 8, 64, gpu_models=("A100",)) for n in range(8)]
    (answer,) = quote(snapshot(waiting, TYPES, cap_usd=8.5), [ONE_A100])
    assert not answer.possible


def test_profiles_do_not_compete_with_each_other():
    answers = quote(snapshot(types=TYPES, seats=[seat("c1", L4)]), [ONE_L4, ONE_L4])
    assert [a.seat for a in answers] == ["now", "now"]


def test_an_impossible_profile_says_why_and_what_would_help():
    gone = offering("g6.xlarge", 0.3, available=False)
    types = [kind("g6.xlarge", 0, gpus=1, model="L4", offerings=[gone]), A100]
    (answer,) = quote(snapshot(types=types), [ONE_L4])
    assert answer == Quote(
        slug="l4",
        possible=False,
        reason="1 x L4 and spot only: 0 of 1 pools have capacity now",
        alternative="with A100 from $1.00/h",
    )


def test_the_spending_cap_shows_in_a_quote():
    (answer,) = quote(snapshot(types=TYPES, cap_usd=0.2), [ONE_L4])
    assert not answer.possible
    assert "the hub's cap of $0.20/h" in answer.reason


def test_a_profiles_capacity_policy_and_the_admins_policy_count():
    on_demand = profile("od", 1, capacity=CapacityPolicy.ON_DEMAND)
    policy = Policy(excluded_families=frozenset({"g6"}))
    (answer,) = quote(snapshot(types=TYPES), [on_demand], policy)
    assert (answer.capacity_type, answer.instance_type) == ("on-demand", "p4d.24xlarge")


def test_a_quote_is_what_a_start_then_costs():
    types = instance_types()
    for wanted in (SMALL, ONE_L4, ONE_A100):
        (answer,) = quote(snapshot(types=types), [wanted])
        request = session("a", wanted.gpus, gpu_models=wanted.gpu_models)
        request = type(request)(
            uid="a", user="a", resources=wanted.resources, requirements=request.requirements
        )
        (claim,) = solve(snapshot([request], types)).claims
        assert claim.offerings[0].instance_type == answer.instance_type
        assert claim.offerings[0].usd_per_hour_micro == answer.node_usd_per_hour_micro


def test_five_quotes_beside_a_hundred_nodes_are_quick():
    nodes = [seat(f"c{n}", (L4, A100, CPU)[n % 3], taken=amount(n % 3 % 2, 1)) for n in range(100)]
    world = snapshot(types=instance_types(), seats=nodes)
    profiles = [SMALL, ONE_L4, ONE_A100, profile("any", 1), profile("big", cpu=100)]
    began = time.process_time()
    assert len(quote(world, profiles)) == 5
    assert time.process_time() - began < 0.2  # about 0.015 s
