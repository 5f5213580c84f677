"""Fault enumeration: every port call of the provisioner meets every fault once, alone.

As crash enumeration (faults.py) with a fault in place of a crash: a scenario is played without
faults, its calls and watch events counted; then again for each (call, fault), (event, fault)
and for restarts that first see an older cluster. Every invariant holds throughout and the end
is that of the quiet run (I14). Deterministic: a seed and a mishap are a run.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from ..errors import AlreadyExists, Conflict, Expired, GpuJitError, Unavailable
from . import loop
from .faults import RESTART_SECONDS, EndState, end_state
from .line import WatchFault, WatchMishap
from .scenarios import Scenario
from .taps import Call
from .world import World, play

TIMEOUT_SECONDS = 10.0
SHOWN_WITHIN_SECONDS = 60.0
"""How late a stage may be told when a call that tells it is lost and tried again."""
LOOKED_BACK = (4, 12)
"""A restart sees the cluster as it was so many writes ago: part of a launch, or all of it."""


class Fault(StrEnum):
    """What a call meets; a timeout before or after the call took effect."""

    CONFLICT = "409"
    EXPIRED = "410"
    TOO_MANY = "429"
    SERVER_ERROR = "500"
    NOT_DONE = "timeout before"
    DONE = "timeout after"


@dataclass(frozen=True, slots=True, order=True)
class CallMishap:
    """Call number ``number`` (from 1) meets the fault."""

    number: int
    fault: Fault


@dataclass(frozen=True, slots=True, order=True)
class OldView:
    """The process ends before call ``number``; the next one's first lists are ``behind`` old."""

    number: int
    behind: int


Mishap = CallMishap | WatchMishap | OldView


@dataclass(frozen=True, slots=True)
class Heard:
    """A call, how much had changed in the world before it, and the stage last shown to anybody."""

    call: Call
    changes: int
    phase: str


@dataclass(slots=True)
class Quiet:
    """What the fault-free run tells: its end, its calls, and how many events each watch brought."""

    end: EndState
    calls: list[Heard]
    events: dict[str, int]


@dataclass(slots=True)
class MishapTap:
    """Counts calls; at the one that is meant, does what the mishap says."""

    world: World
    mishap: Mishap | None = None
    calls: list[Heard] = field(default_factory=list)
    ends: Callable[[], None] = lambda: None
    _meant: Call | None = None

    async def before(self, call: Call) -> None:
        """Raises the fault when it comes before any effect."""
        self.calls.append(Heard(call, self.world.changes, _phase(self.world)))
        if isinstance(self.mishap, WatchMishap) or self.mishap is None:
            return
        if len(self.calls) != self.mishap.number:
            return
        if isinstance(self.mishap, OldView):
            self.ends()
        elif self.mishap.fault is Fault.DONE:
            self._meant = call
        else:
            await self._fail(call, self.mishap.fault)

    async def after(self, call: Call, error: GpuJitError | None) -> None:
        """Raises Unavailable when the answer is to be lost."""
        if call is self._meant and error is None:
            await self._fail(call, Fault.DONE)

    async def _fail(self, call: Call, fault: Fault) -> None:
        if fault in (Fault.NOT_DONE, Fault.DONE):
            await self.world.clock.sleep(TIMEOUT_SECONDS)
            raise Unavailable("The simulated answer did not come.", reason="Timeout")
        if fault is Fault.CONFLICT and call.verb == "create" and call.kind == "leases":
            raise AlreadyExists("The simulated object is there already.")
        raise _ERRORS[fault]()


_ERRORS: dict[Fault, Callable[[], GpuJitError]] = {
    Fault.CONFLICT: lambda: Conflict("The simulated object has changed."),
    Fault.EXPIRED: lambda: Expired("The simulated version is too old."),
    Fault.TOO_MANY: lambda: Unavailable(
        "The simulated server is busy.", reason="TooManyRequests", retry_after_seconds=1.0
    ),
    Fault.SERVER_ERROR: lambda: Unavailable("The simulated server broke.", reason="InternalError"),
}


def _phase(world: World) -> str:
    """The stage that was shown last to anybody."""
    return max((s.shown[-1] for s in world.hub.sessions if s.shown), default=(0.0, ""))[1]


def faults_of(call: Call) -> Sequence[Fault]:
    """The faults such a call can meet."""
    faults = [Fault.TOO_MANY, Fault.SERVER_ERROR]
    if call.kind != "cloud" and call.verb in ("create", "patch", "delete"):
        faults.append(Fault.CONFLICT)
    if call.verb in ("list", "watch"):
        faults.append(Fault.EXPIRED)
    if call.verb != "watch":
        faults.append(Fault.NOT_DONE)
    if call.writes:
        faults.append(Fault.DONE)
    return faults


def mishaps(quiet: Quiet) -> Iterator[tuple[Mishap, tuple[str, ...]]]:
    """Every mishap worth trying, with the class it belongs to: verb, kind, phase, fault.

    Looks that repeat a look at an unchanged world are left out, as in ``faults.worth_trying``.
    """
    seen: set[tuple[str, str, int]] = set()
    for number, heard in enumerate(quiet.calls, 1):
        call, key = heard.call, (heard.call.verb, heard.call.kind, heard.changes)
        if (not call.writes or call.kind == "leases") and key in seen:
            continue
        seen.add(key)
        for fault in faults_of(call):
            yield CallMishap(number, fault), (call.verb, call.kind, heard.phase, fault)
        if call.writes:
            for behind in LOOKED_BACK:
                yield OldView(number, behind), (call.verb, call.kind, heard.phase, "old view")
    for plural, count in sorted(quiet.events.items()):
        for number in range(1, count + 1):
            for broken in WatchFault:
                yield WatchMishap(plural, number, broken), ("event", plural, str(number), broken)


def sample(quiet: Quiet, *, seed: int, classes: int, others: int) -> list[Mishap]:
    """One mishap of each of ``classes`` classes, and ``others`` beside; fixed by the seed."""
    by_class: dict[tuple[str, ...], Mishap] = {}
    everything = list(mishaps(quiet))
    random.Random(seed).shuffle(everything)
    for mishap, key in everything:
        by_class.setdefault(key, mishap)
    chosen = list(by_class.values())[:classes]
    rest = [mishap for mishap, _ in everything if mishap not in set(chosen)]
    return chosen + rest[:others]


async def _played(scenario: Scenario, seed: int, mishap: Mishap | None) -> Quiet:
    late = max(SHOWN_WITHIN_SECONDS, scenario.config.shown_within_seconds)
    config = replace(scenario.config, shown_within_seconds=late)

    async def body(world: World) -> Quiet:
        tap = MishapTap(world, mishap)
        broken = mishap if isinstance(mishap, WatchMishap) else None
        line = world.start_provisioner(tap, watch_mishap=broken)
        if isinstance(mishap, OldView):
            behind = mishap.behind
            tap.ends = lambda: world.in_background(_restart(world, behind), "restart")
        await scenario.body(world)
        return Quiet(end_state(world), tap.calls, dict(line.delivered))

    _, result = await play(body, seed=seed, config=config, provisioner=False)
    return result


async def _restart(world: World, behind: int) -> None:
    at = max(world.cluster.oldest_version, world.cluster.version - behind)
    await world.crash()
    await world.clock.sleep(RESTART_SECONDS)
    world.start_provisioner(first_lists_at=at)


def quiet_run(scenario: Scenario, *, seed: int) -> Quiet:
    """The run without any mishap."""
    return loop.run(lambda: _played(scenario, seed, None), seed=seed)


def run_with(scenario: Scenario, mishap: Mishap, *, seed: int) -> EndState:
    """The run with one mishap. Raises whatever failed: Violated, TimeoutError, Defect."""
    return loop.run(lambda: _played(scenario, seed, mishap), seed=seed).end


@dataclass(frozen=True, slots=True)
class Wrong:
    """A mishap after which something did not hold."""

    scenario: str
    seed: int
    mishap: Mishap
    call: Call | None
    error: str

    def __str__(self) -> str:
        what = "" if self.call is None else f" ({self.call.verb} {self.call.kind})"
        return f"{self.scenario}, seed {self.seed}, {self.mishap}{what}: {self.error}"


def try_all(
    scenario: Scenario, quiet: Quiet, chosen: Sequence[Mishap], *, seed: int
) -> list[Wrong]:
    """Those of the mishaps after which something does not hold."""
    wrong = []
    for mishap in chosen:
        error = _tried(scenario, mishap, seed, quiet)
        if error:
            number = 0 if isinstance(mishap, WatchMishap) else mishap.number
            call = quiet.calls[number - 1].call if number else None
            wrong.append(Wrong(scenario.name, seed, mishap, call, error))
    return wrong


def _tried(scenario: Scenario, mishap: Mishap, seed: int, quiet: Quiet) -> str:
    try:
        end = run_with(scenario, mishap, seed=seed)
    except (GpuJitError, TimeoutError, ExceptionGroup) as error:
        return f"{type(error).__name__}: {error}"
    return end.unlike(quiet.end, cost_tolerance=scenario.cost_tolerance)
