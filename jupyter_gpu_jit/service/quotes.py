"""What each profile costs and how long it takes now, as the planner itself would answer.

Called by the quotes handler; one calculation at a time, in a thread, so that the service stays
able to answer others meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from ..core import snapshot
from ..core.dry import closed
from ..core.model import Profile, Snapshot
from ..core.options import parse_profiles
from ..core.packing import Policy, Quote, WaitModel, quote
from ..errors import UserError
from .lists import Lists


class Quoter:
    """Quotes over the cluster as the lists show it."""

    def __init__(
        self,
        lists: Lists,
        *,
        policy: Policy,
        waits: WaitModel,
        now: Callable[[], float],
        max_usd_per_hour_micro: int | None = None,
    ) -> None:
        self._lists = lists
        self._policy, self._waits = policy, waits
        self._now = now
        self._max_usd_per_hour_micro = max_usd_per_hour_micro
        self._one_at_a_time = asyncio.Lock()

    async def quotes(self, body: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """By slug, for ``{"profiles": [...]}``. Raises UserError, Unavailable."""
        if "profiles" not in body:
            raise UserError('The body has no "profiles".', reason="BadBody")
        profiles = parse_profiles(body["profiles"])
        async with self._one_at_a_time:
            seen = await self._snapshot()
            found = await asyncio.to_thread(self._work_out, seen, profiles)
        return {each.slug: asdict(each) for each in found}

    async def _snapshot(self) -> Snapshot:
        now, dry = self._now(), await self._lists.dry()
        types = await self._lists.instance_types()
        made = snapshot.build(
            pods=await self._lists.pods(),
            nodes=await self._lists.nodes(),
            claims=await self._lists.claims(),
            instance_types=types,
            now=now,
            max_usd_per_hour_micro=self._max_usd_per_hour_micro,
            excluded=dry.excluded(types, now=now),
        )
        return replace(made, quotas=closed(made.quotas, dry.without_quota(now=now)))

    def _work_out(self, seen: Snapshot, profiles: tuple[Profile, ...]) -> tuple[Quote, ...]:
        return quote(seen, profiles, self._policy, waits=self._waits)
