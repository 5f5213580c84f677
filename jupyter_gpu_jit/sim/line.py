"""The line from a provisioner to the API server, where watches break and answers are old.

Made by world.py for each provisioner, beneath the taps. What a tap cannot do is done here: end
or hold up a watch in its middle, answer a list from history, and be down as a whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ..errors import Expired, Unavailable
from ..ports import Clock, Json, Kind, Listing, WatchEvent
from .cluster import MemoryCluster

STALL_SECONDS = 30.0


class WatchFault(StrEnum):
    """What may befall a watch: a broken connection, forgotten history, 30 s without news."""

    DROP = "drop"
    EXPIRED = "410"
    STALL = "lag"


@dataclass(frozen=True, slots=True, order=True)
class WatchMishap:
    """A fault in place of delivering event number ``number`` (from 1) of a kind, by its plural."""

    plural: str
    number: int
    fault: WatchFault


@dataclass(slots=True)
class Outage:
    """Whether the API server answers; one for a whole world. ``refused`` counts calls meanwhile."""

    down: bool = False
    refused: int = 0

    def check(self) -> None:
        """Raises Unavailable while it is down."""
        if self.down:
            self.refused += 1
            raise Unavailable("The simulated API server is down.", reason="ConnectionRefused")


@dataclass(slots=True, kw_only=True)
class Line:
    """``ports.Cluster`` with at most one watch mishap.

    The first list of each kind is that of resource version ``first_lists_at``, if one is
    given, and what has happened since comes half a minute late; ``lag_seconds`` is how late
    every event of a watch comes. ``delivered`` counts events by plural.
    """

    cluster: MemoryCluster
    clock: Clock
    outage: Outage = field(default_factory=Outage)
    mishap: WatchMishap | None = None
    first_lists_at: int | None = None
    lag_seconds: float = 0.0
    delivered: Counter[str] = field(default_factory=Counter)
    _listed: set[str] = field(default_factory=set)

    async def list(
        self, kind: Kind, *, namespace: str = "", label_selector: str = "", field_selector: str = ""
    ) -> Listing:
        """See ports.Cluster."""
        self.outage.check()
        old = self.first_lists_at
        if old is not None and kind.plural not in self._listed:
            self._listed.add(kind.plural)
            return await self.cluster.list_as_of(
                kind, old, namespace=namespace, label_selector=label_selector
            )
        return await self.cluster.list(
            kind,
            namespace=namespace,
            label_selector=label_selector,
            field_selector=field_selector,
        )

    async def watch(
        self,
        kind: Kind,
        *,
        resource_version: str,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[WatchEvent]:
        """See ports.Cluster. An outage is felt at the next event: until then the line is silent."""
        self.outage.check()
        events = self.cluster.watch(
            kind,
            resource_version=resource_version,
            namespace=namespace,
            label_selector=label_selector,
            field_selector=field_selector,
        )
        async with aclosing(events) as stream:  # type: ignore[type-var]
            async for event in stream:
                self.outage.check()
                await self._befall(kind.plural)
                yield event

    async def _befall(self, plural: str) -> None:
        self.delivered[plural] += 1
        if self.lag_seconds:
            await self.clock.sleep(self.lag_seconds)
        if self.first_lists_at is not None and self.delivered[plural] == 1:
            await self.clock.sleep(STALL_SECONDS)
        mishap = self.mishap
        if mishap is None or (mishap.plural, mishap.number) != (plural, self.delivered[plural]):
            return
        if mishap.fault is WatchFault.STALL:
            await self.clock.sleep(STALL_SECONDS)
        elif mishap.fault is WatchFault.EXPIRED:
            raise Expired("The simulated history does not reach back that far.")
        else:
            raise Unavailable("The simulated connection broke.", reason="ConnectionReset")

    async def get(self, kind: Kind, name: str, *, namespace: str = "") -> Json:
        """See ports.Cluster."""
        self.outage.check()
        return await self.cluster.get(kind, name, namespace=namespace)

    async def create(self, kind: Kind, body: Json, **where: str) -> Json:
        """See ports.Cluster."""
        self.outage.check()
        return await self.cluster.create(kind, body, **where)

    async def patch(self, kind: Kind, name: str, patch: Json, **where: str) -> Json:
        """See ports.Cluster."""
        self.outage.check()
        return await self.cluster.patch(kind, name, patch, **where)

    async def delete(self, kind: Kind, name: str, **how: Any) -> None:
        """See ports.Cluster."""
        self.outage.check()
        await self.cluster.delete(kind, name, **how)
