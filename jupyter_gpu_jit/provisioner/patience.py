"""The cloud as the provisioner calls it: while it does not answer, one call at a time asks again.

Many claims and batches are worked on side by side, each with its own backoff; together they would
storm a cloud that is down. Here the first failure closes the door for all: a second, then twice
as long each time. Whoever comes meanwhile is told so without a call, and tries again later.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from ..core.model import InstanceType
from ..errors import TransientError, Unavailable
from ..ports import Clock, Cloud, Instance, LaunchRequest, LaunchResult

T = TypeVar("T")
_FIRST_SECONDS, _LAST_SECONDS = 1.0, 15.0


class PatientCloud:
    """``ports.Cloud`` that calls ``back`` when the cloud answers again."""

    def __init__(self, cloud: Cloud, clock: Clock, *, back: Callable[[], None]) -> None:
        self._cloud = cloud
        self._clock = clock
        self._back = back
        self._pause = 0.0
        self._closed_until = 0.0

    async def _call(self, call: Callable[[], Awaitable[T]]) -> T:
        now, tries = self._clock.now(), self._pause > 0
        if tries:
            if now < self._closed_until:
                raise TransientError("The cloud does not answer.", reason="CloudAway")
            # This call is the one that tries; no other may before it has had its time.
            self._closed_until = now + self._pause
        try:
            result = await call()
        except Unavailable:
            # Those that were under way when the door was closed say nothing new.
            if tries or not self._pause:
                self._close()
            raise
        if self._pause:
            self._pause = 0.0
            self._back()
        return result

    def _close(self) -> None:
        self._pause = min(max(2 * self._pause, _FIRST_SECONDS), _LAST_SECONDS)
        self._closed_until = self._clock.now() + self._pause

    async def instance_types(self) -> Sequence[InstanceType]:
        """See ports.Cloud."""
        return await self._call(self._cloud.instance_types)

    async def launch(self, request: LaunchRequest) -> LaunchResult:
        """See ports.Cloud."""
        return await self._call(lambda: self._cloud.launch(request))

    async def instances(self) -> Sequence[Instance]:
        """See ports.Cloud."""
        return await self._call(self._cloud.instances)

    async def terminate(self, instance_ids: Sequence[str]) -> None:
        """See ports.Cloud."""
        await self._call(lambda: self._cloud.terminate(instance_ids))

    async def network_nodes(self, instance_ids: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """See ports.Cloud."""
        return await self._call(lambda: self._cloud.network_nodes(instance_ids))
