"""Parts: not too many sessions of some shapes on some bins, held against every plan there is."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from engine_worlds import crowd
from parts_worlds import optimum, twins, world_of

from jupyter_gpu_jit.core.packing import parts as module
from jupyter_gpu_jit.core.packing.engine import SETTLE_STEPS, pack
from jupyter_gpu_jit.core.packing.master import Unsolved
from jupyter_gpu_jit.core.packing.parts import Parts, parted

BATCHES, PER_BATCH = range(4), 30


@pytest.mark.parametrize("rationed", [False, True])
@pytest.mark.parametrize("number", BATCHES)
def test_a_handful_in_parts_is_at_its_optimum_and_the_bound_holds(number, rationed):
    proven = asked = 0
    for seed in range(number * PER_BATCH, (number + 1) * PER_BATCH):
        world, parts, kinds = world_of(seed, rationed=rationed)
        if not world.demand.any():
            continue
        best = optimum(world, parts)
        answer = parted(world, parts, kinds, pack(world).patterns, steps=8)
        if answer is None:
            within = best is not None and (world.budget is None or best <= world.budget)
            assert not within, seed
            continue
        asked += 1
        assert best is not None, seed
        assert world.allows(answer.loads), seed
        assert parts.allow(world, answer.loads), seed
        assert (world.served(answer.loads) == world.demand).all(), seed
        assert answer.lower_bound <= best <= answer.cost == world.cost(answer.loads), seed
        if answer.proven:
            assert answer.cost == answer.lower_bound == best, seed
        proven += answer.proven
    assert asked
    assert proven == asked


@pytest.mark.parametrize(("steps", "rounds"), [(8, 1), (8, 2), (SETTLE_STEPS, 2)])
def test_a_crowd_in_parts_keeps_to_them_near_its_bound(steps, rounds, monkeypatch):
    monkeypatch.setattr(module, "_ROUNDS", rounds)
    for seed in range(2):
        world, kinds = twins(crowd(seed, 60, 5), Random(seed))
        world = replace(world, demand=np.where(world.fits.any(axis=0), world.demand, 0))
        free = pack(world)
        everyone = np.ones(world.shapes, dtype=bool)
        bins = [np.arange(world.bins) == load.bin for load in free.loads]
        parts = Parts(
            bins=np.array(bins),
            shapes=np.array([everyone for _ in bins]),
            limits=np.full(len(bins), int(world.demand.sum()) // 4),
            caps=np.full((len(bins), world.bins), 1 << 40),
        )
        answer = parted(world, parts, kinds, free.patterns, steps=steps)
        assert answer is not None
        assert world.allows(answer.loads)
        assert parts.allow(world, answer.loads)
        assert answer.lower_bound <= answer.cost <= 1.15 * answer.lower_bound


def test_without_an_optimum_there_is_no_plan(monkeypatch):
    def unsolved(*_args):
        raise Unsolved

    world, parts, kinds = world_of(1)
    monkeypatch.setattr(module, "relaxed", unsolved)
    assert parted(world, parts, kinds, [], steps=8) is None


def test_a_search_that_is_given_up_leaves_the_plan_unproven(monkeypatch):
    monkeypatch.setattr("jupyter_gpu_jit.core.packing.exact._PATTERNS", -1)
    answers = []
    for seed in range(40):
        world, parts, kinds = world_of(seed)
        if world.demand.any():
            answers.append(parted(world, parts, kinds, pack(world).patterns, steps=8))
    assert any(answer and not answer.proven for answer in answers)


def test_a_bound_for_fewer_sessions_is_none_for_all(monkeypatch):
    world, parts, kinds = world_of(3)
    assert parted(world, parts, kinds, [], steps=8).proven

    def fewer(*args, **more):
        answer = pack(*args, **more)
        return replace(answer, unserved=tuple(1 for _ in answer.unserved))

    monkeypatch.setattr(module, "pack", fewer)
    monkeypatch.setattr(module, "_FEW_ROUNDS", 1)
    assert parted(world, parts, kinds, [], steps=8) is not None
