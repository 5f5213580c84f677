"""Small problems with parts, drawn from a seed, and their optimum by looking at every plan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import product
from random import Random

import numpy as np
from engine_worlds import small

from jupyter_gpu_jit.core.packing.parts import Parts
from jupyter_gpu_jit.core.packing.problem import Problem


def twins(world: Problem, dice: Random) -> tuple[Problem, list[int]]:
    """Each bin once more for some more money: what another pool of the type is."""
    dearer = world.costs + np.array([dice.randint(0, 60) for _ in range(world.bins)])
    both = replace(
        world,
        rooms=np.vstack([world.rooms, world.rooms]),
        costs=np.concatenate([world.costs, dearer]),
        serves=np.vstack([world.serves, world.serves]),
        extra=np.vstack([world.extra, world.extra]),
        limits=np.concatenate([world.limits, world.limits]),
        rows=np.hstack([world.rows, world.rows]),
    )
    return both, [*range(world.bins)] * 2


def world_of(seed: int, *, rationed: bool = False) -> tuple[Problem, Parts, list[int]]:
    dice = Random(seed)
    world = small(seed, most=5, extra=seed % 3 == 0)
    world = replace(world, demand=np.where(world.fits.any(axis=0), world.demand, 0))
    if rationed:
        rows = np.array([[dice.choice((0, 1, 2)) for _ in range(world.bins)]])
        world = replace(world, rows=rows, row_limits=np.array([dice.randint(3, 9)]))
        world = replace(world, budget=dice.choice((None, 900)))
    world, kinds = twins(world, dice)
    count = dice.randint(1, 3)
    parts = Parts(
        bins=np.array([[dice.random() < 0.5 for _ in range(world.bins)] for _ in range(count)]),
        shapes=np.array([[dice.random() < 0.6 for _ in range(world.shapes)] for _ in range(count)]),
        limits=np.array([dice.randint(0, 3) for _ in range(count)]),
        caps=np.full((count, world.bins), 1 << 40),
    )
    return world, parts, kinds


def fillings(world: Problem, left: tuple[int, ...]) -> Iterator[tuple[int, tuple[int, ...]]]:
    first = next(i for i, n in enumerate(left) if n)
    for counts in product(*(range(n + 1) for n in left)):
        for bin_ in range(world.bins):
            amount = np.array(counts) @ world.sizes
            able = all(ok or not n for ok, n in zip(world.serves[bin_], counts, strict=True))
            if counts[first] and able and (amount <= world.rooms[bin_]).all():
                yield bin_, counts


def optimum(world: Problem, parts: Parts) -> int | None:
    """Least cost of serving everybody within rows and parts, by looking at every plan."""
    limits = (*world.row_limits.tolist(), *parts.limits.tolist())

    @cache
    def least(left: tuple[int, ...], used: tuple[int, ...]) -> int | None:
        if not any(left):
            return 0
        best: int | None = None
        for bin_, counts in fillings(world, left):
            held = [
                sum(n for n, own in zip(counts, shapes, strict=True) if own) if bins[bin_] else 0
                for bins, shapes in zip(parts.bins, parts.shapes, strict=True)
            ]
            more = tuple(np.array(used) + np.array([*world.rows[:, bin_].tolist(), *held]))
            if any(n > most for n, most in zip(more, limits, strict=True)):
                continue
            rest = least(tuple(a - b for a, b in zip(left, counts, strict=True)), more)
            if rest is not None:
                cost = int(world.costs[bin_] + world.extra[bin_] @ np.array(counts)) + rest
                best = cost if best is None else min(best, cost)
        return best

    return least(tuple(world.demand.tolist()), (0,) * len(limits))
