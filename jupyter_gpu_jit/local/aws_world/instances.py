"""The life of every instance: pending, running, shutting-down, terminated, forgotten.

Owned by ``World``; ``launch`` begins a life, ``actions`` and ``notices`` end it. moto's store
holds what an instance *is*; here is when it became so, which is what lag, the ledger of launches
and the node's own side need.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from . import store
from .errors import AwsError
from .fleet import Candidate
from .market import PoolKey
from .user_data import read

if TYPE_CHECKING:
    from .world import World

USER, SPOT = "Client.UserInitiatedShutdown", "Server.SpotInstanceTermination"
SELF = "Client.InstanceInitiatedShutdown"
_PHASES = ("registered", "ready", "gpus")
REASONS = {
    SELF: f"{SELF}: Instance initiated shutdown",
    USER: f"{USER}: User initiated shutdown",
    SPOT: f"{SPOT}: Spot Instance terminated by Amazon EC2",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Habit:
    """How the next nodes misbehave; ``gpus`` None is as many as the type has."""

    joins: bool = True
    late_seconds: float = 0.0
    gpus: int | None = None
    provider_id: str = ""


@dataclass(slots=True, kw_only=True)
class Life:
    """One instance that was ever launched. ``history``: (moment, state), oldest first."""

    id: str
    region: str
    pool: PoolKey
    stored: Any
    """moto's object."""
    machine: store.Machine
    launched_at: float
    client_token: str
    reservation_id: str
    price_micro: int
    spot_request_id: str = ""
    lag_share: float = 0.0
    node_phase: str = ""
    """How far the node's own side is: registered, ready, gpus."""
    version: int = 0
    """Number of the last change of any instance that was one of this."""
    habit: Habit = field(default_factory=Habit)
    interrupted_at: float | None = None
    scheduled: float | None = None
    """When a scheduled change begins."""
    impaired: bool = False
    reason: str = ""
    """Code of why it ended."""
    history: list[tuple[float, str]] = field(default_factory=list)

    @property
    def state(self) -> str:
        """The state as it is now."""
        return self.history[-1][1]

    @property
    def live(self) -> bool:
        """Whether it is paid for."""
        return self.state in ("pending", "running")

    def state_at(self, moment: float) -> str | None:
        """The state as it was; None before the launch."""
        return next((s for began, s in reversed(self.history) if began <= moment), None)

    def since(self, state: str) -> float | None:
        """When it entered a state."""
        return next((began for began, s in self.history if s == state), None)


class Instances:
    """All lives of a world, in order of launch."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.lives: dict[str, Life] = {}
        self.habits: list[Habit] = []
        self.version = 0

    def launch(
        self, region: str, candidate: Candidate, machine: store.Machine, count: int
    ) -> list[str]:
        """Begin lives; capacity was taken before. Raises AwsError."""
        now = self._world.now()
        try:
            made = store.launch(region, machine, count, now)
        except AwsError:
            self._world.market.give_back(candidate.pool, count)
            raise
        reservation_id = self._world.new_id("r")
        for stored in made:
            self._begin(
                Life(
                    id=str(stored.id),
                    stored=stored,
                    region=region,
                    pool=candidate.pool,
                    machine=machine,
                    launched_at=now,
                    client_token=machine.client_token,
                    reservation_id=reservation_id,
                    price_micro=candidate.price_micro,
                    habit=self.habits.pop(0) if self.habits else Habit(),
                )
            )
        return [str(stored.id) for stored in made]

    def find(self, instance_ids: Sequence[str]) -> list[Life]:
        """Lives that can be seen by now. Raises AwsError naming those that cannot."""
        unknown = [i for i in instance_ids if self.seen_state(self.lives.get(i)) is None]
        if unknown:
            what, verb = ("IDs", "do") if len(unknown) > 1 else ("ID", "does")
            raise AwsError(
                "InvalidInstanceID.NotFound",
                f"The instance {what} '{', '.join(unknown)}' {verb} not exist",
            )
        return [self.lives[i] for i in instance_ids]

    def seen_state(self, life: Life | None) -> str | None:
        """The state a describe shows now; None when the instance is not shown (yet, any more)."""
        if life is None:
            return None
        now, lag = self._world.now(), self._world.parameters.describe_lag_seconds
        state = life.state_at(now - lag * life.lag_share)
        gone = life.since("terminated")
        shown = self._world.parameters.terminated_shown_seconds
        return None if gone is not None and now - gone > shown else state

    def terminate(self, lives: Iterable[Life], reason: str = USER) -> None:
        """Begin the end of those that have not ended."""
        for life in lives:
            if life.live:
                life.reason = reason
                self._becomes(life, "shutting-down")
                self._world.market.give_back(life.pool)
                self._world.timeline.after(self._shutdown(life), partial(self._end, life))

    # --- inside ------------------------------------------------------------------------------

    def _begin(self, life: Life) -> None:
        world, figures = self._world, self._world.parameters
        rng = world.rng(f"life {len(self.lives)}")
        life.history.append((life.launched_at, "pending"))
        life.lag_share = rng.uniform(0.5, 1.0)
        self.lives[life.id] = life
        if life.pool[2] == "spot":
            life.spot_request_id = world.new_id("sir")
        self._changed(life)
        world.tell_state(life)
        boot = _draw(rng, figures.boot_seconds, figures.boot_sigma)
        world.timeline.after(boot, lambda: self._run(life))

    def _run(self, life: Life) -> None:
        """From now on the kernel boots, and by and by the kubelet."""
        if life.state != "pending":
            return
        self._becomes(life, "running")
        joining, timeline = read(str(life.machine.user_data or "")), self._world.timeline
        never = not life.habit.joins or bool(joining.problem)
        if not never:
            timeline.after(life.habit.late_seconds, partial(self._boot, life, _PHASES))
        elif joining.dead_man_seconds is not None:
            timeline.after(joining.dead_man_seconds, partial(self._power_off, life))

    def _boot(self, life: Life, phases: tuple[str, ...]) -> None:
        """The node's own side, phase by phase, as long as the machine runs."""
        if not phases:
            return
        figures = self._world.parameters
        medians = {
            "registered": figures.register_seconds,
            "ready": figures.ready_seconds,
            "gpus": figures.gpus_seconds,
        }
        rng = self._world.rng(f"{phases[0]} {life.id}")
        delay = _draw(rng, medians[phases[0]], 0.2)
        self._world.timeline.after(delay, partial(self._reach, life, phases))

    def _reach(self, life: Life, phases: tuple[str, ...]) -> None:
        if life.state == "running":
            life.node_phase = phases[0]
            self._changed(life)
            self._boot(life, phases[1:])

    def _power_off(self, life: Life) -> None:
        """What the operating system does by itself; off is the end only where so asked for."""
        if life.machine.shutdown_behaviour == "terminate":
            self.terminate([life], SELF)

    def _changed(self, life: Life) -> None:
        self.version += 1
        life.version = self.version

    def _shutdown(self, life: Life) -> float:
        rng = self._world.rng(f"shutdown {life.id}")
        return _draw(rng, self._world.parameters.shutdown_seconds, 0.4)

    def _end(self, life: Life) -> None:
        store.end(life.stored)
        life.history.append((self._world.now(), "terminated"))
        self._changed(life)
        self._world.tell_state(life)
        shown = self._world.parameters.terminated_shown_seconds
        self._world.timeline.after(shown, lambda: store.forget(life.region, life.id))

    def _becomes(self, life: Life, state: str) -> None:
        life.history.append((self._world.now(), state))
        self._changed(life)
        store.set_state(life.stored, state)
        self._world.tell_state(life)


def _draw(rng: Any, median: float, sigma: float) -> float:
    return float(median * math.exp(sigma * rng.gauss(0.0, 1.0)))
