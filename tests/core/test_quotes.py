"""What the spawn page is told before anybody starts anything."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packing_worlds import amount, kind, offering, seat, session, snapshot
from test_packing_properties import drawn, sessions, worlds

from jupyter_gpu_jit.catalogue import instance_types
from jupyter_gpu_jit.core.model import Profile, SessionRequest
from jupyter_gpu_jit.core.nodes import SESSION_TOLERATIONS
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
            least_usd_per_hour_micro=1_000_000,
            most_usd_per_hour_micro=1_000_000,
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


def test_the_range_is_over_all_that_a_launch_may_take_instead():
    """Half of a node with twice the CPU costs the session less of its price, at most 1.2 times."""
    types = (kind("m5.large", 0.10, cpu=2, gib=8), kind("m5.xlarge", 0.12, cpu=4, gib=16))
    (answer,) = quote(snapshot(types=types), [profile("cpu", cpu=2, gib=8)])
    assert (answer.usd_per_hour_micro, answer.node_usd_per_hour_micro) == (100_000, 100_000)
    assert (answer.least_usd_per_hour_micro, answer.most_usd_per_hour_micro) == (60_000, 100_000)


def test_a_seat_that_exists_has_one_price():
    (answer,) = quote(snapshot(types=TYPES, seats=[seat("c1", A100)]), [ONE_A100])
    prices = (answer.least_usd_per_hour_micro, answer.most_usd_per_hour_micro)
    assert prices == (answer.usd_per_hour_micro,) * 2 == (1_000_000,) * 2


@pytest.mark.parametrize("seats", [[], [seat("c1", L4)]])
def test_the_risk_is_that_of_the_pool_or_what_the_policy_assumes(seats):
    policy = Policy(prior_interruptions_per_hour=0.25)
    on_demand = replace(ONE_L4, slug="od", capacity=CapacityPolicy.ON_DEMAND)
    world = snapshot(types=TYPES, seats=seats)
    answers = quote(world, [ONE_L4, on_demand], policy)
    assert [answer.interruptions_per_hour for answer in answers] == [0.25, 0.0]
    known = replace(L4.offerings[0], interruptions_per_hour=0.5)
    types = (replace(L4, offerings=(known,)),)
    there = [replace(each, interruptions_per_hour=0.5) for each in seats]
    (answer,) = quote(snapshot(types=types, seats=there), [ONE_L4], policy)
    assert answer.interruptions_per_hour == 0.5


def test_room_on_a_node_without_the_right_labels_is_no_seat():
    """Seats are looked at by kind; a label that only one of them has tells them apart."""
    nodes = [seat("c1", CPU), seat("c2", CPU, labels={"disk": "fast"})]
    who = session("s", cpu=1, node_labels=(("disk", "fast"),))
    (placement,) = solve(snapshot([who], TYPES, nodes)).placements
    assert placement.place == "c2"


@drawn
@given(worlds(most_sessions=0), st.lists(sessions("probe"), min_size=1, max_size=4))
def test_a_quote_is_what_the_planner_does_with_such_a_session(world, probes):
    profiles = [as_profile(probe, number) for number, probe in enumerate(probes)]
    for wanted, answer in zip(profiles, quote(world, profiles), strict=True):
        request = SessionRequest(
            uid="next",
            user="",
            resources=wanted.resources,
            requirements=replace(wanted.requirements, tolerations=SESSION_TOLERATIONS),
        )
        plan = solve(replace(world, waiting=(request,)))
        assert answer.possible == (not plan.refused)
        for claim in plan.claims:
            assert answer.seat == "new-node"
            sold = claim.offerings[0]
            assert (answer.instance_type, answer.zone) == (sold.instance_type, sold.zone)
            assert answer.node_usd_per_hour_micro == sold.usd_per_hour_micro
        for placement in plan.placements if not plan.claims else ():
            node = next(each for each in world.seats if each.place == placement.place)
            assert answer.seat == ("now" if node.ready else "in-flight")
            assert answer.node_usd_per_hour_micro == node.usd_per_hour_micro
        assert not plan.refused or plan.refused[0].message.startswith(answer.reason)


def as_profile(probe, number):
    needs, size = probe.requirements, probe.resources
    return Profile(
        slug=str(number),
        display_name="",
        gpus=size.gpus,
        cpu_guarantee_millicpu=size.cpu_millicpu,
        memory_guarantee_bytes=size.memory_bytes,
        gpu_models=needs.gpu_models,
        gpu_memory_gib=needs.gpu_memory_gib,
        zones=needs.zones,
        capacity=needs.capacity,
        max_usd_per_hour_micro=needs.max_usd_per_hour_micro,
    )


def test_five_quotes_beside_a_hundred_nodes_are_quick():
    nodes = [seat(f"c{n}", (L4, A100, CPU)[n % 3], taken=amount(n % 3 % 2, 1)) for n in range(100)]
    world = snapshot(types=instance_types(), seats=nodes)
    profiles = [SMALL, ONE_L4, ONE_A100, profile("any", 1), profile("big", cpu=100)]
    began = time.process_time()
    assert len(quote(world, profiles)) == 5
    assert time.process_time() - began < 0.2  # about 0.015 s
