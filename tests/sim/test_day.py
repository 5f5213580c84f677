"""A day adds up: minutes paid, nodes that go when empty, moves counted, policies plugged in."""

from random import Random

import pytest
from packing_worlds import ON_DEMAND, kind, offering, session

from jupyter_gpu_jit.core.model import Placement, Plan, PlannedClaim, Snapshot
from jupyter_gpu_jit.core.packing import solve
from jupyter_gpu_jit.core.requirements import CapacityPolicy
from jupyter_gpu_jit.errors import Defect
from jupyter_gpu_jit.sim.baselines import KarpenterLike, karpenter_like
from jupyter_gpu_jit.sim.day import (
    Change,
    Fleet,
    WithConsolidation,
    WithMoves,
    WithoutMoves,
    least_cost_micro_usd,
    moves_at,
    play,
)
from jupyter_gpu_jit.sim.workloads import Stay, common_types, day_of_sessions


def sold(name, usd, **more):
    return kind(name, 0, offerings=[offering(name, usd, capacity=ON_DEMAND)], **more)


SMALL = sold("m5.large", 0.6, cpu=2, gib=8)
LARGE = sold("m5.4xlarge", 3.0, cpu=16, gib=64)
TYPES = (SMALL, LARGE)
HOUR_MICRO = 1_000_000


def stay(uid, start, end, cpu=2):
    asked = session(uid, cpu=cpu, capacity=CapacityPolicy.ON_DEMAND)
    return Stay(asked, start, end)


def seated(fleet, uid, cpu):
    """The session on a node of its own."""
    who = stay(uid, 0, 60, cpu=cpu).session
    alone = Snapshot(now=0.0, waiting=(who,), instance_types=fleet.types)
    fleet.seat_all([who], karpenter_like(alone))


def never(fleet):
    return None


def test_each_minute_is_paid_and_an_empty_node_goes_at_once():
    stays = [stay("a", 0, 30), stay("b", 100, 130)]
    result = play(stays, TYPES, WithoutMoves(solve))
    assert result.cost_micro_usd == 600_000
    assert (result.moves, result.most_nodes, result.most_sessions) == (0, 1, 1)


def test_a_seat_that_became_free_is_taken_again():
    stays = [stay("a", 0, 60, cpu=9), stay("b", 0, 10, cpu=7), stay("c", 20, 60, cpu=7)]
    result = play(stays, TYPES, WithoutMoves(solve))
    assert result.most_nodes == 1
    assert result.cost_micro_usd == 3 * HOUR_MICRO


def test_the_least_cost_adds_a_bound_for_who_is_there_in_each_minute():
    stays = [stay("a", 0, 60), stay("b", 30, 60)]
    assert least_cost_micro_usd(stays, lambda there: 600_000 * len(there)) == 900_000
    assert least_cost_micro_usd([], lambda there: 1) == 0


def test_the_bound_is_asked_only_when_somebody_came_or_went():
    asked = []

    def bound(there):
        asked.append(tuple(s.uid for s in there))
        return 1

    least_cost_micro_usd([stay("a", 0, 60), stay("b", 30, 60)], bound)
    assert asked == [("a",), ("a", "b"), ()]


def test_consolidation_replaces_a_large_node_by_a_small_one():
    """A large node for two; when the larger session ends the other moves."""
    stays = [stay("a", 0, 60), stay("b", 0, 30, cpu=12)]
    apart = play(stays, TYPES, WithoutMoves(karpenter_like))
    moved = play(stays, TYPES, WithConsolidation(KarpenterLike(TYPES)))
    assert (apart.cost_micro_usd, apart.moves) == (3 * HOUR_MICRO, 0)
    assert (moved.cost_micro_usd, moved.moves) == (1_500_000 + 300_000, 1)


def test_consolidation_moves_a_session_onto_a_node_that_stays():
    """A small node's session fits beside the large one's; together they need a large node."""
    fleet = Fleet(TYPES)
    for uid, cpu in (("a", 13), ("b", 2)):
        seated(fleet, uid, cpu)
    for change in WithConsolidation(KarpenterLike(TYPES)).changes(fleet):
        fleet.carry_out(change)
    assert [(n.kind.name, set(n.sessions)) for n in fleet.nodes.values()] == [
        ("m5.4xlarge", {"a", "b"})
    ]


def test_consolidation_joins_several_nodes_in_one_command():
    """Three large nodes with little on each: two go and their sessions join the third."""
    fleet = Fleet(TYPES)
    for uid in "abc":
        who = stay(uid, 0, 60, cpu=3).session
        fleet.seat_all(
            [who], karpenter_like(Snapshot(now=0.0, waiting=(who,), instance_types=TYPES))
        )
    change = next(iter(WithConsolidation(KarpenterLike(TYPES)).changes(fleet)))
    fleet.carry_out(change)
    assert len(change.removed) >= 2
    assert len(fleet.nodes) == 1


def test_consolidation_never_splits_a_node():
    """Two small nodes would be cheaper than the large one; one alone does not hold both."""
    stays = [stay("a", 0, 60), stay("b", 0, 60), stay("c", 0, 1, cpu=12)]
    result = play(stays, TYPES, WithConsolidation(KarpenterLike(TYPES)))
    assert result.cost_micro_usd == 3 * HOUR_MICRO
    assert result.moves == 0


def test_repacking_is_asked_every_so_many_minutes_and_carried_out():
    asked = []

    def split(fleet):
        asked.append(len(fleet.nodes))
        large = [node for node in fleet.nodes.values() if node.kind.name == LARGE.name]
        if not large or len(large[0].sessions) > 2:
            return None
        who = tuple(large[0].sessions.values())
        claims = tuple(
            PlannedClaim(key=s.uid, offerings=SMALL.offerings, sessions=(s.uid,)) for s in who
        )
        placements = tuple(Placement(session=s.uid, place=s.uid) for s in who)
        return Change((large[0].place,), Plan(claims=claims, placements=placements))

    stays = [stay("a", 0, 20), stay("b", 0, 20), stay("c", 0, 7, cpu=12)]
    result = play(stays, TYPES, WithMoves(karpenter_like, split))
    assert asked == [1, 1, 2, 2]
    assert result.moves == 2
    # 9 minutes of the large node, then two small ones.
    assert result.cost_micro_usd == (9 * 3_000_000 + 11 * 1_200_000) // 60


@pytest.mark.parametrize(("usd", "moves"), [(0.05, 2), (1.0, 0)])
def test_our_repacking_splits_a_node_if_the_moves_are_worth_it(usd, moves):
    """Two small nodes save 1.80 USD in an hour; two moves cost 0.10 or 2.00."""
    stays = [stay("a", 0, 20), stay("b", 0, 20), stay("c", 0, 7, cpu=12)]
    result = play(stays, TYPES, WithMoves(karpenter_like, moves_at(round(usd * 1_000_000))))
    assert result.moves == moves
    assert (result.cost_micro_usd < 1_000_000) is bool(moves)


def test_a_plan_that_leaves_somebody_out_is_a_defect():
    with pytest.raises(Defect, match="left out a"):
        play([stay("a", 0, 1)], TYPES, WithoutMoves(lambda snapshot: Plan()))


def test_a_plan_that_overfills_a_node_is_a_defect():
    def squeeze(snapshot):
        claim = PlannedClaim(key="k", offerings=SMALL.offerings, sessions=("a",))
        return Plan(claims=(claim,), placements=(Placement(session="a", place="k"),))

    with pytest.raises(Defect, match="more on node-00001 than it holds"):
        play([stay("a", 0, 1, cpu=3)], TYPES, WithoutMoves(squeeze))


def test_a_day_repeats_and_costs_no_less_than_its_bound():
    from jupyter_gpu_jit.catalogue import instance_types

    types = common_types(instance_types(families=("m5", "g6", "g5", "g4dn", "p4d", "p5", "g6e")))
    stays = day_of_sessions(Random(1), 60)

    def bound(there):
        asked = Snapshot(now=0.0, waiting=tuple(there), instance_types=types)
        return solve(asked).lower_bound_usd_per_hour_micro

    least = least_cost_micro_usd(stays, bound)
    ours, again, peer, consolidated = (
        play(stays, types, policy)
        for policy in (
            WithoutMoves(solve),
            WithMoves(solve, never),
            WithoutMoves(karpenter_like),
            WithConsolidation(KarpenterLike(types)),
        )
    )
    assert ours == again
    assert 0 < least <= min(p.cost_micro_usd for p in (ours, peer, consolidated))
    assert consolidated.cost_micro_usd < peer.cost_micro_usd
    assert consolidated.moves > 0
