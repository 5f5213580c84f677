"""A cache of one kind of object, kept by list and watch, that reads its own writes.

Used by state.py. Unlike KubeSpawner's reflector it never gives up. Resource versions of one
server rise and may be compared as numbers (Kubernetes 1.35, KEP 5504): that is how a late
event is told from news, and how the answer to our own write enters the cache at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from ..errors import Defect, Expired, GpuJitError, NotFound, Rejected, TransientError
from ..ports import Clock, Cluster, Json, Kind

log = logging.getLogger(__name__)
T = TypeVar("T")
Key = tuple[str, str]
_FIRST_BACKOFF_SECONDS, _LAST_BACKOFF_SECONDS = 0.5, 15.0


def key_of(obj: Json) -> Key:
    """(namespace, name)."""
    meta = obj["metadata"]
    return (meta.get("namespace") or "", meta["name"])


def version_of(obj: Json) -> int:
    """The resource version as a number."""
    return int(obj["metadata"]["resourceVersion"])


class Informer(Generic[T]):
    """Objects of one kind, parsed by ``read``; calls ``changed`` after each change.

    ``namespace`` "" means all of them. ``advice``: what to do when the API server does not give
    us this kind; without one, a kind that is not served yet is waited for.
    A list older than version ``not_before`` is not believed: it is from a server that is behind.
    """

    def __init__(
        self,
        cluster: Cluster,
        clock: Clock,
        kind: Kind,
        *,
        read: Callable[[Json], T],
        changed: Callable[[], None],
        label_selector: str = "",
        namespace: str = "",
        advice: str = "",
    ) -> None:
        self._cluster = cluster
        self._clock = clock
        self._kind = kind
        self._read = read
        self._changed = changed
        self._scope = {"namespace": namespace, "label_selector": label_selector}
        self._advice = advice
        self._items: dict[Key, tuple[int, T]] = {}
        self._graves: dict[Key, int] = {}
        self._version = ""
        self.not_before = 0
        self.synced = asyncio.Event()

    def __iter__(self) -> Iterator[T]:
        return (self._items[key][1] for key in sorted(self._items))

    def get(self, name: str, namespace: str = "") -> T | None:
        """The object of that name, or None."""
        found = self._items.get((namespace, name))
        return found[1] if found else None

    def observe(self, obj: Json) -> None:
        """Take in an object the API server returned, unless something newer is known."""
        key, version = key_of(obj), version_of(obj)
        known = self._items.get(key)
        if (known and known[0] >= version) or self._graves.get(key, -1) >= version:
            return
        self._items[key] = (version, self._read(obj))
        self._changed()

    def forget(self, obj: Json) -> None:
        """Take in that an object is gone as of its resource version."""
        key, version = key_of(obj), version_of(obj)
        self._graves[key] = max(version, self._graves.get(key, -1))
        known = self._items.get(key)
        if known and known[0] <= version:
            del self._items[key]
            self._changed()

    async def relist(self) -> None:
        """Replace the cache by a fresh list. Raises TransientError."""
        listing = await self._cluster.list(self._kind, **self._scope)
        at, seen = int(listing.resource_version), set()
        if at < self.not_before:
            raise TransientError("The API server's list is out of date.", reason="OldView")
        for obj in listing.items:
            seen.add(key_of(obj))
            self.observe(obj)
        for key in [
            k for k, (version, _) in self._items.items() if k not in seen and version <= at
        ]:
            self._graves[key] = at
            del self._items[key]
        self._version = listing.resource_version
        self.synced.set()
        self._changed()

    async def run(self) -> None:
        """List and watch for ever; backs off while the API server is away.

        Raises Defect when it refuses us this kind.
        """
        backoff = _FIRST_BACKOFF_SECONDS
        while True:
            try:
                if not self._version:
                    await self.relist()
                await self._follow()
                backoff = _FIRST_BACKOFF_SECONDS
            except Expired:
                self._version = ""
            except (TransientError, Rejected) as error:
                self._give_up_if_refused(error)
                log.warning(
                    "watch interrupted", extra={"kind": self._kind.plural, "reason": error.reason}
                )
                await self._clock.sleep(backoff)
                backoff = min(2 * backoff, _LAST_BACKOFF_SECONDS)

    def _give_up_if_refused(self, error: GpuJitError) -> None:
        """Asking again does not help, unless the kind is one that may still be installed."""
        if self._advice and isinstance(error, NotFound | Rejected):
            said = error.user_message.rstrip(".")
            raise Defect(
                f"The provisioner has to list and watch {self._kind.plural}, and the API server "
                f"says: {said}. {self._advice}",
                reason="NoAccess",
            ) from error
        if isinstance(error, Rejected):
            raise error

    async def _follow(self) -> None:
        events = self._cluster.watch(self._kind, resource_version=self._version, **self._scope)
        async for event in events:
            self._version = event.object["metadata"]["resourceVersion"]
            if event.type == "DELETED":
                self.forget(event.object)
            elif event.type != "BOOKMARK":
                self.observe(event.object)
