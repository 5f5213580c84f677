"""What the service knows of the cluster: lists at most a second old, fetched once for everybody.

Called by the handlers; a burst of requests costs the API server one list of each kind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from ..core import wire
from ..core.dry import Dry, decode
from ..core.model import InstanceType
from ..errors import NotFound
from ..ports import CLAIMS, LEASES, NODES, PODS, Cloud, Cluster, Json, Kind

T = TypeVar("T")
LeaseName = tuple[str, str]
"""Namespace and name of the provisioner's lease."""


class Shared(Generic[T]):
    """A value fetched by one task at a time and shared until it is ``max_age_seconds`` old.

    A failure is told to all who waited for it and is not kept.
    """

    def __init__(self, fetch: Callable[[], Awaitable[T]], *, max_age_seconds: float) -> None:
        self._fetch = fetch
        self._max_age_seconds = max_age_seconds
        self._asked_at = 0.0
        self._task: asyncio.Task[T] | None = None

    async def get(self) -> T:
        """The value; raises what the fetch raises."""
        task = self._task
        if task is None or self._is_stale(task):
            self._asked_at = asyncio.get_running_loop().time()
            task = self._task = asyncio.ensure_future(self._run())
        # Shielded: one caller that goes away must not take the answer from the others.
        return await asyncio.shield(task)

    async def _run(self) -> T:
        return await self._fetch()

    def _is_stale(self, task: asyncio.Task[T]) -> bool:
        if not task.done():
            return False
        age_seconds = asyncio.get_running_loop().time() - self._asked_at
        failed = task.cancelled() or task.exception() is not None
        return failed or age_seconds > self._max_age_seconds


class Lists:
    """The kinds the service reads. Every method raises Unavailable or Rejected of the port."""

    def __init__(
        self, cluster: Cluster, cloud: Cloud | None, *, max_age_seconds: float, lease: LeaseName
    ) -> None:
        self._cluster = cluster
        self._lease = lease
        self._dry = Shared(self._read_dry, max_age_seconds=max_age_seconds)
        self._kinds = {
            kind: Shared(self._lister(kind), max_age_seconds=max_age_seconds)
            for kind in (PODS, NODES, CLAIMS)
        }
        self._types = (
            None if cloud is None else Shared(cloud.instance_types, max_age_seconds=max_age_seconds)
        )

    async def pods(self) -> tuple[Json, ...]:
        """Pods of all namespaces."""
        return await self._kinds[PODS].get()

    async def nodes(self) -> tuple[Json, ...]:
        """All nodes."""
        return await self._kinds[NODES].get()

    async def claims(self) -> tuple[Json, ...]:
        """All node claims."""
        return await self._kinds[CLAIMS].get()

    async def instance_types(self) -> Sequence[InstanceType]:
        """What the cloud sells now; nothing when the service was given no cloud."""
        return () if self._types is None else await self._types.get()

    async def dry(self) -> Dry:
        """What gave nothing lately, as the provisioner writes it on its lease."""
        return await self._dry.get()

    async def _read_dry(self) -> Dry:
        namespace, name = self._lease
        try:
            lease = await self._cluster.get(LEASES, name, namespace=namespace)
        except NotFound:
            # No provisioner has run here yet.
            return Dry()
        return decode((lease["metadata"].get("annotations") or {}).get(wire.DRY_ANNOTATION, ""))

    def _lister(self, kind: Kind) -> Callable[[], Awaitable[tuple[Json, ...]]]:
        async def fetch() -> tuple[Json, ...]:
            return (await self._cluster.list(kind)).items

        return fetch
