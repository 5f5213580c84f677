"""What the parts of ``bench plan`` share: how much, how long, against what. Used by plan.py
and online.py."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, ParamSpec, TypeVar

from ...core.model import InstanceType
from ...errors import Defect
from .rows import Figure, Row

T = TypeVar("T")
P = ParamSpec("P")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How much is measured; the defaults are what the figures are stated for."""

    runs: int = 3
    repeats: int = 3
    exact_draws: int = 20
    first_draws: int = 60
    large_draws: int = 5
    warm_draws: int = 8
    mix_pods: int = 10_000
    day_sessions: int = 550
    days: int = 3
    nodes: int = 1000
    sessions_scale: float = 1.0

    def crowd(self, sessions: int) -> int:
        """So many sessions, or fewer in a test."""
        return max(1, int(sessions * self.sessions_scale))


@dataclass(frozen=True, slots=True)
class Catalogues:
    """What is on sale: the peer's 58 types, and the common families of the whole catalogue."""

    peer: tuple[InstanceType, ...]
    common: tuple[InstanceType, ...]


def timed(work: Callable[P, T], *given: P.args, **named: P.kwargs) -> tuple[T, float]:
    """The result, and processor seconds."""
    start = time.process_time()
    made = work(*given, **named)
    return made, time.process_time() - start


def ratio_of(cost: int, bound: int) -> float:
    """How many times the bound. Raises Defect when there is none."""
    if not bound:
        raise Defect("A plan that costs something came without a lower bound.")
    return cost / bound


def row(
    name: str, unit: str, aim: float, value: float, beside: str, *, higher: bool = False
) -> Row:
    """A row of figures."""
    better: Literal["lower", "higher"] = "higher" if higher else "lower"
    return Figure(name=name, unit=unit, beside=beside, aim=aim, better=better).row(value)
