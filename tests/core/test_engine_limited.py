"""A handful under quotas and a budget: the true optimum and its proof, and nobody left out."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from engine_worlds import optimum, small
from packing_worlds import ANY_CAPACITY, ON_DEMAND, SPOT, kind, launched, session, snapshot

from jupyter_gpu_jit.core.packing import exact, solve
from jupyter_gpu_jit.core.packing.engine import pack
from jupyter_gpu_jit.core.packing.problem import Problem, problem
from jupyter_gpu_jit.core.quotas import Quota

BATCHES, PER_BATCH = range(6), 50


def rationed(seed: int) -> Problem:
    """A small problem with one or two side rows and perhaps a budget; everybody fits some bin."""
    world, dice = small(seed, extra=seed % 3 == 0), Random(seed)
    rows = [
        [dice.choice((0, 0, 1, 2, 4)) for _ in range(world.bins)]
        for _ in range(dice.choice((1, 2)))
    ]
    return replace(
        world,
        demand=np.where(world.fits.any(axis=0), world.demand, 0),
        rows=np.array(rows),
        row_limits=np.array([dice.randint(2, 9) for _ in rows]),
        budget=dice.choice((None, None, 900)),
    )


@pytest.mark.parametrize("number", BATCHES)
def test_a_handful_under_quotas_is_planned_at_the_true_optimum_and_proven(number):
    for seed in range(number * PER_BATCH, (number + 1) * PER_BATCH):
        world = rationed(seed)
        answer = pack(world, steps=0)
        served = tuple((world.demand - np.array(answer.unserved)).tolist())
        best = optimum(replace(world, budget=None), served) if any(served) else 0
        assert world.allows(answer.loads), seed
        assert answer.cost == answer.lower_bound == best, seed
        assert answer.proven, seed


@pytest.mark.parametrize("number", BATCHES)
def test_nobody_of_a_handful_is_left_out_where_all_could_be_served(number):
    for seed in range(number * PER_BATCH, (number + 1) * PER_BATCH):
        world = rationed(seed)
        if any(pack(world).unserved):
            best = optimum(replace(world, budget=None))
            assert best is None or (world.budget is not None and best > world.budget), seed


def test_a_search_for_all_that_grows_too_large_is_given_up(monkeypatch):
    # The small bin is cheaper by the session, and two of them are too many.
    world = problem([[1]], [3], [[1], [3]], [10, 40], rows=[[1, 1]], row_limits=[1])
    assert pack(world).unserved == (0,)
    monkeypatch.setattr(exact, "_PATTERNS", 0)
    assert pack(world).unserved == (2,)


def test_where_money_is_short_some_of_a_handful_are_served():
    world = problem([[1]], [3], [[1], [3]], [10, 40], rows=[[1, 1]], row_limits=[2], budget=30)
    answer = pack(world)
    assert (answer.unserved, answer.cost) == ((1,), 20)
    assert answer.proven


def test_a_plan_under_quotas_is_proven():
    # Spot vCPUs for one of two that want them.
    types = [
        kind("m5.xlarge", 0.10, cpu=4),
        kind("g6.xlarge", 0.50, gpus=1, cpu=4, model="L4"),
    ]
    waiting = [
        session("cpu", cpu=4, capacity=ANY_CAPACITY),
        session("gpu", 1, cpu=3, capacity=ANY_CAPACITY),
        session("two", cpu=4, capacity=ANY_CAPACITY),
    ]
    free = {("standard", SPOT): 4, ("standard", ON_DEMAND): 99, ("g-vt", SPOT): 4}
    quotas = tuple(
        Quota(vcpu_class=name, capacity_type=sold, free_vcpus=n) for (name, sold), n in free.items()
    )
    plan = solve(replace(snapshot(waiting, types), quotas=quotas))
    assert launched(plan) == [("g6.xlarge", 1), ("m5.xlarge", 1), ("m5.xlarge", 1)]
    assert plan.usd_per_hour_micro == 500_000 + 100_000 + 200_000
    assert plan.proven
