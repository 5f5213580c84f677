"""Which live nodes to keep, in numbers: the model behind repacking.

Called by ``repack`` alone. Rows are shapes and groups of like nodes; columns are: keep a node with
what it holds, keep it and fill its room (each newcomer pays for its move), or buy a new node (all
of its sessions pay). Column generation as for new nodes, where a kept node is a bin that is worth
what already sits there; then nodes are kept from several fractions on, and the best whole answer
stands. All money is micro-USD per hour: the price of a move is spread over the horizon.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from .columns import bin_prices, singles
from .engine import FIRST_STEPS, Pattern, pack
from .fills import Grid, distinct
from .master import Duals, Master, Unsolved
from .pool import Pool
from .problem import Bools, Floats, Ints, Load, Problem
from .proof import FAIR, THOROUGH, Effort, prove
from .search import Pricer

THRESHOLDS = (0.999, 0.75, 0.5, 0.25)
"""From which part of it on that a linear program keeps is a node kept whole."""
_PER_BIN, _PER_ROUND = 3, 300
# What a column must gain, in micro-USD per hour and for its price, to count as more than noise.
_NOISE, _IMPROVES = 10.0, 1e-6
_WAYS = 3
_CERTIFICATE = replace(THOROUGH, limited=1000)


@dataclass(frozen=True, eq=False)
class Standing:
    """What is there, and what could be bought instead.

    ``market`` is the problem of all sessions that may move; its bins are new nodes. The other
    bins, behind it in ``all_bins``, are G groups of ``nodes[g]`` like nodes with ``rooms[G,K]`` to
    spare, that cost ``costs[g]`` each to keep, ``risks[g]`` more for every newcomer, and hold
    ``holds[G,S]`` sessions that may move. Nodes that stay in any case cost 0 and hold nothing.
    ``moves[S]``: what moving a session of each shape costs for every hour until the plan is stale.
    """

    market: Problem
    rooms: Ints
    costs: Ints
    risks: Ints
    serves: Bools
    nodes: Ints
    holds: Ints
    moves: Ints

    @property
    def groups(self) -> slice:
        """Where the groups are among all bins."""
        return slice(self.market.bins, None)

    @cached_property
    def all_bins(self) -> Problem:
        """New nodes, then what is left of those that are there; sessions pay for their move."""
        both = self.market.with_bins(
            rooms=self.rooms,
            costs=self.costs,
            serves=self.serves,
            risks=self.risks,
            limits=self.nodes,
        )
        return replace(both, extra=both.extra + self.moves)

    @cached_property
    def all_holds(self) -> Ints:
        """What a node of each bin holds already [B,S]."""
        none = np.zeros((self.market.bins, self.market.shapes), dtype=np.int64)
        return np.vstack([none, self.holds])


@dataclass(frozen=True, eq=False)
class Choice:
    """``kept[g]`` nodes of each group stay; ``fills`` go onto them (bins are groups), ``new``
    are nodes to buy. ``cost`` includes what the moves cost.
    """

    kept: Ints
    fills: tuple[Load, ...]
    new: tuple[Load, ...]
    cost: int


def choose(standing: Standing, steps: int) -> tuple[Choice, int]:
    """The best choice found, and a bound on the cost of every choice of this kind."""
    if not standing.market.shapes:
        return Choice(np.where(standing.costs > 0, 0, standing.nodes), (), (), 0), 0
    search = _Search(standing)
    stay = Choice(standing.nodes, (), (), int(standing.nodes @ standing.costs))
    try:
        duals = search.run(steps)
    except Unsolved:
        return stay, 0
    choices = [_rounded(search, duals, start) for start in THRESHOLDS]
    best = min([stay, *choices], key=lambda choice: choice.cost)
    return best, min(search.bound, best.cost)


class _Search:
    """Column generation; ``pool`` patterns of a group include what its nodes hold."""

    def __init__(self, standing: Standing) -> None:
        self.standing = standing
        self.grid = Grid(standing.all_bins)
        self.pricer = Pricer(self.grid)
        problem = standing.all_bins
        # A pool lets every session pay for a move; those that stay are paid back.
        shifted = problem.costs - (problem.extra * standing.all_holds).sum(axis=1)
        self.pool = Pool(replace(problem, costs=shifted))
        self._keep_all()
        self.uses: Floats = np.zeros(0)
        self.bound = 0

    def _keep_all(self) -> None:
        first = self.standing.market.bins
        some = np.flatnonzero(self.standing.holds.any(axis=1))
        self.pool.add((first + some).tolist(), list(self.standing.holds[some]))
        bins, counts = singles(self.grid)
        self.pool.add(bins.tolist(), list(counts.astype(np.int64)))

    def run(self, steps: int) -> Duals:
        """What sessions and nodes are worth after at most that many rounds; sets ``bound``.

        Where no filling is found the certificate looks, and what it finds are columns as well.
        Raises Unsolved.
        """
        master = Master(self.pool, self.standing.market.demand)
        self.uses, duals = master.solve()
        for number in range(steps):
            if not self._grow(duals, 16 if number < 1 else 6) and not self._prove(duals):
                break
            self.uses, duals = master.solve()
        self._prove(duals, _CERTIFICATE)
        # What the certificate found has come too late to be used.
        self.uses = np.pad(self.uses, (0, len(self.pool) - len(self.uses)))
        return duals

    def _grow(self, duals: Duals, rounds: int) -> bool:
        worth, prices = self.grid.worth(duals.shapes), self._prices(duals)
        ceilings = self.pricer.ceilings(worth, prices, rounds)
        bins = np.flatnonzero(ceilings > prices * (1 + _IMPROVES) + _NOISE)
        if not len(bins):
            return False
        rows, counts = fillings(self.grid, bins, worth, self.grid.fits)
        gain = np.einsum("ns,ns->n", counts, worth[rows]) - prices[rows]
        gain -= _NOISE + _IMPROVES * prices[rows]
        order = np.argsort(-gain / self.grid.costs[rows], kind="stable")
        order = order[: int((gain > 0).sum())]
        return self._add(*distinct(rows[order], counts[order]))

    def _prices(self, duals: Duals) -> Floats:
        """What the room of each bin costs, beyond what its sessions are worth."""
        held = self.standing.all_holds @ duals.shapes
        return bin_prices(self.standing.all_bins, duals, held)

    def _prove(self, duals: Duals, effort: Effort = FAIR) -> bool:
        """Raise the bound if these duals can; whether there are new columns.

        Nodes that are there are bins that hold something of worth.
        """
        problem = self.standing.all_bins
        worth = np.ceil(self.standing.all_holds @ duals.shapes).astype(np.int64)
        shifted = replace(problem, costs=problem.costs - worth)
        found = prove(Pricer(Grid(shifted)), duals, effort)
        self.bound = max(self.bound, found.value)
        bins, counts = [bin_ for bin_, _ in found.patterns], [each for _, each in found.patterns]
        return self.pool.add(bins, counts) > 0

    def _add(self, bins: Ints, counts: Floats) -> bool:
        chosen = _few_of_each(bins)[:_PER_ROUND]
        fillings = counts[chosen].astype(np.int64) + self.standing.all_holds[bins[chosen]]
        return self.pool.add(bins[chosen].tolist(), list(fillings)) > 0


def _few_of_each(bins: Ints) -> list[int]:
    """Rows of the first few of every bin."""
    seen: Counter[int] = Counter()
    seen_before: list[int] = []
    for bin_ in bins.tolist():
        seen_before.append(seen[bin_])
        seen[bin_] += 1
    return [row for row, before in enumerate(seen_before) if before < _PER_BIN]


def fillings(grid: Grid, bins: Ints, worth: Floats, caps: Floats) -> tuple[Ints, Floats]:
    """The bins filled with what is worth most, in several orders."""
    densities = [worth[bins] / grid.weighed[way, bins] for way in range(_WAYS)]
    return grid.fill_all(bins, densities, caps[bins])


# --- whole nodes ---------------------------------------------------------------------------------


def _rounded(search: _Search, duals: Duals, start: float) -> Choice:
    """Keep nodes from that part on, then fill them, then buy for whoever is left.

    Where somebody would have no place, all nodes with such sessions are kept, and again.
    """
    standing = search.standing
    least = np.zeros(len(standing.nodes), dtype=np.int64)
    while True:
        kept = np.maximum(_kept(search, start), least)
        rest = standing.market.demand - np.asarray(kept @ standing.holds, dtype=np.int64)
        fills = _filled(search, duals, kept, rest)
        left = rest - standing.market.served(fills)
        bought = pack(
            replace(standing.market, demand=left), hints=_patterns(search), steps=FIRST_STEPS
        )
        lost = np.array(bought.unserved) > 0
        if not lost.any():
            cost = int(kept @ standing.costs + rest @ standing.moves) + bought.cost
            cost += sum(int(standing.risks[f.bin]) * sum(f.counts) * f.repeat for f in fills)
            return Choice(kept, tuple(fills), bought.loads, cost)
        stuck = (standing.holds[:, lost] > 0).any(axis=1)
        least = np.where(stuck, standing.nodes, least)


def _kept(search: _Search, start: float) -> Ints:
    """How many nodes of each group are kept; those that hold nothing to move always."""
    standing = search.standing
    uses = np.zeros(standing.all_bins.bins)
    np.add.at(uses, search.pool.bins(), search.uses)
    whole = np.floor(uses[standing.groups] + (1.0 - start) + 1e-6).astype(np.int64)
    whole = np.where(standing.costs > 0, whole, standing.nodes)
    return np.minimum(whole, standing.nodes)


def _filled(search: _Search, duals: Duals, kept: Ints, rest: Ints) -> list[Load]:
    """Put those without a node onto nodes that stay, what is worth most first."""
    grid, first = search.grid, search.standing.market.bins
    # Room that is there is taken even by those that would rather not have moved.
    worth = np.maximum(grid.worth(duals.shapes), 1.0)
    nodes, rest = kept.copy(), rest.copy()
    loads: list[Load] = []
    while rest.any():
        bins = first + np.flatnonzero(nodes > 0)
        caps = np.minimum(grid.fits, rest)
        bins = bins[caps[bins].any(axis=1)]
        if not len(bins):
            break
        rows, counts = fillings(grid, bins, worth, caps)
        value = np.einsum("ns,ns->n", counts, worth[rows])
        order = np.argsort(-value, kind="stable")
        loads += taken(*distinct(rows[order] - first, counts[order]), nodes=nodes, rest=rest)
    return loads


def taken(groups: Ints, counts: Floats, *, nodes: Ints, rest: Ints) -> Iterator[Load]:
    """The fillings in that order as long as there are nodes and sessions, which it takes away."""
    for group, filling in zip(groups.tolist(), counts.astype(np.int64), strict=True):
        used = np.flatnonzero(filling)
        repeat = min(int(nodes[group]), int((rest[used] // filling[used]).min()))
        if repeat:
            nodes[group] -= repeat
            rest -= repeat * filling
            yield Load(group, tuple(filling.tolist()), repeat)


def _patterns(search: _Search) -> list[Pattern]:
    """New nodes that the linear program uses."""
    bins = search.pool.bins()
    used = np.flatnonzero((search.uses > 1e-9) & (bins < search.standing.market.bins))
    counts = search.pool.counts()
    return [(int(bins[n]), tuple(counts[n].tolist())) for n in used.tolist()]
