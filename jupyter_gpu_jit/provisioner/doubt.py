"""The API server as the provisioner writes to it: a write without an answer is noticed at once.

Such a write may or may not have taken effect. From that moment nothing is deleted and nothing
planned until the cluster has been looked at again (``ClusterState.settle``).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

from ..errors import Unavailable
from ..ports import Cluster, Json, Kind, Listing, WatchEvent


class DoubtingCluster:
    """``ports.Cluster`` that calls ``doubt`` when a write goes unanswered."""

    def __init__(self, cluster: Cluster, doubt: Callable[[], None]) -> None:
        self._cluster = cluster
        self._doubt = doubt

    @contextmanager
    def _noticed(self) -> Iterator[None]:
        try:
            yield
        except Unavailable:
            self._doubt()
            raise

    async def list(
        self, kind: Kind, *, namespace: str = "", label_selector: str = "", field_selector: str = ""
    ) -> Listing:
        """See ports.Cluster."""
        return await self._cluster.list(
            kind,
            namespace=namespace,
            label_selector=label_selector,
            field_selector=field_selector,
        )

    def watch(
        self,
        kind: Kind,
        *,
        resource_version: str,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[WatchEvent]:
        """See ports.Cluster."""
        return self._cluster.watch(
            kind,
            resource_version=resource_version,
            namespace=namespace,
            label_selector=label_selector,
            field_selector=field_selector,
        )

    async def get(self, kind: Kind, name: str, *, namespace: str = "") -> Json:
        """See ports.Cluster."""
        return await self._cluster.get(kind, name, namespace=namespace)

    async def create(
        self, kind: Kind, body: Json, *, namespace: str = "", name: str = "", subresource: str = ""
    ) -> Json:
        """See ports.Cluster."""
        with self._noticed():
            return await self._cluster.create(
                kind, body, namespace=namespace, name=name, subresource=subresource
            )

    async def patch(
        self, kind: Kind, name: str, patch: Json, *, namespace: str = "", subresource: str = ""
    ) -> Json:
        """See ports.Cluster."""
        with self._noticed():
            return await self._cluster.patch(
                kind, name, patch, namespace=namespace, subresource=subresource
            )

    async def delete(
        self,
        kind: Kind,
        name: str,
        *,
        namespace: str = "",
        uid: str = "",
        resource_version: str = "",
        grace_seconds: int | None = None,
    ) -> None:
        """See ports.Cluster."""
        with self._noticed():
            await self._cluster.delete(
                kind,
                name,
                namespace=namespace,
                uid=uid,
                resource_version=resource_version,
                grace_seconds=grace_seconds,
            )
