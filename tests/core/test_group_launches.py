"""Racks, placement groups and launches of all or none: each rule where it alone decides."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from packing_worlds import ZONES, amount, kind, launched, offering, places, seat, session, snapshot
from packing_worlds import refusal as refusal_of

from jupyter_gpu_jit.core.model import GroupPolicy, PlannedClaim, Together
from jupyter_gpu_jit.core.packing import solve
from jupyter_gpu_jit.core.packing.nearness import rack_of
from jupyter_gpu_jit.core.packing.terms import Launch, placement_group
from jupyter_gpu_jit.core.requirements import LabelRequirement
from jupyter_gpu_jit.core.wire import NETWORK_NODE_LABELS, PIN_LABEL

A, B = ZONES
SMALL = kind("m5.xlarge", 0.1, cpu=4, gib=16)
LARGE = kind("m5.4xlarge", 0.5, cpu=16, gib=64)
TYPES = (SMALL, LARGE)
RACK, GROUP, ZONE = Together.RACK, Together.PLACEMENT_GROUP, Together.ZONE


def member(uid, together, group="g", *, cpu=3.0, all_or_none=False, **more):
    policy = GroupPolicy(together=together, all_or_none=all_or_none)
    return replace(session(uid, cpu=cpu, gib=1, **more), group=group, group_policy=policy)


def node(place, *network, of=SMALL, **more):
    """A ready node under these network nodes, the widest first."""
    told = dict(zip(NETWORK_NODE_LABELS, network, strict=False))
    plain = seat(place, of, **more)
    return replace(plain, labels={**plain.labels, PIN_LABEL: place, **told})


def groups_of(plan):
    return {claim.terms.placement_group for claim in plan.claims}


# --- placement groups ---------------------------------------------------------------------------


def test_new_nodes_of_a_group_are_asked_into_its_placement_group():
    for together, name in ((GROUP, placement_group("g")), (RACK, placement_group("g")), (ZONE, "")):
        waiting = [*(member(u, together) for u in "ab"), session("c", cpu=4)]
        plan = solve(snapshot(waiting, TYPES))
        asked = {uid: c.terms.placement_group for c in plan.claims for uid in c.sessions}
        assert asked == {"a": name, "b": name, "c": ""}
        assert {claim.terms.placement_strategy for claim in plan.claims} == {"cluster"}
        assert plan.proven


def test_the_name_of_a_placement_group_is_readable_and_its_own():
    name = placement_group("ann / my team!")
    assert name.startswith("ann-my-team-")
    assert name != placement_group("ann my team")
    assert placement_group("ÄÖ") == placement_group("ÄÖ") != placement_group("ÖÄ")
    assert not placement_group("/").startswith("-")
    assert len(placement_group("x" * 300)) < 64


def test_a_node_that_runs_cannot_join_a_placement_group():
    there = node("c1", of=LARGE)
    in_zone = solve(snapshot([member(u, ZONE) for u in "ab"], TYPES, [there]))
    assert set(places(in_zone).values()) == {"c1"}
    grouped = solve(snapshot([member(u, GROUP) for u in "ab"], TYPES, [there]))
    assert launched(grouped) == [("m5.xlarge", 1)] * 2
    assert grouped.proven


def test_nodes_on_their_way_for_the_group_are_kept_and_those_it_has_are_used():
    coming = node("c1", of=LARGE, ready=False)
    waiting = [member("a", GROUP, place="c1"), member("b", GROUP)]
    assert set(places(solve(snapshot(waiting, TYPES, [coming]))).values()) == {"c1"}
    world = snapshot([member("b", GROUP)], TYPES, [node("c1", of=LARGE), node("c2", of=LARGE)])
    assert places(solve(replace(world, groups=(("g", "c2"),)))) == {"b": "c2"}


def test_a_node_is_in_one_placement_group_so_the_second_group_comes_later():
    waiting = [member("a", GROUP, "g", cpu=1), member("b", GROUP, "h", cpu=1)]
    plan = solve(snapshot(waiting, [LARGE]))
    assert launched(plan) == [("m5.4xlarge", 1)]
    told = refusal_of(plan, "b")
    assert (told.reason, told.temporary) == ("GroupComesLater", True)
    # In the next plan the first group has its node, which is no place for the second.
    first = node("c1", of=LARGE, ready=False)
    later = [member("a", GROUP, "g", cpu=1, place="c1"), member("b", GROUP, "h", cpu=1)]
    plan = solve(snapshot(later, [LARGE], [first]))
    assert places(plan) == {"a": "c1", "b": "new-1"}


def test_efa_is_asked_where_a_session_asks_for_it():
    types = [kind("p5.4xlarge", 1.0, gpus=1, model="A100", efa_interfaces=1), SMALL]
    plan = solve(snapshot([session("a", 1, efa=True), session("b", cpu=4)], types))
    asked = {uid: claim.terms.efa for claim in plan.claims for uid in claim.sessions}
    assert asked == {"a": True, "b": False}


# --- racks --------------------------------------------------------------------------------------


def test_the_rack_is_the_nearest_network_node_that_is_known():
    first, second, third = NETWORK_NODE_LABELS
    assert rack_of({first: "n1", second: "n2", third: "n3"}) == (third, "n3")
    assert rack_of({first: "n1", second: "n2"}) == (second, "n2")
    assert rack_of({}) is None


def test_a_rack_group_takes_nodes_under_one_network_node():
    near = [node("c2", "n1", "n2", "n3"), node("c4", "n1", "n2", "n3")]
    far = [node("c1", "n1", "n2", "n9"), node("c3", "n1", "n2", "n8")]
    waiting = [member(u, RACK) for u in "ab"]
    assert set(places(solve(snapshot(waiting, TYPES, [*near, *far]))).values()) == {"c2", "c4"}
    in_zone = solve(snapshot([member(u, ZONE) for u in "ab"], TYPES, [*near, *far]))
    assert set(places(in_zone).values()) == {"c1", "c2"}


def test_a_rack_group_that_no_rack_holds_gets_new_nodes_together():
    seats = [node("c1", "n1", "n2", "n3"), node("c2", "n1", "n2", "n4"), node("c3")]
    plan = solve(snapshot([member(u, RACK) for u in "ab"], TYPES, seats))
    assert launched(plan) == [("m5.xlarge", 1)] * 2
    assert groups_of(plan) == {placement_group("g")}


def test_a_latecomer_goes_to_the_rack_of_its_group():
    full = node("c2", "n1", "n2", "n3", taken=amount(0, 4, 1))
    seats = [node("c1", "n1", "n2", "n8"), full, node("c3", "n1", "n2", "n3")]
    world = replace(snapshot([member("a", RACK)], TYPES, seats), groups=(("g", "c2"),))
    assert places(solve(world)) == {"a": "c3"}
    alone = solve(replace(world, seats=tuple(seats[:2])))
    assert places(alone) == {"a": "new-1"}


def test_what_members_ask_of_labels_themselves_still_holds():
    term = (LabelRequirement(key="team", operator="In", values=("a",)),)
    seats = [replace(node("c2"), labels={PIN_LABEL: "c2", "team": "a"}), node("c1")]
    world = snapshot([member("a", GROUP, node_terms=(term, ()))], [], seats)
    assert places(solve(replace(world, groups=(("g", "c1"), ("g", "c2"))))) == {"a": "c2"}
    nothing = snapshot([member("a", GROUP, node_terms=((),))], TYPES, seats)
    assert refusal_of(solve(nothing), "a").reason == "NodeSelectorMismatch"


# --- all or none --------------------------------------------------------------------------------

# Each member alone is cheapest on its own type; only the large type holds both fillings.
UNLIKE = [member("a", ZONE, all_or_none=True), member("b", ZONE, cpu=13.5, all_or_none=True)]


def test_all_or_none_has_one_list_of_offerings_for_all_its_new_nodes():
    apart = solve(snapshot([replace(m, group="") for m in UNLIKE], TYPES))
    assert launched(apart) == [("m5.4xlarge", 1), ("m5.xlarge", 1)]
    plan = solve(snapshot(UNLIKE, [*TYPES[:1], kind("c5.4xlarge", 0.5, cpu=15, gib=64)]))
    assert launched(plan) == [("c5.4xlarge", 1)] * 2
    assert plan.usd_per_hour_micro == 1_000_000
    assert plan.lower_bound_usd_per_hour_micro == 600_000
    assert not plan.proven
    assert len({claim.offerings for claim in plan.claims}) == 1
    assert [claim.terms.together for claim in plan.claims] == ["g", "g"]
    assert plan.claims[0].terms.at_least(2) == 2


def test_offerings_that_would_do_for_each_node_are_kept_and_the_others_left_out():
    near = kind("m6.4xlarge", 0.52, cpu=16, gib=64)
    pair = [member(u, ZONE, cpu=9, all_or_none=True) for u in "ab"]
    plan = solve(snapshot(pair, [*TYPES, near]))
    listed = {tuple(o.instance_type for o in claim.offerings) for claim in plan.claims}
    assert listed == {("m5.4xlarge", "m6.4xlarge")}
    assert plan.proven


def test_one_new_node_is_all_or_none_by_itself():
    pair = [member(u, ZONE, cpu=7, all_or_none=True) for u in "ab"]
    plan = solve(snapshot(pair, [LARGE]))
    assert launched(plan) == [("m5.4xlarge", 2)]
    assert plan.claims[0].terms.together == ""


def test_members_that_have_no_type_in_common_do_not_start():
    only_gpu = kind("g6.xlarge", 0.4, gpus=1, cpu=2, model="L4")
    other = member("b", ZONE, all_or_none=True)
    one = replace(session("a", 1), group="g", group_policy=other.group_policy)
    plan = solve(snapshot([one, other], [only_gpu, SMALL]))
    assert plan.claims == ()
    assert [refusal.reason for refusal in plan.refused] == ["GroupNeedsOneType"] * 2
    assert not plan.refused[0].temporary


def test_seats_that_exist_count_beside_new_nodes_of_one_type():
    gpu = kind("g6.xlarge", 0.4, gpus=1, cpu=2, model="L4")
    other = member("b", ZONE, all_or_none=True)
    ones = [replace(session(u, 1), group="g", group_policy=other.group_policy) for u in ("a", "c")]
    plan = solve(snapshot([*ones, other], [gpu], [node("c1")]))
    assert places(plan)["b"] == "c1"
    assert launched(plan) == [("g6.xlarge", 1)] * 2
    assert {claim.terms.together for claim in plan.claims} == {"g"}


def test_groups_that_share_a_node_are_launched_together():
    policy = {"together": ZONE, "all_or_none": True}
    waiting = [member(f"{g}{n}", group=g, cpu=8, **policy) for g in "gh" for n in range(3)]
    plan = solve(snapshot(waiting, [LARGE]))
    assert launched(plan) == [("m5.4xlarge", 2)] * 3
    assert {claim.terms.together for claim in plan.claims} == {"g"}


def test_nodes_in_different_layouts_have_no_offerings_in_common():
    sold = (offering("g6.xlarge", 1.0),)
    claims = [PlannedClaim(key=k, offerings=sold, sessions=(), layout=k) for k in ("", "x")]
    assert Launch(("g",), tuple(claims)).offerings == ()
    assert Launch(("g",), (claims[0], claims[0])).offerings == sold


@pytest.mark.parametrize("together", [RACK, GROUP, ZONE])
def test_the_order_of_members_does_not_matter(together):
    waiting = [
        member(u, together, all_or_none=True, cpu=c) for u, c in zip("abc", (3, 9, 4), strict=True)
    ]
    plans = {repr(solve(snapshot(order, TYPES))) for order in itertools.permutations(waiting)}
    assert len(plans) == 1
