"""The stages of a start: their order, and what the person waiting is told.

Used by the provisioner (which writes the record), the hub (which shows it) and the service.
``render`` is a pure function of the record, the pod and the clock: a page that is reloaded, or a
hub that was restarted, shows the same again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from .model import SessionStatus


class Stage(StrEnum):
    """Stages of a start in order, then the three that stand beside them."""

    REQUESTED = "Requested"
    PLANNED = "Planned"
    LAUNCHING = "Launching"
    BOOTING = "Booting"
    REGISTERED = "Registered"
    INITIALISED = "Initialised"
    PULLING = "Pulling"
    STARTING = "Starting"
    READY = "Ready"
    WAITING = "Waiting"
    REFUSED = "Refused"
    FAILED = "Failed"


ORDER = tuple(Stage)[: tuple(Stage).index(Stage.READY) + 1]
ENDED_BADLY = frozenset({Stage.REFUSED, Stage.FAILED})
NEW_NODE_STAGES = (Stage.LAUNCHING, Stage.BOOTING, Stage.REGISTERED)

# Where the bar stands when a stage begins. Booting takes most of the time, so it gets most room.
_FLOOR = dict(zip(ORDER, (2, 6, 10, 16, 60, 68, 74, 88, 100), strict=True))
_WAITING_PERCENT = 4
_PLANNER_IS_LATE_SECONDS = 30.0

_SENTENCES = {
    Stage.REQUESTED: "Asking the planner for a place.",
    Stage.PLANNED: "A place is planned; waiting for its node.",
    Stage.LAUNCHING: "Waiting for the cloud to launch the node.",
    Stage.BOOTING: "The node is booting; waiting for it to join the cluster.",
    Stage.REGISTERED: "The node has joined; waiting for its GPUs to be reported.",
    Stage.INITIALISED: "The node is ready; waiting for the session to be seated on it.",
    Stage.PULLING: "Waiting for the image to be pulled and unpacked on the node.",
    Stage.STARTING: "The container runs; waiting for JupyterLab to answer.",
    Stage.READY: "JupyterLab answers.",
    Stage.WAITING: "Waiting for capacity.",
    Stage.REFUSED: "This start was refused.",
    Stage.FAILED: "This start failed.",
}
_PLANNER_IS_LATE = (
    "The planner has not answered yet; if this goes on, tell an administrator of this hub."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFacts:
    """What the pod itself says about a start. ``container`` is "", waiting, running or terminated.

    ``created_at`` in epoch seconds; ``trouble`` is the kubelet's reason when it cannot go on for
    now (ImagePullBackOff, say).
    """

    created_at: float
    node_name: str = ""
    container: str = ""
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageView:
    """One row of the list of stages; ``state`` is done, current, todo or skipped.

    ``seconds`` is how long it took or has taken; None when nobody knows.
    """

    name: str
    state: str
    seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a page shows: the record, the pod and the clock in one. Seconds are whole."""

    percent: int
    message: str
    stage: Stage
    stages: tuple[StageView, ...] = ()
    node: str = ""
    instance_type: str = ""
    zone: str = ""
    capacity_type: str = ""
    usd_per_hour_micro: int = 0
    eta_seconds: int | None = None
    waited_seconds: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class History:
    """When each stage of an attempt was first seen, in epoch seconds."""

    since: Mapping[Stage, float] = field(default_factory=dict)

    def note(self, status: SessionStatus | None, facts: PodFacts | None, now: float) -> History:
        """The history with the stage of now in it, if it is new."""
        stage = current_stage(status, facts)
        if stage in self.since:
            return self
        return History({**self.since, stage: _began(stage, status, facts, now)})


def _began(stage: Stage, status: SessionStatus | None, facts: PodFacts | None, now: float) -> float:
    if status is not None and status.stage == stage:
        return min(now, status.since)
    if stage is Stage.REQUESTED and facts is not None:
        return min(now, facts.created_at)
    return now


def current_stage(status: SessionStatus | None, facts: PodFacts | None) -> Stage:
    """The stage a start is in: the record says it up to Initialised, the pod itself after that.

    Ready is never told from here: only the hub knows whether the server answers it.
    """
    told = Stage(status.stage) if status and status.stage in tuple(Stage) else Stage.REQUESTED
    if told in ENDED_BADLY or facts is None or not facts.node_name:
        return told
    seen = Stage.STARTING if facts.container in ("running", "terminated") else Stage.PULLING
    return seen if told is Stage.WAITING else max(told, seen, key=ORDER.index)


def render(
    status: SessionStatus | None,
    facts: PodFacts | None,
    now: float,
    *,
    history: History | None = None,
) -> View:
    """What to show at ``now`` (epoch seconds).

    While a start goes on, two calls a second apart never give equal messages.
    """
    seen = (history or History()).note(status, facts, now)
    stage = current_stage(status, facts)
    elapsed = max(0.0, now - seen.since[stage])
    eta = _eta(status, stage, now)
    record = status or SessionStatus(stage=stage, since=now)
    return View(
        percent=_percent(stage, elapsed, eta),
        message=_message(record, facts, stage=stage, elapsed=elapsed, eta=eta),
        stage=stage,
        stages=_rows(stage, seen, now),
        node=(facts.node_name if facts else "") or record.node,
        instance_type=record.instance_type,
        zone=record.zone,
        capacity_type=record.capacity_type,
        usd_per_hour_micro=record.usd_per_hour_micro,
        eta_seconds=None if eta is None else int(max(0.0, eta)),  # as the sentence has it
        waited_seconds=round(max(0.0, now - facts.created_at)) if facts else 0,
        reason=record.reason or (facts.trouble if facts else ""),
    )


def _eta(status: SessionStatus | None, stage: Stage, now: float) -> float | None:
    """Seconds left; negative when it takes longer than was thought. None when nobody knows."""
    if status is None or status.eta_seconds is None or stage not in ORDER:
        return None
    return status.eta_seconds - (now - status.since)


def _percent(stage: Stage, elapsed: float, eta: float | None) -> int:
    if stage not in ORDER:
        return 100 if stage in ENDED_BADLY else _WAITING_PERCENT
    floor = _FLOOR[stage]
    if stage is Stage.READY:
        return floor
    room = _FLOOR[ORDER[ORDER.index(stage) + 1]] - floor
    left = 60.0 if eta is None else max(1.0, eta)
    return floor + int(room * min(0.95, elapsed / (elapsed + left)))


def _message(
    record: SessionStatus,
    facts: PodFacts | None,
    *,
    stage: Stage,
    elapsed: float,
    eta: float | None,
) -> str:
    """A sentence on what is waited for, then how long it has taken and may take."""
    own = record.message if record.stage == stage else ""
    text = own or _SENTENCES[stage]
    if stage in ENDED_BADLY:
        return text
    if stage is Stage.REQUESTED and elapsed > _PLANNER_IS_LATE_SECONDS:
        text = _PLANNER_IS_LATE
    if facts is not None and facts.trouble:
        text = f"The node reports {facts.trouble} and tries again by itself."
    return f"{text} {_clock(elapsed, eta)}"


def _clock(elapsed: float, eta: float | None) -> str:
    so_far = f"{duration(elapsed)} so far"
    if eta is None:
        return f"{so_far}."
    if eta < 1:
        return f"{so_far}, longer than usual."
    return f"{so_far}, about {duration(eta)} left."


def duration(seconds: float) -> str:
    """A time for people, to the second: ``45 s``, ``2 min 5 s``, ``1 h 0 min 7 s``."""
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min {rest} s" if hours else f"{minutes} min {rest} s"


# --- the list of stages ----------------------------------------------------------------------


def _rows(stage: Stage, history: History, now: float) -> tuple[StageView, ...]:
    """All stages in order; beside the order, the one the start got to before it stood still."""
    known = [s for s in ORDER if s in history.since]
    reached = stage if stage in ORDER else (known[-1] if known else Stage.REQUESTED)
    return tuple(_row(row, reached, history, now) for row in ORDER)


def _row(row: Stage, reached: Stage, history: History, now: float) -> StageView:
    here, there = ORDER.index(row), ORDER.index(reached)
    if here > there:
        return StageView(name=row.value, state="todo")
    if here == there:
        since = history.since.get(row)
        seconds = None if since is None else round(max(0.0, now - since))
        return StageView(name=row.value, state="current", seconds=seconds)
    if _was_skipped(row, history):
        return StageView(name=row.value, state="skipped")
    return StageView(name=row.value, state="done", seconds=_took(row, history))


def _was_skipped(row: Stage, history: History) -> bool:
    """A seat on a node that is there needs no launch; told only if the beginning was watched."""
    watched = Stage.REQUESTED in history.since or Stage.PLANNED in history.since
    return (
        row in NEW_NODE_STAGES and watched and not any(s in history.since for s in NEW_NODE_STAGES)
    )


def _took(row: Stage, history: History) -> int | None:
    since = history.since.get(row)
    after = [at for s, at in history.since.items() if s in ORDER[ORDER.index(row) + 1 :]]
    if since is None or not after:
        return None
    return round(max(0.0, min(after) - since))
