"""``ports.Cloud`` over the HTTP face of a simulated cloud (``cloud_api``).

Made by ``cli`` for ``gpu-jit provisioner --cloud URL``. Every failure leaves as one of ``errors``:
no answer and 5xx as Unavailable, a shortage as CapacityError, any other refusal as Rejected.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import aiohttp

from ..core.model import InstanceType
from ..errors import CapacityError, GpuJitError, Rejected, Unavailable
from ..ports import Instance, LaunchRequest, LaunchResult
from . import cloud_wire as wire

T = TypeVar("T")
REQUEST_SECONDS = 30.0
CAPACITY, REFUSED, TROUBLE = 409, 400, 500


class CloudClient:
    """A cloud at ``url``; belongs to one event loop, ``close`` it there."""

    def __init__(self, url: str, token: str, *, request_seconds: float = REQUEST_SECONDS) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"}
        self._timeout = aiohttp.ClientTimeout(total=request_seconds)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def instance_types(self) -> Sequence[InstanceType]:
        """See ports.Cloud."""
        body = await self._call("GET", wire.TYPES)
        return _read(lambda: tuple(wire.instance_type(row) for row in body))

    async def launch(self, request: LaunchRequest) -> LaunchResult:
        """See ports.Cloud."""
        body = await self._call("POST", wire.LAUNCHES, wire.body_of(request))
        return _read(lambda: wire.launch_result(body))

    async def instances(self) -> Sequence[Instance]:
        """See ports.Cloud."""
        body = await self._call("GET", wire.INSTANCES)
        return _read(lambda: tuple(wire.instance(row) for row in body))

    async def terminate(self, instance_ids: Sequence[str]) -> None:
        """See ports.Cloud."""
        await self._call("POST", wire.TERMINATIONS, {"instance_ids": list(instance_ids)})

    async def network_nodes(self, instance_ids: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """See ports.Cloud."""
        asked = {"instance_ids": list(instance_ids)}
        body = await self._call("POST", wire.NETWORK_NODES, asked)
        return _read(lambda: {str(one): tuple(map(str, above)) for one, above in body.items()})

    async def _call(self, method: str, path: str, body: wire.Json | None = None) -> Any:
        if self._session is None:
            self._session = aiohttp.ClientSession(headers=self._headers, timeout=self._timeout)
        try:
            async with self._session.request(
                method, self._url + path, json=body, allow_redirects=False
            ) as answer:
                return _answered(answer.status, await answer.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            what = str(error) or type(error).__name__
            raise Unavailable(f"The cloud did not answer {method} {path}: {what:.200}.") from error


def _answered(status: int, data: bytes) -> Any:
    """The body of a success. Raises what any other answer stands for."""
    try:
        body = json.loads(data)
    except ValueError as error:
        raise Unavailable(f"The cloud's answer (HTTP {status}) is not JSON.") from error
    if status < REFUSED:
        return body
    raise _error(status, body if isinstance(body, dict) else {})


def _error(status: int, body: wire.Json) -> GpuJitError:
    reason = str(body.get("reason") or "")
    message = str(body.get("message") or f"The cloud refused with HTTP {status}.")[:500]
    if status >= TROUBLE:
        return Unavailable(message, reason=reason)
    if status == CAPACITY:
        return CapacityError(message, reason=reason)
    return Rejected(message, reason=reason)


def _read(read: Callable[[], T]) -> T:
    try:
        return read()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unavailable(f"The cloud's answer cannot be read: {error!r:.200}.") from error
