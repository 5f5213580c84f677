"""Parts of the engine on numbers small enough to follow by hand, and what it does in trouble."""

from __future__ import annotations

import numpy as np
import pytest
from engine_worlds import crowd, small

from jupyter_gpu_jit.core.packing import engine, exact, master, search
from jupyter_gpu_jit.core.packing.diving import dive
from jupyter_gpu_jit.core.packing.engine import SETTLE_STEPS, pack
from jupyter_gpu_jit.core.packing.fills import Grid
from jupyter_gpu_jit.core.packing.greedy import Purse
from jupyter_gpu_jit.core.packing.integer import trimmed, whole_part
from jupyter_gpu_jit.core.packing.master import Duals, Unsolved
from jupyter_gpu_jit.core.packing.problem import UNLIMITED, Load, problem
from jupyter_gpu_jit.core.packing.proof import Bound, prove
from jupyter_gpu_jit.core.packing.search import Pricer
from jupyter_gpu_jit.errors import Defect

# Two sessions of 2 and three of 3 in bins of 6 and 10.
PAIR = {"sizes": [[2], [3]], "demand": [2, 3], "rooms": [[6], [10]], "costs": [10, 15]}


# --- the problem in numbers ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"demand": [2]}, "fit together"),
        ({"rooms": [[6, 1], [10, 1]]}, "fit together"),
        ({"costs": [10]}, "fit together"),
        ({"serves": [[True, True]]}, "fit together"),
        ({"limits": [1]}, "fit together"),
        ({"rows": [[1, 1]]}, "fit together"),
        ({"sizes": [2, 3]}, "2 dimension"),
        ({"costs": [10.5, 15.0]}, "whole numbers"),
        ({"demand": [2, -1]}, "0 or more"),
        ({"costs": [0, 15]}, "needs a count limit"),
        ({"rooms": [[6], [1 << 50]]}, "larger units"),
    ],
    ids=str,
)
def test_numbers_that_cannot_be_computed_with_are_a_defect(wrong, words):
    with pytest.raises(Defect, match=words):
        problem(**{**PAIR, **wrong})


def test_how_many_of_a_shape_a_bin_holds():
    world = problem(
        [[1, 0], [0, 2]], [5, 5], [[3, 9], [-1, 9]], [1, 1], serves=[[True, True], [True, True]]
    )
    assert world.fits.tolist() == [[3, 4], [0, 0]]


def test_a_load_that_is_too_much_or_not_served_is_not_allowed():
    world = problem(**PAIR, serves=[[True, False], [True, True]], limits=[1, 2], budget=40)
    assert world.allows([Load(0, (2, 0), 1), Load(1, (0, 3), 1)])
    for loads in (
        [Load(0, (0, 1), 1)],
        [Load(1, (1, 3), 1)],
        [Load(1, (-1, 1), 1)],
        [Load(0, (1, 0), 2)],
        [Load(1, (0, 2), 2)],
        [Load(1, (1, 1), 2), Load(0, (0, 0), 1), Load(1, (0, 1), 1)],
    ):
        assert not world.allows(loads)


# --- answers --------------------------------------------------------------------------------------


def test_nobody_costs_nothing():
    answer = pack(problem(**{**PAIR, "demand": [0, 0]}))
    assert (answer.loads, answer.cost, answer.proven) == ((), 0, True)


def test_whom_no_bin_holds_is_left_and_the_rest_planned():
    answer = pack(problem([[2], [11]], [2, 1], [[6], [10]], [10, 15]))
    assert answer.unserved == (0, 1)
    assert answer.cost == 10


def test_two_bins_of_six_and_ten():
    answer = pack(problem(**PAIR))
    assert (answer.cost, answer.lower_bound, answer.proven) == (25, 25, True)


def test_a_budget_serves_whom_it_can():
    answer = pack(problem(**PAIR, budget=15))
    assert answer.cost <= 15
    assert answer.unserved == (0, 1)


def test_a_quota_moves_sessions_to_what_is_left():
    """At most 4 units of the bin that is cheaper by far."""
    world = problem([[1]], [30], [[2], [1]], [10, 9], rows=[[2, 0]], row_limits=[4])
    answer = pack(world, steps=SETTLE_STEPS)
    assert {load.bin: load.repeat for load in answer.loads} == {0: 2, 1: 26}
    assert answer.proven


def test_the_risk_of_an_interruption_counts():
    """The second bin is dearer, but each of four sessions would lose 5 in the first."""
    cheap = {"sizes": [[1]], "demand": [4], "rooms": [[4], [4]], "costs": [10, 20]}
    assert pack(problem(**cheap)).cost == 10
    answer = pack(problem(**cheap, extra=[[5], [0]]))
    assert (answer.loads[0].bin, answer.cost) == (1, 20)


def test_a_limited_bin_that_costs_nothing_lowers_the_bound_once_per_node():
    world = problem([[1]], [9], [[3], [3]], [0, 12], limits=[2, UNLIMITED])
    duals = Duals(np.array([4.0]), np.zeros(2), np.zeros(0))
    assert prove(Pricer(Grid(world)), duals).value == 12


def test_the_bound_counts_what_a_full_quota_costs():
    world = problem([[1]], [6], [[2], [1]], [6, 9], rows=[[1, 0]], row_limits=[2])
    duals = Duals(np.array([9.0]), np.zeros(2), np.array([12.0]))
    assert prove(Pricer(Grid(world)), duals).value == 30


# --- trouble --------------------------------------------------------------------------------------


def test_without_an_optimum_the_greedy_plan_stands_and_says_so(monkeypatch):
    def unsolved(self):
        raise Unsolved

    monkeypatch.setattr(master.Master, "solve", unsolved)
    world = crowd(1, 60)
    answer = pack(world)
    assert (answer.lower_bound, answer.proven) == (0, False)
    assert "HiGHS" in answer.notes[0]
    assert world.allows(answer.loads)
    hinted = pack(world, hints=[(0, (0,) * world.shapes)])
    assert hinted.cost == answer.cost


def test_what_highs_does_not_call_optimal_is_not_used():
    with pytest.raises(Unsolved):
        master.multipliers(np.zeros(0), np.zeros((1, 0)), np.zeros(0))


def test_a_bound_above_the_plan_fails_the_check_and_the_greedy_plan_stands(monkeypatch):
    monkeypatch.setattr(engine, "prove", lambda *_: Bound(1 << 40, 1.0))
    monkeypatch.setattr(engine._Work, "proven", property(lambda _: False, lambda *_: None), False)
    answer = pack(crowd(1, 60))
    assert "check" in answer.notes[0]
    assert answer.lower_bound == 0


def test_a_search_that_is_too_long_is_left_to_highs(monkeypatch):
    monkeypatch.setattr(exact, "_NODES", 0)
    worlds = [small(seed) for seed in range(40)]
    known = [pack(world) for world in worlds]
    monkeypatch.undo()
    for world, answer in zip(worlds, known, strict=True):
        assert answer.cost == pack(world).cost


def test_when_highs_finds_nothing_in_time_the_plan_at_hand_stands(monkeypatch):
    monkeypatch.setattr(exact, "_NODES", 0)
    monkeypatch.setattr(exact, "whole_uses", lambda *_, **__: None)
    for seed in range(40):
        assert pack(small(seed)).notes == ()


def test_an_integer_program_without_an_answer_says_none():
    pool = engine.Pool(problem(**PAIR, limits=[0, 0]))
    pool.add([0], [np.array([1, 1])])
    assert master.whole_uses(pool, pool.problem.demand, nodes=5) is None


def test_too_many_patterns_are_not_combined(monkeypatch):
    monkeypatch.setattr(exact, "_STATES", 1)
    monkeypatch.setattr(exact, "_PATTERNS", 1)
    for seed in range(60):
        assert pack(small(seed)).notes == ()


# --- dives ----------------------------------------------------------------------------------------


def pool_of(world, *fillings):
    pool = engine.Pool(world)
    pool.add([bin_ for bin_, _ in fillings], [np.array(counts) for _, counts in fillings])
    return pool


def plain_duals(world, *worth):
    return Duals(np.array(worth, dtype=float), np.zeros(world.bins), np.zeros(len(world.rows)))


def test_a_dive_ends_where_whole_nodes_serve_everybody():
    world = problem([[3]], [6], [[6]], [10])
    loads, used = dive(world, pool_of(world, (0, [2])), np.array([3.0]), plain_duals(world, 5), 9)
    assert (loads, used) == ([Load(0, (2,), 3)], 0)


def test_a_dive_that_is_sure_of_nothing_places_the_rest_greedily():
    world = problem([[3]], [6], [[6]], [10])
    pool = pool_of(world, (0, [1]), (0, [2]))
    loads, _ = dive(world, pool, np.array([0.1, 0.2]), plain_duals(world, 5), 9)
    assert world.served(loads).tolist() == [6]


def test_a_dive_solves_the_last_few_exactly():
    world = problem(**{**PAIR, "demand": [2, 15]})
    pool = pool_of(world, (1, [0, 3]), (0, [0, 2]))
    loads, used = dive(world, pool, np.array([4.0, 0.2]), plain_duals(world, 3, 5), 9)
    assert world.served(loads).tolist() == [2, 15]
    assert world.cost(loads) == 4 * 15 + 25
    assert used > 0


def test_a_dive_that_used_up_a_quota_leaves_who_is_left():
    """The pattern that was sure takes both nodes there may be, though one would do for two."""
    world = problem([[1]], [30], [[20]], [10], limits=[2])
    loads, _ = dive(world, pool_of(world, (0, [4])), np.array([2.0]), plain_duals(world, 1), 9)
    assert world.served(loads).tolist() == [8]


def test_a_pattern_of_whom_nobody_is_left_is_not_taken():
    world = problem([[1]], [4], [[4]], [10])
    pool = pool_of(world, (0, [4]), (0, [3]))
    loads = whole_part(pool, np.array([1.0, 1.0]), world.demand, Purse.of(world), 1.0)
    assert loads == [Load(0, (4,), 1)]


def test_a_pool_knows_each_pattern_once():
    world = problem(**PAIR)
    pool = pool_of(world, (0, [1, 1]), (0, [1, 1]), (1, [1, 1]))
    assert len(pool) == 2
    assert pool.counts(2).shape == (0, 2)
    assert pool.load(1, 3) == Load(1, (1, 1), 3)


# --- searches and fillings -----------------------------------------------------------------------


def test_a_search_finds_nothing_where_only_parts_of_sessions_are_worth_enough():
    pricer = Pricer(Grid(problem([[2], [2]], [1, 1], [[3]], [10])))
    worth = np.array([10.0, 10.0])
    assert pricer.sharpen(0, worth) == pytest.approx(15)
    found = pricer.search(0, worth, 12.0, 100)
    assert (found.complete, len(found.counts)) == (True, 0)
    assert sorted(pricer.search(0, worth, 9.0, 100).counts.tolist()) == [[0, 1], [1, 0]]
    assert not len(pricer.search(0, worth, 16.0, 100).counts)


def test_a_search_that_needs_too_many_states_still_gives_a_ceiling():
    pricer = Pricer(Grid(problem([[2], [3]], [9, 9], [[20]], [10])))
    worth = np.array([2.0, 3.0])
    pricer.sharpen(0, worth)
    found = pricer.search(0, worth, 5.0, 2)
    assert not found.complete
    assert found.ceiling >= 20


def test_of_fillings_that_leave_the_same_room_the_best_is_kept(monkeypatch):
    monkeypatch.setattr(search, "_MERGED_FROM", 0)
    pricer = Pricer(Grid(problem([[2], [2], [3]], [5, 5, 5], [[11]], [10])))
    worth = np.array([4.0, 5.0, 7.0])
    pricer.sharpen(0, worth)
    merged, every = (pricer.search(0, worth, 20.0, 10_000, every=e) for e in (False, True))
    assert len(merged.counts) < len(every.counts)
    assert merged.ceiling == every.ceiling
    assert merged.ceiling == pytest.approx(27)


def test_places_for_more_than_there_are_go_and_a_smaller_bin_does():
    world = problem(**{**PAIR, "demand": [2, 1]})
    loads = trimmed(world, [Load(1, (2, 1), 1), Load(1, (1, 1), 1)])
    assert loads == [Load(1, (2, 1), 1)]
    assert trimmed(world, [Load(1, (1, 1), 2)]) == [Load(0, (1, 1), 1), Load(0, (1, 0), 1)]


def test_of_many_bins_the_promising_ones_are_filled():
    """Sixty bins; one holds all for less than any two others."""
    rooms = [[10 + n] for n in range(59)] + [[100]]
    costs = [100 + n for n in range(59)] + [150]
    assert pack(problem([[5], [7]], [6, 10], rooms, costs), steps=0).cost == 150


def one_per_node(large_room: int = 64_000):
    """Ten of whom a node holds one, and forty anyhow; bins of three sizes at the same rate."""
    return problem(
        [[1_000, 1], [1_000, 0]],
        [10, 40],
        [[1_000, 1], [5_000, 1], [large_room, 1]],
        [1_000, 5_000, large_room],
    )


def test_where_a_node_holds_one_of_us_no_bin_is_much_larger_than_a_node_s_part():
    assert Grid(one_per_node()).sensible.tolist() == [True, True, False]
    assert Grid(one_per_node(20_000)).sensible.all()
    loads = pack(one_per_node(), steps=0).loads
    assert sum(load.repeat for load in loads) >= 10
    assert pack(one_per_node(), steps=0).cost == 50_000


def test_a_large_bin_stays_where_somebody_fits_no_other():
    sizes, demand = [[1_000, 1], [30_000, 0]], [40, 1]
    rooms = [[1_000, 1], [5_000, 1], [64_000, 1]]
    world = problem(sizes, demand, rooms, [1_000, 5_000, 64_000])
    assert Grid(world).sensible.all()
    assert pack(world, steps=0).unserved == (0, 0)


def test_a_bin_of_which_all_have_the_same_is_no_reason_to_leave_any_out():
    world = problem([[1, 1]], [3], [[4, 2], [4, 2]], [5, 6])
    assert Grid(world).sensible.all()
    nothing = problem([[1, 1]], [3], np.zeros((0, 2), dtype=np.int64), np.zeros(0, dtype=np.int64))
    assert Grid(nothing).sensible.tolist() == []
