"""KubeSpawner's view of the pods, which also wakes whoever waits and remembers who left.

Upstream's spawner polls this view up to five seconds apart and forgets a deleted pod at once;
a start needs to know at once, and needs the last sight of a pod that was deleted: it may say
that the pod is to be created again.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from kubespawner.spawner import PodReflector
from traitlets import validate

Json = dict[str, Any]
_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class Departure:
    """The last sight of a pod that is gone; ``watched`` is False when it left between two lists."""

    pod: Json
    watched: bool


class Board:
    """Who waits for which pod, and which pods are gone; one for all reflectors of a hub."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._gone: OrderedDict[str, Departure] = OrderedDict()

    def departure(self, uid: str) -> Departure | None:
        """How the pod of that uid was last seen, if it was seen to leave."""
        return self._gone.get(uid)

    def left(self, pod: Json, *, watched: bool) -> None:
        """Note a pod that is gone."""
        self._gone[pod["metadata"]["uid"]] = Departure(pod, watched)
        while len(self._gone) > _REMEMBERED:
            self._gone.popitem(last=False)

    def wake(self, key: str) -> None:
        """Tell those who wait for namespace/name that something changed."""
        for waiter in self._waiting.pop(key, ()):
            if not waiter.done():
                waiter.set_result(None)

    async def changed(self, key: str, *, timeout_seconds: float) -> None:
        """Return when that pod changes, or after the timeout, whichever is first."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, set()).add(waiter)
        try:
            await asyncio.wait([waiter], timeout=timeout_seconds)
        finally:
            waiters = self._waiting.get(key, set())
            waiters.discard(waiter)
            if not waiters:
                self._waiting.pop(key, None)


class Watched(dict[str, Json]):
    """The pods by namespace/name, telling the board of every change."""

    def __init__(self, pods: dict[str, Json], board: Board) -> None:
        super().__init__(pods)
        self._board = board

    def __setitem__(self, key: str, pod: Json) -> None:
        """Upstream's watch saw the pod added or modified."""
        old = self.get(key)
        super().__setitem__(key, pod)
        if old is not None and old["metadata"]["uid"] != pod["metadata"]["uid"]:
            self._board.left(old, watched=False)
        self._board.wake(key)

    def pop(self, key: str, *default: Any) -> Any:
        """Upstream's watch saw the pod deleted."""
        if key in self:
            self._board.left(self[key], watched=True)
        found = super().pop(key, *default)
        self._board.wake(key)
        return found

    def replaced_by(self, pods: dict[str, Json]) -> None:
        """Upstream listed anew: tell of what changed in between."""
        for key in self.keys() | pods.keys():
            old, new = self.get(key), pods.get(key)
            if old is not None and (new is None or _uid(new) != _uid(old)):
                self._board.left(old, watched=False)
            if old != new:
                self._board.wake(key)


def _uid(pod: Json) -> str:
    return str(pod["metadata"]["uid"])


BOARD = Board()


class SessionReflector(PodReflector):
    """Upstream's reflector over watched pods."""

    @validate("resources")
    def _watch_resources(self, proposal: Any) -> Watched:
        pods: dict[str, Json] = proposal["value"]
        old = self.resources
        if not isinstance(old, Watched):
            old = Watched({}, BOARD)
        old.replaced_by(pods)
        return Watched(pods, BOARD)

    @property
    def alive(self) -> bool:
        """Whether it still watches: upstream's gives up after half a minute of errors."""
        return self.watch_task is not None and not self.watch_task.done()
