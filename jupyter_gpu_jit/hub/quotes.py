"""Prices and waits for the spawn page, asked from the service by the hub on a user's behalf.

The page never fails because the service does: then every profile is "price unknown".
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Sequence
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPError, HTTPRequest

from ..core.model import Profile
from ..core.options import profile_to_dict

log = logging.getLogger(__name__)

CACHE_SECONDS = 1.0
TIMEOUT_SECONDS = 3.0
Quotes = dict[str, Any]


class QuoteClient:
    """One per hub process; an answer is kept a second and serves all who ask meanwhile."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[float, asyncio.Future[Quotes | None]]] = {}

    async def quotes(self, profiles: Sequence[Profile], *, url: str, token: str) -> Quotes | None:
        """Quotes by slug as the service gives them; None when it cannot be had now."""
        if not url:
            return None
        body = json.dumps({"profiles": [profile_to_dict(p) for p in profiles]}, sort_keys=True)
        now = time.monotonic()
        self._kept = {key: kept for key, kept in self._kept.items() if kept[0] > now}
        if body not in self._kept:
            asking = asyncio.ensure_future(_ask(url, token, body))
            self._kept[body] = (now + CACHE_SECONDS, asking)
        return await asyncio.shield(self._kept[body][1])


async def _ask(url: str, token: str, body: str) -> Quotes | None:
    request = HTTPRequest(
        url,
        method="POST",
        body=body,
        headers={"Authorization": f"token {token}", "Content-Type": "application/json"},
        request_timeout=TIMEOUT_SECONDS,
        connect_timeout=TIMEOUT_SECONDS,
        follow_redirects=False,
    )
    try:
        answer = await AsyncHTTPClient().fetch(request)
        quotes = json.loads(answer.body)["quotes"]
    except (OSError, HTTPError, ValueError, KeyError, TypeError) as error:
        log.warning("no quotes from the service", extra={"reason": str(error)})
        return None
    return quotes if isinstance(quotes, dict) else None
