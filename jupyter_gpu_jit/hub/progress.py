"""The stream of progress events of a start, from the pod as the hub sees it.

Called by ``GpuJitSpawner.progress`` (the hub's own stream) and by our handler after a restart.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..core.progress import View, render
from ..core.quantity import MICRO_USD
from . import facts
from .reflector import BOARD
from .waiting import key_of, pod_of

if TYPE_CHECKING:
    from .spawner import GpuJitSpawner

SPEAK_SECONDS = 2.0
CHECK_SECONDS = 0.5


def view_of(spawner: GpuJitSpawner) -> View:
    """What to show of this spawner's start now."""
    begun = spawner.begun
    pod = pod_of(spawner)
    if pod is None or (begun.uid and pod["metadata"]["uid"] != begun.uid):
        pod = None
    now = time.time()
    begun.history = begun.history.note(facts.status_of(pod), facts.facts_of(pod), now)
    return render(facts.status_of(pod), facts.facts_of(pod), now, history=begun.history)


def event_of(view: View, *, least_percent: int = 0) -> dict[str, Any]:
    """A view as a progress event: plain data, and never ``html_message``."""
    usd = view.usd_per_hour_micro / MICRO_USD if view.usd_per_hour_micro else None
    return {
        "progress": max(view.percent, least_percent),
        "message": view.message,
        "gpu_jit": {
            "stage": view.stage.value,
            "stages": [asdict(row) for row in view.stages],
            "node": view.node,
            "instance_type": view.instance_type,
            "zone": view.zone,
            "capacity_type": view.capacity_type,
            "usd_per_hour": usd,
            "eta_seconds": view.eta_seconds,
            "waited_seconds": view.waited_seconds,
            "reason": view.reason,
        },
    }


def is_over(spawner: GpuJitSpawner) -> bool:
    """Whether nothing is being waited for any more."""
    return not (spawner._spawn_pending or spawner._check_pending)


async def events(spawner: GpuJitSpawner) -> AsyncIterator[dict[str, Any]]:
    """Events until the start is over: at each change, and at least every two seconds."""
    await spawner._start_watching_pods()
    topic, said_at, percent = _topic(spawner, view_of(spawner)), -SPEAK_SECONDS, 0
    while not is_over(spawner):
        view = view_of(spawner)
        now, before, topic = time.monotonic(), topic, _topic(spawner, view)
        if topic != before or now - said_at >= SPEAK_SECONDS:
            # Within one attempt the bar never goes back; a pod created again is a new attempt.
            event = event_of(view, least_percent=percent if topic[0] == before[0] else 0)
            said_at, percent = now, event["progress"]
            yield event
        await BOARD.changed(key_of(spawner), timeout_seconds=CHECK_SECONDS)


def _topic(spawner: GpuJitSpawner, view: View) -> tuple[str, ...]:
    """What an event is about, besides the time that passes."""
    return (spawner.begun.uid, view.stage.value, view.node, view.instance_type, view.reason)
