"""A local copy of one kind of object, kept by list and watch through the Cluster port.

Used by ``sim.binder`` and other stand-ins for cluster components; works in virtual and in
real time, against any implementation of the port.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from ..errors import TransientError
from ..ports import Clock, Cluster, Kind, WatchEvent

Json = dict[str, Any]
Key = tuple[str, str]

_RETRY_SECONDS = 1.0


def key_of(obj: Json) -> Key:
    """Namespace ("" for cluster-scoped kinds) and name."""
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


class Mirror:
    """Objects of a kind by ``key_of``; ``changed`` is called after each batch of news."""

    def __init__(
        self,
        cluster: Cluster,
        clock: Clock,
        kind: Kind,
        *,
        changed: Callable[[], None],
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> None:
        self.objects: dict[Key, Json] = {}
        self.loaded = False
        self._cluster, self._clock, self._kind, self._changed = cluster, clock, kind, changed
        self._scope = {
            "namespace": namespace,
            "label_selector": label_selector,
            "field_selector": field_selector,
        }

    async def run(self) -> None:
        """Follow the cluster until cancelled; a failure to reach it is tried again each second."""
        while True:
            try:
                version = await self._list()
                while True:
                    version = await self._follow(version)
            except TransientError:
                await self._clock.sleep(_RETRY_SECONDS)

    async def _list(self) -> str:
        listing = await self._cluster.list(self._kind, **self._scope)
        self.objects = {key_of(obj): obj for obj in listing.items}
        self.loaded = True
        self._changed()
        return listing.resource_version

    async def _follow(self, version: str) -> str:
        """One watch to its end; the version it reached. Raises TransientError."""
        events = self._cluster.watch(self._kind, resource_version=version, **self._scope)
        async with aclosing(events) as stream:  # type: ignore[type-var]
            async for event in stream:
                version = event.object["metadata"]["resourceVersion"]
                self._take(event)
        return version

    def _take(self, event: WatchEvent) -> None:
        if event.type == "BOOKMARK":
            return
        if event.type == "DELETED":
            self.objects.pop(key_of(event.object), None)
        else:
            self.objects[key_of(event.object)] = event.object
        self._changed()
