"""Time slices: a node of them belongs to one user unless everybody's profile says otherwise."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packing_worlds import amount, kind, places, seat, session, snapshot

from jupyter_gpu_jit.core.layouts import TIME_SLICED, room_of
from jupyter_gpu_jit.core.model import SessionRequest
from jupyter_gpu_jit.core.packing import solve
from jupyter_gpu_jit.core.packing.repack import repack
from jupyter_gpu_jit.core.planfile import read_nodes, read_requests
from jupyter_gpu_jit.core.requirements import GpuShare
from jupyter_gpu_jit.errors import UserError

T4 = kind("g4dn.2xlarge", 0.4, gpus=1, cpu=8, gib=32, model="T4", driver_family="nvidia")
M5 = kind("m5.large", 0.5, cpu=8, gib=32)


def share(uid, user, *, time_sliced=False, gib=4, **more) -> SessionRequest:
    wanted = GpuShare(memory_gib=gib, time_sliced=time_sliced)
    return replace(session(uid, 1, share=wanted, **more), user=user)


def sliced(place, *there, parts=4, **more):
    """A node in time slices with these sessions on it."""
    layout = f"{TIME_SLICED}{parts}"
    total = room_of(T4, layout)
    room = total - sum((s.resources for s in there), amount(0, 0, 0, 0))
    fields = {"layout": layout, "total": total, "residual": room, "driver_family": "nvidia"}
    return seat(place, T4, **{**fields, "sessions": there, **more})


def together(plan):
    """Who is with whom on new nodes."""
    return sorted(claim.sessions for claim in plan.claims)


# --- new nodes ----------------------------------------------------------------------------------


def test_sessions_of_one_user_may_share_a_gpu_in_time_slices():
    one_user = solve(snapshot([share(u, "ann") for u in "abc"], [T4]))
    assert [claim.layout for claim in one_user.claims] == ["time-sliced-4"]
    assert one_user.proven
    three = solve(snapshot([share(u, u) for u in "abc"], [T4]))
    assert [claim.layout for claim in three.claims] == [""] * 3


def test_nobody_else_joins_them():
    waiting = [share("a", "ann"), share("b", "ann"), share("c", "bob"), share("d", "bob")]
    plan = solve(snapshot(waiting, [T4]))
    assert together(plan) == [("a", "b"), ("c", "d")]
    assert plan.proven
    easy = [share("e", "eve", time_sliced=True), replace(session("f", cpu=1), user="fred")]
    mixed = solve(snapshot([*waiting, *easy], [T4]))
    by_user = [set(claim.sessions) for claim in mixed.claims]
    assert {"a", "b"} in by_user
    assert {"c", "d"} in by_user


def test_where_nobody_minds_users_share_as_before():
    easy = [share(u, u, time_sliced=True) for u in "abcd"]
    plan = solve(snapshot(easy, [T4]))
    assert together(plan) == [("a", "b", "c", "d")]


# --- nodes that exist ---------------------------------------------------------------------------


def test_a_user_comes_back_to_a_node_in_time_slices_and_others_do_not():
    there = sliced("c1", share("old", "ann"))
    assert places(solve(snapshot([share("a", "ann")], [T4], [there]))) == {"a": "c1"}
    assert places(solve(snapshot([share("b", "bob")], [T4], [there]))) == {"b": "new-1"}
    easy = share("b", "bob", time_sliced=True)
    assert places(solve(snapshot([easy], [T4], [there]))) == {"b": "new-1"}


def test_one_who_minds_does_not_join_others_who_do_not():
    there = sliced("c1", share("old", "ann", time_sliced=True))
    assert places(solve(snapshot([share("b", "bob")], [T4], [there]))) == {"b": "new-1"}
    easy = share("b", "bob", time_sliced=True)
    assert places(solve(snapshot([easy], [T4], [there]))) == {"b": "c1"}
    assert places(solve(snapshot([share("a", "ann")], [T4], [there]))) == {"a": "c1"}


def test_an_empty_node_in_time_slices_goes_to_the_first_user():
    waiting = [share("a", "ann"), share("b", "bob"), share("c", "ann")]
    found = places(solve(snapshot(waiting, [T4], [sliced("c1")])))
    assert found["a"] == found["c"] == "c1"
    assert found["b"] != "c1"


def test_the_next_seat_of_the_right_company_is_found_behind_a_wrong_one():
    seats = [sliced("c1", share("x", "bob")), sliced("c2", share("y", "ann"))]
    waiting = [share("a", "ann"), share("b", "bob")]
    assert places(solve(snapshot(waiting, [T4], seats))) == {"a": "c2", "b": "c1"}


def test_a_place_that_somebody_else_has_taken_is_not_kept():
    there = sliced("c1", share("x", "bob"))
    assert places(solve(snapshot([share("a", "ann", place="c1")], [T4], [there]))) == {"a": "new-1"}


def test_cpu_sessions_of_others_stay_off_a_node_that_is_somebodys():
    filler = replace(session("cpu", cpu=1), user="bob")
    full = [share(f"x{n}", "ann") for n in range(4)]
    assert places(solve(snapshot([filler], [M5], [sliced("c1", *full)]))) == {"cpu": "new-1"}
    easy = [replace(s, requirements=share("", "", time_sliced=True).requirements) for s in full]
    assert places(solve(snapshot([filler], [M5], [sliced("c1", *easy)]))) == {"cpu": "c1"}


def test_nodes_on_their_way_keep_to_the_user_they_were_planned_for():
    coming = sliced("c1", ready=False)
    waiting = [share("a", "ann", place="c1"), share("b", "bob"), share("c", "bob")]
    found = places(solve(snapshot(waiting, [T4], [coming])))
    assert found["a"] == "c1"
    assert "c1" not in (found["b"], found["c"])


def test_repacking_moves_nobody_to_a_node_that_is_somebody_elses():
    mine, other = share("a", "ann", time_sliced=True), share("b", "bob")
    whole = seat("c2", T4, taken=mine.resources, driver_family="nvidia", sessions=(mine,))
    free, private = sliced("c1", replace(mine, uid="b", user="bob")), sliced("c1", other)
    residents = {"c1": (other,), "c2": (mine,)}
    movable = {"a": 0, "b": None}
    moved = repack(snapshot([], [T4], [free, whole]), residents, movable).moves
    assert [move.place for move in moved] == ["c1"]
    assert repack(snapshot([], [T4], [private, whole]), residents, movable).moves == ()


# --- always -------------------------------------------------------------------------------------

USERS = st.sampled_from(("ann", "bob", "eve"))


@st.composite
def crowds(draw: st.DrawFn) -> list[SessionRequest]:
    return [
        share(f"s{n}", draw(USERS), time_sliced=draw(st.booleans()), gib=draw(st.integers(1, 8)))
        for n in range(draw(st.integers(1, 8)))
    ]


@given(crowds(), st.lists(st.tuples(USERS, st.booleans()), max_size=3))
def test_nobody_who_minds_ever_shares_time_slices_with_another_user(waiting, living):
    seats = [
        sliced(f"c{n}", share(f"old{n}", user, time_sliced=easy))
        for n, (user, easy) in enumerate(living)
    ]
    world = snapshot(waiting, [T4], seats)
    plan = solve(world)
    layouts = {claim.key: claim.layout for claim in plan.claims}
    layouts |= {each.place: each.layout for each in seats}
    on = {each.place: list(each.sessions) for each in seats}
    for session_ in waiting:
        on.setdefault(places(plan)[session_.uid], []).append(session_)
    for place, those in on.items():
        minds = any(not s.requirements.share.time_sliced for s in those)
        if layouts[place].startswith(TIME_SLICED) and minds:
            assert len({s.user for s in those}) == 1
    assert plan.lower_bound_usd_per_hour_micro <= plan.cost_usd_per_hour_micro


def test_the_order_of_sessions_does_not_matter():
    waiting = [share("a", "ann"), share("b", "ann"), share("c", "bob"), share("d", "eve")]
    plans = {repr(solve(snapshot(each, [T4]))) for each in itertools.permutations(waiting)}
    assert len(plans) == 1


# --- the files of gpu-jit plan ------------------------------------------------------------------


def test_requests_and_nodes_of_a_plan_file_may_say_whose_they_are():
    part = {"count": 2, "gpus": {"share": {"memory_gib": 4}}}
    asked = read_requests([{**part, "user": "ann"}, part])
    users = Counter(s.user for request in asked for s in request.sessions())
    assert users == {"ann": 2, "request-2-1": 1, "request-2-2": 1}
    with pytest.raises(UserError, match="must not be empty"):
        read_requests([{**part, "user": ""}])
    node = {"name": "n1", "type": T4.name, "zone": "us-east-1a", "layout": "time-sliced-4"}
    living = {**node, "usd_per_hour": 1, "sessions": [{**part, "count": 1, "user": "ann"}]}
    (there,) = read_nodes([living], {T4.name: T4})
    assert [s.user for s in there.seat.sessions] == ["ann"]
    plan = solve(snapshot([s for r in asked for s in r.sessions()], [T4], [there.seat]))
    assert [p.session[:6] for p in plan.placements if p.place == "n1"] == ["000000", "000000"]
