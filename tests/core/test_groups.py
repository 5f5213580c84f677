"""Groups: on one node, in one zone, all or none; each rule where it alone decides."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from packing_worlds import (
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
from packing_worlds import refusal as refusal_of

from jupyter_gpu_jit.core.model import GroupPolicy, Together
from jupyter_gpu_jit.core.packing import solve
from jupyter_gpu_jit.core.wire import PIN_LABEL

A, B = ZONES
SMALL = kind("m5.xlarge", 0.1, cpu=4, gib=16)
LARGE = kind("m5.4xlarge", 0.5, cpu=16, gib=64)
TYPES = (SMALL, LARGE)


def member(uid, group="g", *, cpu=3.0, together=Together.NODE, all_or_none=False, size=0, **more):
    policy = GroupPolicy(together=together, all_or_none=all_or_none, size=size)
    return replace(session(uid, cpu=cpu, gib=1, **more), group=group, group_policy=policy)


def in_zone(uid, *more, **fields):
    return member(uid, *more, together=Together.ZONE, **fields)


def zones(plan):
    zone_of = {c.key: {o.zone for o in c.offerings} for c in plan.claims}
    return {p.session: zone_of[p.place] for p in plan.placements}


# --- one node ---------------------------------------------------------------------------------


def test_a_group_on_one_node_takes_a_dearer_node_than_it_would_apart():
    apart = [session(u, cpu=3, gib=1) for u in "ab"]
    assert launched(solve(snapshot(apart, TYPES))) == [("m5.xlarge", 1)] * 2
    plan = solve(snapshot([member(u) for u in "ab"], TYPES))
    assert launched(plan) == [("m5.4xlarge", 2)]
    assert places(plan) == {"a": "new-1", "b": "new-1"}
    assert plan.proven


def test_others_share_the_node_of_a_group():
    plan = solve(snapshot([member("a"), member("b"), session("c", cpu=2)], TYPES))
    assert launched(plan) == [("m5.4xlarge", 3)]
    assert plan.claims[0].sessions == ("a", "b", "c")


def test_groups_may_be_on_different_nodes():
    waiting = [member(u, g, cpu=4.5) for u, g in zip("abcd", "gghh", strict=True)]
    plan = solve(snapshot(waiting, TYPES))
    own = places(plan)
    assert own["a"] == own["b"]
    assert own["c"] == own["d"]
    assert own["a"] != own["c"]


def test_a_group_too_large_for_any_node_is_refused_whole_with_the_size_of_all():
    plan = solve(snapshot([member(u, cpu=9) for u in "ab"], TYPES))
    assert plan.placements == ()
    assert refusal_of(plan, "a").message.startswith("18 CPU, 2 GiB and spot only: 0 of 4")
    assert refusal_of(plan, "b").reason == "TooLarge"


def test_a_group_waits_for_no_seat_that_holds_only_some_of_it():
    seats = [seat("c1", SMALL), seat("c2", SMALL), seat("c3", LARGE)]
    plan = solve(snapshot([member(u) for u in "ab"], TYPES, seats))
    assert places(plan) == {"a": "c3", "b": "c3"}


def test_a_latecomer_goes_where_its_group_is():
    pinned = {PIN_LABEL: "c2"}
    seats = [seat("c1", SMALL), seat("c2", LARGE, labels=pinned, taken=amount(0, 3, 1))]
    world = replace(snapshot([member("a")], TYPES, seats), groups=(("g", "c2"),))
    assert places(solve(world)) == {"a": "c2"}
    full = replace(seats[1], residual=amount(0, 1, 1))
    plan = solve(replace(world, seats=(seats[0], full)))
    assert refusal_of(plan, "a").temporary


def test_members_that_ask_different_things_cannot_share_a_node_by_rule():
    plan = solve(snapshot([member("a"), member("b", zones=(A,))], TYPES))
    assert [r.reason for r in plan.refused] == ["GroupUnlike"] * 2


def test_price_caps_of_members_add_up():
    # A node for both costs 0.5; each takes 3/16 of it, 0.094.
    fine = solve(snapshot([member(u, max_usd_per_hour_micro=94_000) for u in "ab"], TYPES))
    assert launched(fine) == [("m5.4xlarge", 2)]
    dear = solve(snapshot([member(u, max_usd_per_hour_micro=93_000) for u in "ab"], TYPES))
    assert refusal_of(dear, "a").reason == "OverSessionCap"


def test_a_group_keeps_the_place_it_was_planned_for():
    seats = [seat("c1", LARGE, ready=False), seat("c2", LARGE, ready=False)]
    kept = solve(snapshot([member(u, place="c2") for u in "ab"], TYPES, seats))
    assert places(kept) == {"a": "c2", "b": "c2"}
    split = [member("a", place="c2"), member("b", place="c1")]
    assert places(solve(snapshot(split, TYPES, seats))) == {"a": "c1", "b": "c1"}


# --- one zone ---------------------------------------------------------------------------------

# Alone, a small session is cheaper in a and a large one much cheaper in b.
BY_ZONE = tuple(
    kind(name, 0, cpu=cpu, offerings=[offering(name, in_a, A), offering(name, in_b, B)])
    for name, cpu, in_a, in_b in (("m5.xlarge", 4, 0.1, 0.12), ("c5.4xlarge", 16, 0.9, 0.4))
)


@pytest.mark.parametrize("together", [Together.ZONE, Together.RACK, Together.PLACEMENT_GROUP])
def test_a_group_goes_to_the_zone_that_is_cheapest_for_all_of_it(together):
    apart = solve(snapshot([session("a", cpu=3), session("b", cpu=13.5)], BY_ZONE))
    assert apart.usd_per_hour_micro == 500_000
    waiting = [member("a", together=together), member("b", cpu=13.5, together=together)]
    plan = solve(snapshot(waiting, BY_ZONE))
    assert zones(plan) == {"a": {B}, "b": {B}}
    assert plan.usd_per_hour_micro == 520_000


def test_the_bound_of_a_group_counts_every_zone_it_could_have_had():
    plan = solve(snapshot([in_zone("a"), in_zone("b", cpu=13.5)], BY_ZONE))
    assert plan.lower_bound_usd_per_hour_micro == 500_000
    assert not plan.proven


def test_a_group_asked_into_one_zone_is_proven_there():
    waiting = [in_zone("a", zones=(A, B)), in_zone("b", cpu=13.5, zones=(A,))]
    plan = solve(snapshot(waiting, BY_ZONE))
    assert zones(plan) == {"a": {A}, "b": {A}}
    assert plan.usd_per_hour_micro == 1_000_000
    assert plan.proven


def test_members_without_a_common_zone_are_refused():
    plan = solve(snapshot([in_zone("a", zones=(A,)), in_zone("b", zones=(B,))], BY_ZONE))
    assert [r.reason for r in plan.refused] == ["GroupDoesNotFit"] * 2
    assert "none of its zones suits all of them" in refusal_of(plan, "a").message


def test_a_latecomer_goes_to_the_zone_of_its_group():
    there = seat("c1", BY_ZONE[0], sold=offering("m5.xlarge", 0.12, B), taken=amount(0, 4, 1))
    world = snapshot([in_zone("a")], BY_ZONE, [there])
    assert zones(solve(world)) == {"a": {A}}
    assert zones(solve(replace(world, groups=(("g", "c1"),)))) == {"a": {B}}
    assert zones(solve(replace(world, groups=(("other", "c1"),)))) == {"a": {A}}


def test_without_all_or_none_some_of_a_group_start():
    types = [kind("m5.xlarge", 0.1, offerings=[offering("m5.xlarge", 0.1, A)])]
    plan = solve(snapshot([in_zone("a"), in_zone("b", cpu=9)], types))
    assert places(plan) == {"a": "new-1"}
    assert refusal_of(plan, "b").reason == "TooLarge"


# --- all or none --------------------------------------------------------------------------------


def test_all_or_none_starts_nobody_when_one_has_no_place():
    waiting = [in_zone("a", all_or_none=True), in_zone("b", cpu=99, all_or_none=True)]
    plan = solve(snapshot([*waiting, session("c")], TYPES))
    assert list(places(plan)) == ["c"]
    assert "Its group has no place together: 99 CPU" in refusal_of(plan, "a").message


def test_all_or_none_starts_nobody_when_others_leave_too_little_room():
    seats = [seat("c1", LARGE, taken=amount(0, 10, 1))]
    waiting = [in_zone("a", cpu=2, all_or_none=True), in_zone("b", all_or_none=True)]
    assert places(solve(snapshot(waiting, (), seats))) == {"a": "c1", "b": "c1"}
    plan = solve(snapshot([*waiting, session("c", cpu=4)], (), seats))
    assert list(places(plan)) == ["c"]
    assert refusal_of(plan, "a").reason == "GroupDoesNotFit"
    assert refusal_of(plan, "a").temporary


def test_a_group_of_a_stated_size_waits_until_all_are_there():
    waiting = [in_zone(u, all_or_none=True, size=3) for u in "ab"]
    plan = solve(snapshot(waiting, TYPES))
    assert refusal_of(plan, "a").reason == "GroupIncomplete"
    assert "2 of the 3 sessions" in refusal_of(plan, "b").message
    assert len(solve(snapshot([*waiting, in_zone("c")], TYPES)).placements) == 3


def test_members_that_have_their_place_count_as_being_there():
    there = seat("c1", SMALL, taken=amount(0, 4, 1))
    waiting = [in_zone(u, all_or_none=True, size=3) for u in "ab"]
    world = replace(snapshot(waiting, TYPES, [there]), groups=(("g", "c1"),))
    assert len(solve(world).placements) == 2


# --- and besides ------------------------------------------------------------------------------


def test_the_order_of_sessions_does_not_matter():
    waiting = [in_zone("a"), member("b", "h"), member("c", "h"), session("d")]
    plans = {repr(solve(snapshot(order, BY_ZONE))) for order in itertools.permutations(waiting)}
    assert len(plans) == 1


def test_a_session_held_back_is_refused_with_what_it_waits_for():
    held = replace(session("a"), waits_for="its volume claim home has no volume yet")
    plan = solve(snapshot([held, session("b")], TYPES))
    assert list(places(plan)) == ["b"]
    told = refusal_of(plan, "a")
    assert told.message == "It waits: its volume claim home has no volume yet."
    assert (told.reason, told.temporary) == ("NotReady", True)


def test_refusals_of_held_and_of_impossible_sessions_come_together():
    held = replace(session("z"), waits_for="its volume is lost")
    plan = solve(snapshot([held, session("b", cpu=99)], TYPES))
    assert [r.session for r in plan.refused] == ["b", "z"]
    assert SPOT in {o.capacity_type for t in TYPES for o in t.offerings}
