"""Crash enumeration: end the provisioner at every port call it makes, and see that nothing is lost.

A scenario is played once without a crash, its port calls counted. Then it is played again for
each of them, with the process ended just before or just after that call (its answer lost), its
memory thrown away, and a new one started. Every invariant holds throughout, and the end must
be that of the quiet run. Deterministic: a seed and a crash point are a run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from ..errors import Defect, GpuJitError
from . import loop
from .scenarios import COST_TOLERANCE, Scenario
from .taps import Call
from .world import World, play

RESTART_SECONDS = 2.0
"""From the end of a provisioner to the start of the next, which then waits for the lease."""
CONVERGED_WITHIN_SECONDS = 600.0


class Side(StrEnum):
    """Of which side of a call the process ends: after means that it took effect unheard."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True, order=True)
class CrashPoint:
    """End the process on one side of its port call number ``number`` (from 1)."""

    number: int
    side: Side


@dataclass(frozen=True, slots=True)
class EndState:
    """What must not depend on faults: how each start ended, how many nodes were in use.

    ``usd_per_hour_micro`` is what those nodes cost, ``seconds`` how long the whole story took.
    """

    sessions: tuple[tuple[str, str], ...]
    instances: int
    usd_per_hour_micro: int
    seconds: float

    def unlike(self, quiet: EndState, *, cost_tolerance: float = COST_TOLERANCE) -> str:
        """How this end differs from that of the fault-free run (I14); nothing when it does not."""
        same = (self.sessions, self.instances) == (quiet.sessions, quiet.instances)
        dearer = abs(self.usd_per_hour_micro - quiet.usd_per_hour_micro)
        late = self.seconds - quiet.seconds > CONVERGED_WITHIN_SECONDS
        if same and not late and dearer <= cost_tolerance * quiet.usd_per_hour_micro:
            return ""
        return f"I14 convergence: ended as {self}, quietly it is {quiet}"


class CrashTap:
    """Counts the calls of one process; at ``point`` sets ``due`` and lets it do no more."""

    def __init__(self, world: World, point: CrashPoint | None = None) -> None:
        self.calls: list[tuple[Call, int]] = []
        self.heard: set[int] = set()
        self.due = asyncio.Event()
        self._world, self._point = world, point

    async def before(self, call: Call) -> None:
        """Count; end the process here if this is the place."""
        self._stop_if_over()
        self.calls.append((call, self._world.changes))
        self._meet(len(self.calls), Side.BEFORE)

    async def after(self, call: Call, error: GpuJitError | None) -> None:
        """End the process here if this call is the place."""
        if call.verb == "watch":
            # The end of a watch is no call; a dead process must not be held up in closing it.
            return
        self._stop_if_over()
        number = next(n for n in range(len(self.calls), 0, -1) if self.calls[n - 1][0] is call)
        self.heard.add(number)
        self._meet(number, Side.AFTER)

    def has_passed(self, point: CrashPoint) -> bool:
        """Whether that side of that call is over."""
        over = point.side is Side.BEFORE or point.number in self.heard
        return over and len(self.calls) > point.number

    def _meet(self, number: int, side: Side) -> None:
        if CrashPoint(number, side) == self._point:
            self.due.set()
        self._stop_if_over()

    def _stop_if_over(self) -> None:
        """A process that has ended makes no more calls, not even to clean up after itself."""
        if self.due.is_set():
            raise asyncio.CancelledError


def worth_trying(calls: Iterable[tuple[Call, int]]) -> Iterator[CrashPoint]:
    """Every call on both sides, except looks that repeat a look at an unchanged world.

    Ending the process between two renewals of the lease, or two polls of the cloud, while
    nothing else has happened is the same run again with another number.
    """
    seen: set[tuple[str, str, int]] = set()
    for number, (call, changes) in enumerate(calls, 1):
        key = (call.verb, call.kind, changes)
        idle = not call.writes or call.kind == "leases"
        if idle and key in seen:
            continue
        seen.add(key)
        yield CrashPoint(number, Side.BEFORE)
        if call.verb != "watch":
            yield CrashPoint(number, Side.AFTER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    """One enumerated run that went wrong: where it was ended, and what did not hold."""

    scenario: str
    seed: int
    point: CrashPoint
    call: Call
    error: str

    def __str__(self) -> str:
        what = f"{self.call.verb} {self.call.kind} {self.call.name}".rstrip()
        where = f"{self.scenario}, seed {self.seed}, {self.point.side} call {self.point.number}"
        return f"{where} ({what}): {self.error}"


def end_state(world: World) -> EndState:
    """The end state of a world whose scenario has been played to its end."""
    sessions = sorted((s.name, s.outcome.value) for s in world.hub.sessions)
    return EndState(
        tuple(sessions),
        world.steady_instances,
        world.steady_usd_per_hour_micro,
        world.clock.now() - world.started_at,
    )


async def _played(
    scenario: Scenario, seed: int, point: CrashPoint | None
) -> tuple[EndState, list[tuple[Call, int]]]:
    """The run, with a crash or without; up to the crash they are the same, task for task."""

    async def body(world: World) -> tuple[EndState, list[tuple[Call, int]]]:
        tap = CrashTap(world, point)
        world.start_provisioner(tap)
        world.in_background(_restart(world, tap), "reaper")
        await scenario.body(world)
        # The very last call, and a long poll, may still be under way when the story ends.
        if point is not None and not tap.due.is_set() and tap.has_passed(point):
            raise Defect(f"Call {point.number} was passed by; the run is not deterministic.")
        return end_state(world), tap.calls

    _, result = await play(body, seed=seed, config=scenario.config, provisioner=False)
    return result


async def _restart(world: World, tap: CrashTap) -> None:
    await tap.due.wait()
    await world.crash()
    await world.clock.sleep(RESTART_SECONDS)
    world.start_provisioner()


def count_calls(scenario: Scenario, *, seed: int) -> tuple[EndState, list[tuple[Call, int]]]:
    """The quiet run: its end, and every port call with the state of the world it was made in."""
    return loop.run(lambda: _played(scenario, seed, None), seed=seed)


def crash_at(scenario: Scenario, point: CrashPoint, *, seed: int) -> EndState:
    """The run with one crash. Raises whatever failed: Violated, TimeoutError, Defect."""
    end, _ = loop.run(lambda: _played(scenario, seed, point), seed=seed)
    return end


def enumerate_crashes(
    scenario: Scenario, *, seed: int, only: Callable[[Call], bool] | None = None
) -> tuple[int, list[Crash]]:
    """Number of runs, and those that went wrong. Raises what the quiet run raises.

    ``only`` narrows it to calls of interest.
    """
    quiet, calls = count_calls(scenario, seed=seed)
    points = [p for p in worth_trying(calls) if only is None or only(calls[p.number - 1][0])]
    wrong = []
    for point in points:
        error = _tried(scenario, point, seed, quiet)
        if error:
            wrong.append(
                Crash(
                    scenario=scenario.name,
                    seed=seed,
                    point=point,
                    call=calls[point.number - 1][0],
                    error=error,
                )
            )
    return len(points), wrong


def _tried(scenario: Scenario, point: CrashPoint, seed: int, quiet: EndState) -> str:
    """What is wrong with that run, or nothing."""
    try:
        end = crash_at(scenario, point, seed=seed)
    except (GpuJitError, TimeoutError, ExceptionGroup) as error:
        return f"{type(error).__name__}: {error}"
    return end.unlike(quiet, cost_tolerance=scenario.cost_tolerance)
