"""From the API server's Status objects to our errors; used by ``adapters.kubernetes`` only."""

from __future__ import annotations

import json
from typing import Any

import aiohttp

from ..errors import (
    AlreadyExists,
    Conflict,
    Expired,
    GpuJitError,
    NotFound,
    Rejected,
    Unavailable,
)

_MESSAGE_LIMIT = 256
"""Longer messages quote whole objects, which belong in no log."""


async def raise_for(response: aiohttp.ClientResponse) -> None:
    """Nothing for a success. Raises the error that the answer stands for otherwise."""
    if response.status < 400:
        return
    try:
        status = json.loads(await response.read())
    except ValueError:
        status = None
    if not isinstance(status, dict):
        status = {"message": f"HTTP {response.status} {response.reason}"}
    status["code"] = response.status
    raise error_of(status, retry_after=response.headers.get("Retry-After", ""))


def error_of(status: dict[str, Any], *, retry_after: str = "") -> GpuJitError:
    """The error for a Status object; ``retry_after`` is the header of that name, in seconds."""
    code, reason = int(status.get("code") or 500), str(status.get("reason") or "")
    message = str(status.get("message") or f"HTTP {code}")[:_MESSAGE_LIMIT]
    match code:
        case 404:
            return NotFound(message)
        case 409:
            return AlreadyExists(message) if reason == "AlreadyExists" else Conflict(message)
        case 410:
            return Expired(message)
        case 429 | 500 | 502 | 503 | 504:
            seconds = _retry_seconds(status, retry_after)
            return Unavailable(message, reason=reason, retry_after_seconds=seconds)
    return Rejected(message, reason=reason)


def _retry_seconds(status: dict[str, Any], header: str) -> float:
    asked = (status.get("details") or {}).get("retryAfterSeconds") or header
    try:
        return max(0.0, float(asked or 0))
    except (TypeError, ValueError):
        # The header may also be a date; then the caller's own back-off has to do.
        return 0.0
