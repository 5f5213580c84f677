"""One acts, the others wait: a Lease, taken by compare-and-swap and left before it runs out.

The API server fences nothing: a leader that cannot renew must stop itself, so the work is
cancelled well before anybody else may take the lease. Used by runtime.py.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from ..core.quantity import format_time
from ..errors import AlreadyExists, Conflict, NotFound, TransientError
from ..ports import LEASES, Clock, Cluster, Json
from .informer import version_of
from .settings import Settings

log = logging.getLogger(__name__)


class Leader:
    """Runs the work while this process holds the lease."""

    def __init__(self, cluster: Cluster, clock: Clock, settings: Settings) -> None:
        self._cluster = cluster
        self._clock = clock
        self._settings = settings
        self._seen: tuple[str, float] = ("", 0.0)
        # Of the lease as we last wrote it; whatever our predecessors did is older than that.
        self.version = 0
        # What the leader wants read by others, who need no rights on anything else for it.
        self.tell: Callable[[], Mapping[str, str]] = dict
        self.told: Mapping[str, str] = {}
        """What the last leader had told when we took the lease."""

    @property
    def _retry_seconds(self) -> float:
        return self._settings.lease_seconds / 5

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Take the lease, work, and start over when the lease is lost. Until cancelled."""
        while True:
            await self._acquire()
            log.info("leading", extra={"identity": self._settings.identity})
            task = asyncio.ensure_future(work())
            try:
                await self._renew_while(task)
            finally:
                await _cancel(task)
                log.info("not leading any more", extra={"identity": self._settings.identity})

    async def _acquire(self) -> None:
        while not await self._try_acquire():
            await self._clock.sleep(self._retry_seconds)

    async def _try_acquire(self) -> bool:
        try:
            lease = await self._cluster.get(
                LEASES, self._settings.lease_name, namespace=self._settings.namespace
            )
            if not self._is_free(lease):
                return False
            self.told = lease["metadata"].get("annotations") or {}
            return await self._write(lease)
        except NotFound:
            return await self._create()
        except TransientError as error:
            log.warning("lease not read", extra={"reason": error.reason})
            return False

    async def _create(self) -> bool:
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": self._settings.lease_name,
                "namespace": self._settings.namespace,
            },
            "spec": self._spec(),
        }
        try:
            lease = await self._cluster.create(LEASES, body, namespace=self._settings.namespace)
        except AlreadyExists:
            return False
        except TransientError:
            return False
        self.version = version_of(lease)
        return True

    def _is_free(self, lease: Json) -> bool:
        """Free, ours, or unchanged for a whole lease by *our* clock: theirs is not trusted."""
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        version = lease["metadata"]["resourceVersion"]
        if version != self._seen[0]:
            self._seen = (version, self._clock.now())
        waited = self._clock.now() - self._seen[1]
        held_for = float(spec.get("leaseDurationSeconds") or self._settings.lease_seconds)
        return holder in ("", self._settings.identity) or waited >= held_for

    async def _write(self, lease: Json) -> bool:
        patch = {
            "metadata": {
                "resourceVersion": lease["metadata"]["resourceVersion"],
                "annotations": dict(self.tell()),
            },
            "spec": self._spec(),
        }
        try:
            self.version = version_of(await self._patch(patch))
        except (Conflict, NotFound):
            return False
        return True

    def _spec(self) -> Json:
        return {
            "holderIdentity": self._settings.identity,
            "leaseDurationSeconds": max(1, round(self._settings.lease_seconds)),
            "renewTime": format_time(self._clock.now()),
        }

    async def _patch(self, patch: Json) -> Json:
        return await self._cluster.patch(
            LEASES, self._settings.lease_name, patch, namespace=self._settings.namespace
        )

    async def _renew_while(self, task: asyncio.Future[None]) -> None:
        """Return when the lease is lost or not renewed in time; raise what the work raises."""
        renewed = self._clock.now()
        while (left := renewed + self._settings.lease_seconds * 2 / 3 - self._clock.now()) > 0:
            nap = asyncio.ensure_future(self._clock.sleep(min(self._retry_seconds, left)))
            await asyncio.wait([task, nap], return_when=asyncio.FIRST_COMPLETED)
            await _cancel(nap)
            if task.done():
                task.result()
                return
            asked = self._clock.now()
            try:
                # A slow server is given time, but one lost request must not cost the whole term.
                async with asyncio.timeout(max(self._retry_seconds, left / 2)):
                    lease = await self._read()
                    if (lease.get("spec") or {}).get("holderIdentity") != self._settings.identity:
                        return
                    if await self._write(lease):
                        renewed = asked
            except (TransientError, TimeoutError):
                log.warning("lease not renewed", extra={"identity": self._settings.identity})

    async def _read(self) -> Json:
        return await self._cluster.get(
            LEASES, self._settings.lease_name, namespace=self._settings.namespace
        )

    async def release(self) -> None:
        """Give the lease up on a clean stop, so that the next leader need not wait."""
        try:
            lease = await self._read()
            if (lease.get("spec") or {}).get("holderIdentity") == self._settings.identity:
                version = {"resourceVersion": lease["metadata"]["resourceVersion"]}
                await self._patch({"metadata": version, "spec": {"holderIdentity": ""}})
        except TransientError as error:
            log.info("lease not released", extra={"reason": error.reason})


async def _cancel(task: asyncio.Future[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
