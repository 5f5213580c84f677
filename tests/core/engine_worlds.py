"""Small packing problems drawn from a seed, and their optimum by looking at every plan."""

from __future__ import annotations

from functools import cache
from itertools import product
from random import Random

from jupyter_gpu_jit.core.packing.problem import UNLIMITED, Problem, problem


def small(seed: int, *, most: int = 6, extra: bool = False, limited: bool = False) -> Problem:
    """Up to ``most`` sessions of up to 4 shapes, up to 5 bins of 3 resources."""
    dice = Random(seed)
    shapes, bins = dice.randint(1, 4), dice.randint(1, 5)
    demand = [0] * shapes
    for _ in range(dice.randint(1, most)):
        demand[dice.randrange(shapes)] += 1
    return problem(
        [[dice.choice((0, 0, 1, 2)), dice.randint(1, 6), dice.randint(0, 9)] for _ in demand],
        demand,
        [
            [dice.choice((0, 1, 2, 4)), dice.randint(3, 20), dice.randint(4, 30)]
            for _ in range(bins)
        ],
        [dice.randint(50, 400) for _ in range(bins)],
        serves=[[dice.random() < 0.85 for _ in demand] for _ in range(bins)],
        extra=[[dice.choice((0, 9, 40)) if extra else 0 for _ in demand] for _ in range(bins)],
        limits=[dice.choice((1, 2, UNLIMITED)) if limited else UNLIMITED for _ in range(bins)],
        rows=[[dice.randint(0, 3) for _ in range(bins)]] if limited else None,
        row_limits=[dice.randint(2, 9)] if limited else None,
        budget=dice.choice((None, 700)) if limited else None,
    )


def crowd(seed: int, sessions: int, shapes: int = 8) -> Problem:
    """Many sessions; every shape fits some bin."""
    dice = Random(seed)
    sizes = [
        [dice.choice((0, 0, 1, 2)), dice.randint(3, 40), dice.randint(2, 60)] for _ in range(shapes)
    ]
    demand = [0] * shapes
    for _ in range(sessions):
        demand[dice.randrange(shapes)] += 1
    rooms, costs = [], []
    for gpus, scale in product((0, 1, 4), (1, 2, 4)):
        rooms.append([gpus, 40 * scale + 7, dice.choice((80, 150)) * scale])
        costs.append(100 * scale + 350 * gpus + dice.randint(0, 60))
    sizes = [[min(size[0], 1), *size[1:]] for size in sizes]
    return problem(sizes, demand, rooms, costs)


def optimum(world: Problem, demand: tuple[int, ...] | None = None) -> int | None:
    """Least cost of serving everybody, over every filling of every bin; None if impossible.

    Looks at limits and side rows too: what was bought is part of the state.
    """
    sizes, rooms, costs = world.sizes.tolist(), world.rooms.tolist(), world.costs.tolist()
    serves, extra = world.serves.tolist(), world.extra.tolist()
    limits, rows = world.limits.tolist(), world.rows.tolist()

    def allowed(bought: tuple[int, ...]) -> bool:
        if any(n > most for n, most in zip(bought, limits, strict=True)):
            return False
        totals = [sum(c * n for c, n in zip(row, bought, strict=True)) for row in rows]
        return all(t <= most for t, most in zip(totals, world.row_limits.tolist(), strict=True))

    def holds(bin_: int, counts: tuple[int, ...]) -> bool:
        if any(n and not ok for n, ok in zip(counts, serves[bin_], strict=True)):
            return False
        return all(
            sum(n * size[k] for n, size in zip(counts, sizes, strict=True)) <= room
            for k, room in enumerate(rooms[bin_])
        )

    @cache
    def least(left: tuple[int, ...], bought: tuple[int, ...]) -> int | None:
        if not any(left):
            return 0
        first = next(i for i, n in enumerate(left) if n)
        best: int | None = None
        for counts in product(*(range(n + 1) for n in left)):
            if not counts[first]:
                continue
            for bin_ in range(len(costs)):
                more = bought
                if rows or world.limits.min() < UNLIMITED:
                    more = (*bought[:bin_], bought[bin_] + 1, *bought[bin_ + 1 :])
                if not allowed(more) or not holds(bin_, counts):
                    continue
                rest = least(tuple(a - b for a, b in zip(left, counts, strict=True)), more)
                if rest is not None:
                    added = sum(n * e for n, e in zip(counts, extra[bin_], strict=True))
                    cost = costs[bin_] + added + rest
                    best = cost if best is None else min(best, cost)
        return best

    return least(demand or tuple(world.demand.tolist()), (0,) * len(costs))
