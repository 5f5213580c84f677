"""Repacking: who may move, what it is worth, and that everything it says adds up."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packing_worlds import kind, seat, session, snapshot
from test_packing_properties import drawn, fitting, kinds, sessions, suits_seat, total

from jupyter_gpu_jit.catalogue import instance_types
from jupyter_gpu_jit.core.model import InstanceType, SessionRequest, Snapshot
from jupyter_gpu_jit.core.packing import Policy, keeping
from jupyter_gpu_jit.core.packing import repack as repack_module
from jupyter_gpu_jit.core.packing.master import Unsolved
from jupyter_gpu_jit.core.packing.problem import Load
from jupyter_gpu_jit.core.packing.repack import Move, Repacking, Terms, repack
from jupyter_gpu_jit.core.requirements import CapacityPolicy
from jupyter_gpu_jit.errors import Defect
from jupyter_gpu_jit.sim.workloads import common_types, hub_mix

CHEAP, DEAR = 10_000, 1_000_000
SMALL = kind("m5.large", 0.5, cpu=2, gib=8)
LARGE = kind("m5.4xlarge", 3.0, cpu=16, gib=64)
GPU = kind("g6.xlarge", 2.0, gpus=1, cpu=4, gib=16, model="L4")
TYPES = (SMALL, LARGE, GPU)
SPOT_SMALL, *_ = SMALL.offerings
ON_DEMAND = SMALL.offerings[1:]


@dataclass(frozen=True)
class World:
    snapshot: Snapshot
    residents: Mapping[str, tuple[SessionRequest, ...]]
    movable: Mapping[str, int | None]

    def repack(self, **more) -> Repacking:
        return repack(self.snapshot, self.residents, self.movable, **more)


def world(
    nodes: Mapping[str, tuple[InstanceType, Sequence[SessionRequest]]],
    price: int | None = CHEAP,
    types: Sequence[InstanceType] = TYPES,
    **more,
) -> World:
    """Nodes by place, each with its type and sessions; all move at that price."""
    seats = [seat(p, of, taken=total(there), **more) for p, (of, there) in nodes.items()]
    residents = {place: tuple(there) for place, (_, there) in nodes.items()}
    prices = {who.uid: price for there in residents.values() for who in there}
    return World(snapshot((), types, seats), residents, prices)


def small_crowd(*uids: str, cpu: int = 2, **more) -> list[SessionRequest]:
    return [session(uid, cpu=cpu, **more) for uid in uids]


# --- what it does --------------------------------------------------------------------------------


def test_a_session_moves_to_room_that_is_there_and_its_node_ends():
    found = world({"a": (LARGE, small_crowd("x", "w", cpu=7)), "b": (SMALL, small_crowd("y"))})
    answer = found.repack()
    assert answer.ended == ("b",)
    assert answer.moves == (Move("y", "b", "a"),)
    assert (answer.before_usd_per_hour_micro, answer.after_usd_per_hour_micro) == (
        3_500_000,
        3_000_000,
    )
    assert (answer.move_price_micro_usd, answer.net_gain_micro_usd) == (CHEAP, 490_000)
    assert answer.claims == ()


def test_one_node_becomes_several_cheaper_ones():
    answer = world({"a": (LARGE, small_crowd("x", "y", "z"))}).repack()
    assert answer.ended == ("a",)
    assert [c.offerings[0].instance_type for c in answer.claims] == ["m5.large"] * 3
    assert answer.after_usd_per_hour_micro == 1_500_000
    assert {move.place for move in answer.moves} == {claim.key for claim in answer.claims}


def test_several_nodes_become_one():
    nodes = {f"n{i}": (GPU, small_crowd(f"x{i}", cpu=4)) for i in range(4)}
    answer = world(nodes, types=(LARGE, GPU)).repack()
    assert answer.ended == ("n0", "n1", "n2", "n3")
    (claim,) = answer.claims
    assert claim.offerings[0].instance_type == "m5.4xlarge"
    assert claim.sessions == ("x0", "x1", "x2", "x3")


def test_an_empty_node_ends_and_costs_no_move():
    answer = world({"a": (LARGE, []), "b": (SMALL, small_crowd("x"))}).repack()
    assert (answer.ended, answer.moves) == (("a",), ())
    assert answer.net_gain_micro_usd == 3_000_000


def test_empty_nodes_alone_end_too():
    answer = world({"a": (LARGE, []), "b": (SMALL, [])}).repack()
    assert answer.ended == ("a", "b")
    assert answer.after_usd_per_hour_micro == answer.lower_bound_usd_per_hour_micro == 0


def test_without_a_better_place_nothing_changes_and_that_is_proven():
    answer = world({"a": (SMALL, small_crowd("x"))}).repack()
    assert (answer.ended, answer.moves, answer.net_gain_micro_usd) == ((), (), 0)
    assert answer.lower_bound_usd_per_hour_micro == 500_000


# --- who never moves -----------------------------------------------------------------------------

SPARE = {"a": (LARGE, small_crowd("x", "w", cpu=7)), "b": (SMALL, small_crowd("y"))}


@pytest.mark.parametrize("price", [None, "missing"])
def test_a_session_without_a_price_is_never_moved(price):
    found = world(SPARE)
    movable = {uid: p for uid, p in found.movable.items() if uid != "y"}
    if price is None:
        movable["y"] = None
    answer = replace(found, movable=movable).repack()
    assert (answer.ended, answer.moves) == ((), ())


def test_room_beside_a_busy_session_is_used():
    found = world(SPARE)
    answer = replace(found, movable={**found.movable, "x": None}).repack()
    assert answer.moves == (Move("y", "b", "a"),)


def test_a_node_stays_when_nobody_says_who_is_on_it():
    found = world(SPARE)
    answer = replace(found, residents={"a": found.residents["a"]}).repack()
    assert answer.ended == ()


def test_a_node_that_is_not_ready_stays_but_takes_sessions():
    found = world(SPARE)
    for late, ended in (("b", ()), ("a", ("b",))):
        seats = [replace(s, ready=s.place != late) for s in found.snapshot.seats]
        there = replace(found, snapshot=snapshot((), TYPES, seats))
        assert there.repack().ended == ended


def test_members_of_a_group_stay_together_where_they_are():
    nodes = dict(SPARE)
    nodes["b"] = (SMALL, [replace(SPARE["b"][1][0], group="team")])
    assert world(nodes).repack().ended == ()


def test_a_session_bound_to_its_own_node_keeps_it():
    found = world({"a": SPARE["a"], "b": (SMALL, small_crowd("y", node_labels=(("host", "b"),)))})
    labels = {"a": {"host": "a"}, "b": {"host": "b"}}
    seats = [replace(s, labels={**s.labels, **labels[s.place]}) for s in found.snapshot.seats]
    assert replace(found, snapshot=snapshot((), TYPES, seats)).repack().ended == ()


# --- what it is worth ----------------------------------------------------------------------------


def test_a_dear_move_is_made_only_if_the_plan_holds_long_enough():
    found = world(SPARE, price=DEAR)
    assert found.repack().ended == ()
    long = found.repack(terms=Terms(horizon_hours=3))
    assert (long.ended, long.net_gain_micro_usd) == (("b",), 500_000)


@pytest.mark.parametrize(("margin", "ended"), [(0.0, ("b",)), (0.24, ("b",)), (0.26, ())])
def test_what_is_saved_must_exceed_the_moves_by_the_margin(margin, ended):
    """0.50 USD are saved in the hour for a move at 0.40."""
    assert world(SPARE, price=400_000).repack(terms=Terms(margin=margin)).ended == ended


def test_a_part_that_does_not_pay_is_left_out_of_a_change_that_does():
    nodes = {"a": (LARGE, small_crowd("x", "w", cpu=7)), "b": (SMALL, small_crowd("y"))}
    found = world({**nodes, "c": (LARGE, small_crowd("s", "t"))})
    prices = {**found.movable, "y": DEAR}
    answer = replace(found, movable=prices).repack()
    assert answer.ended == ("c",)
    assert {move.session for move in answer.moves} == {"s", "t"}


def test_a_node_that_is_often_taken_back_is_left_for_a_dearer_one():
    """A restart an hour at 2 USD every other hour, and half a dollar more for on-demand."""
    nodes = {"a": (SMALL, small_crowd("x", capacity=CapacityPolicy.SPOT_THEN_ON_DEMAND))}
    risky = replace(SMALL, offerings=(replace(SPOT_SMALL, interruptions_per_hour=0.5), *ON_DEMAND))
    found = world(nodes, types=(risky,), interruptions_per_hour=0.5)
    answer = found.repack(policy=Policy(session_restart_usd_micro=2_000_000))
    assert [claim.offerings for claim in answer.claims] == [ON_DEMAND]
    assert answer.after_usd_per_hour_micro - answer.before_usd_per_hour_micro == 500_000
    assert (answer.saved_usd_per_hour_micro, answer.net_gain_micro_usd) == (500_000, 490_000)
    assert found.repack().ended == ()


def test_newcomers_count_for_the_risk_of_the_node_they_go_to():
    policy = Policy(session_restart_usd_micro=2_000_000, prior_interruptions_per_hour=0.2)
    answer = world(SPARE).repack(policy=policy)
    assert (answer.ended, answer.saved_usd_per_hour_micro) == (("b",), 500_000)
    assert answer.counted_usd_per_hour_micro == 3_000_000 + 3 * 400_000 + 11_000


def test_spot_nodes_are_spread_over_pools_as_the_policy_says(monkeypatch):
    pools = [replace(SPOT_SMALL, zone=zone) for zone in ("us-east-1a", "us-east-1b")]
    found = world(
        {"a": (LARGE, small_crowd("w", "x", "y", "z"))},
        types=(replace(SMALL, offerings=tuple(pools)),),
    )
    spread = Policy(max_pool_share=0.5)
    zones = [claim.offerings[0].zone for claim in found.repack(policy=spread).claims]
    assert sorted(zones) == ["us-east-1a", "us-east-1a", "us-east-1b", "us-east-1b"]
    monkeypatch.setattr(repack_module, "_MOST_LIMITS", 1)
    assert found.repack(policy=spread).ended == ()


@pytest.mark.parametrize("wrong", [{"horizon_hours": 0}, {"margin": -0.1}])
def test_terms_that_cannot_be_weighed_are_a_defect(wrong):
    with pytest.raises(Defect, match="horizon above 0 hours and a margin of 0 or more"):
        Terms(**wrong)


def test_without_a_linear_program_everything_stays(monkeypatch):
    def unsolved(self):
        raise Unsolved

    monkeypatch.setattr(keeping.Master, "solve", unsolved)
    answer = world(SPARE).repack()
    assert (answer.ended, answer.lower_bound_usd_per_hour_micro) == ((), 0)


def test_who_could_only_stay_keeps_their_node_when_rounding_would_end_it():
    """Nothing like the old type is sold any more: only room that is there could take them."""
    old = kind("g4dn.large", 1.0, gpus=2, cpu=8, gib=32, model="T4")
    gone = replace(old, offerings=(replace(old.offerings[0], available=False),))
    there = [session(f"x{i}", 1, 2, 2, gpu_models=("T4",)) for i in range(5)]
    nodes = {f"n{i}": (old, there[i : i + 1]) for i in range(5)}
    answer = world(nodes, types=(gone, SMALL)).repack()
    assert len(answer.ended) == 2
    assert len(answer.moves) == 2


# --- in numbers ----------------------------------------------------------------------------------

COMMON = common_types(instance_types(families=("c6i", "m6i", "r6i", "g4dn", "g6")))


def crowd_on_nodes_of_their_own(count: int) -> World:
    nodes = {}
    for who in hub_mix(Random(3), COMMON, shapes=12, sessions=count):
        fits = [
            (sold.usd_per_hour_micro, of.name, of)
            for of, sold in fitting(snapshot((), COMMON), [who])
        ]
        nodes[f"node-{who.uid}"] = (min(fits)[2], [who])
    return world(nodes, types=COMMON)


def test_a_crowd_of_single_sessions_comes_near_the_bound_and_repeats():
    found = crowd_on_nodes_of_their_own(80)
    answer = found.repack()
    assert answer.after_usd_per_hour_micro < 0.9 * answer.before_usd_per_hour_micro
    assert answer.counted_usd_per_hour_micro <= 1.02 * answer.lower_bound_usd_per_hour_micro
    assert found.repack() == answer
    check(found, answer)


def test_a_node_is_filled_once_however_many_fillings_are_offered():
    nodes, rest = np.array([1]), np.array([2, 2])
    offered = np.array([[1.0, 0.0], [0.0, 1.0]])
    loads = list(keeping.taken(np.array([0, 0]), offered, nodes=nodes, rest=rest))
    assert loads == [Load(0, (1, 0), 1)]
    assert (nodes.tolist(), rest.tolist()) == ([0], [1, 2])


def test_columns_that_only_the_certificate_finds_do_no_harm():
    found = crowd_on_nodes_of_their_own(80)
    check(found, found.repack(steps=0))
    check(found, found.repack(steps=1))


# --- whatever the world --------------------------------------------------------------------------

PRICES = (None, 0, 2_000, 20_000, 200_000)


@st.composite
def worlds(draw: st.DrawFn, most_nodes: int = 4, prices: Sequence[int | None] = PRICES) -> World:
    types = [draw(kinds(f"k{n}.large")) for n in range(draw(st.integers(1, 3)))]
    seats, residents, uids = [], {}, iter(range(99))
    for n in range(draw(st.integers(0, most_nodes))):
        of = draw(st.sampled_from(types))
        sold = draw(st.sampled_from(of.offerings))
        node, there = seat(f"seat-{n}", of, sold=sold, ready=draw(st.integers(0, 4)) > 0), []
        for _ in range(draw(st.integers(0, 3))):
            who = draw(sessions(f"s{next(uids)}"))
            if suits_seat(who, node) and who.resources.fits_in(node.residual):
                there.append(who)
                node = replace(node, residual=node.residual - who.resources)
        seats.append(node)
        residents[f"seat-{n}"] = tuple(there)
    everyone = sorted(who.uid for there in residents.values() for who in there)
    movable = {uid: draw(st.sampled_from(prices)) for uid in everyone}
    return World(snapshot((), types, seats), residents, movable)


def check(found: World, answer: Repacking, terms: Terms | None = None) -> None:
    """Everything the answer says, worked out again from who sits where."""
    terms = terms or Terms()
    seats = {s.place: s for s in found.snapshot.seats}
    home = {who.uid: p for p, there in found.residents.items() for who in there}
    requests = {who.uid: who for there in found.residents.values() for who in there}
    ended = set(answer.ended)
    leaving = {who.uid for place in ended for who in found.residents[place]}
    assert sorted(m.session for m in answer.moves) == sorted(leaving)
    assert all(found.movable.get(uid) is not None for uid in leaving)
    assert all(home[m.session] == m.source != m.place not in ended for m in answer.moves)
    assert all(seats[place].ready for place in ended)
    came: dict[str, list[SessionRequest]] = defaultdict(list)
    for move in answer.moves:
        came[move.place].append(requests[move.session])
    claims = {claim.key: claim for claim in answer.claims}
    for place, group in came.items():
        if place in claims:
            assert sorted(claims[place].sessions) == sorted(who.uid for who in group)
            possible = {sold.key for _, sold in fitting(found.snapshot, group)}
            assert {sold.key for sold in claims[place].offerings} <= possible
        else:
            assert total(group).fits_in(seats[place].residual)
            assert all(suits_seat(who, seats[place]) for who in group)
    assert set(claims) <= set(came)
    before = sum(s.usd_per_hour_micro for s in seats.values())
    after = sum(s.usd_per_hour_micro for s in seats.values() if s.place not in ended)
    after += sum(claim.offerings[0].usd_per_hour_micro for claim in answer.claims)
    price = sum(found.movable[uid] for uid in leaving)
    assert (answer.before_usd_per_hour_micro, answer.after_usd_per_hour_micro) == (before, after)
    assert answer.move_price_micro_usd == price
    assert answer.net_gain_micro_usd == math.floor((before - after) * terms.horizon_hours) - price
    assert answer.net_gain_micro_usd > terms.margin * price or not ended
    assert 0 <= answer.lower_bound_usd_per_hour_micro <= answer.counted_usd_per_hour_micro


@drawn
@given(worlds(), st.sampled_from((0.25, 1.0, 8.0)), st.sampled_from((0.0, 0.1, 1.0)))
def test_everything_adds_up_and_nobody_busy_is_moved(found, hours, margin):
    terms = Terms(horizon_hours=hours, margin=margin)
    check(found, found.repack(terms=terms), terms)


@drawn
@given(worlds(prices=(None, 10**12)))
def test_at_prices_beyond_all_savings_only_empty_nodes_go(found):
    answer = found.repack()
    assert answer.moves == ()
    assert all(not found.residents[place] for place in answer.ended)


@drawn
@given(worlds(), st.randoms(use_true_random=False))
def test_the_order_of_the_input_is_nothing(found, random):
    def shuffled(items):
        return tuple(random.sample(items, len(items)))

    places = shuffled(tuple(found.residents))
    again = World(
        replace(
            found.snapshot,
            seats=shuffled(found.snapshot.seats),
            instance_types=shuffled(found.snapshot.instance_types),
        ),
        {place: shuffled(found.residents[place]) for place in places},
        {uid: found.movable[uid] for uid in shuffled(tuple(found.movable))},
    )
    assert again.repack() == found.repack()


@drawn
@given(worlds())
def test_fewer_rounds_are_sound_as_well(found):
    best, quick = found.repack(), found.repack(steps=0)
    check(found, quick)
    assert quick.counted_usd_per_hour_micro >= best.lower_bound_usd_per_hour_micro


def every_choice(found: World) -> Iterator[int]:
    """Cost of each way to end nodes and seat their sessions, moves counted, by brute force."""
    seats = list(found.snapshot.seats)
    terms = Terms()
    may_end = [
        s.place
        for s in seats
        if s.ready and all(found.movable[who.uid] is not None for who in found.residents[s.place])
    ]
    for chosen in range(1 << len(may_end)):
        ended = {place for i, place in enumerate(may_end) if chosen >> i & 1}
        moving = [who for place in sorted(ended) for who in found.residents[place]]
        kept = [s for s in seats if s.place not in ended]
        cost = sum(s.usd_per_hour_micro for s in kept)
        cost += sum(terms.hourly(found.movable[who.uid]) for who in moving)
        room = {s.place: s.residual for s in kept}
        yield from (cost + new for new in _seatings(found, moving, room, kept, []))


def _seatings(found, moving, room, kept, groups) -> Iterator[int]:
    if not moving:
        prices = [
            min((sold.usd_per_hour_micro for _, sold in fitting(found.snapshot, g)), default=None)
            for g in groups
        ]
        if None not in prices:
            yield sum(prices)
        return
    who, rest = moving[0], moving[1:]
    for node in kept:
        if who.resources.fits_in(room[node.place]) and suits_seat(who, node):
            left = {**room, node.place: room[node.place] - who.resources}
            yield from _seatings(found, rest, left, kept, groups)
    for i, group in enumerate(groups):
        yield from _seatings(
            found, rest, room, kept, [*groups[:i], [*group, who], *groups[i + 1 :]]
        )
    yield from _seatings(found, rest, room, kept, [*groups, [who]])


@drawn
@given(worlds(most_nodes=3))
def test_no_choice_is_cheaper_than_the_bound_says(found):
    answer = found.repack()
    if sum(map(len, found.residents.values())) <= 6:
        best = min(every_choice(found))
        assert answer.lower_bound_usd_per_hour_micro <= best
        assert answer.counted_usd_per_hour_micro >= best
