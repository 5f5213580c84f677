"""Who is calling: tokens are judged by the hub, and by nothing else.

Only the Authorization header is looked at. Cookies and tokens in URLs are ignored, so no page
of another origin can act for a user here. Called by the handlers.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jupyterhub.services.auth import HubAuth, check_scopes
from tornado.web import HTTPError

from ..errors import Unavailable

SCOPE = "custom:gpu-jit:control"
_HEADER = re.compile(r"(?:token|bearer)\s+(\S+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An identity the hub vouches for; ``kind`` is user or service."""

    name: str
    kind: str
    scopes: frozenset[str]

    def may_control(self, server: str) -> bool:
        """Whether this is a user whose token is for their own server of that name."""
        needed = f"{SCOPE}!server={self.name}/{server}"
        return self.kind == "user" and bool(check_scopes({needed}, self.scopes))


def bearer(header: str) -> str:
    """The token of an Authorization header, empty when there is none."""
    found = _HEADER.fullmatch(header.strip())
    return found.group(1) if found else ""


def same_token(given: str, expected: str) -> bool:
    """Whether a token is the expected one, in constant time; nothing equals an empty one."""
    return bool(expected) and hmac.compare_digest(given.encode(), expected.encode())


class Identities:
    """Asks the hub about tokens; answers, also negative ones, are kept ``max_age_seconds``.

    So a revoked token may be accepted for that long.
    """

    def __init__(self, *, hub_api_url: str, api_token: str, max_age_seconds: int) -> None:
        self._hub = HubAuth(api_url=hub_api_url, api_token=api_token, cache_max_age=max_age_seconds)

    async def caller(self, token: str) -> Caller | None:
        """Whose token it is; None when the hub does not know it. Raises Unavailable."""
        if not token:
            return None
        try:
            model = await self._hub.user_for_token(token, sync=False)
        except HTTPError as error:
            raise Unavailable(
                "The hub could not be asked whose token this is; try again in a moment."
            ) from error
        return None if model is None else _caller(model)


def _caller(model: Mapping[str, Any]) -> Caller:
    return Caller(
        name=str(model["name"]),
        kind=str(model.get("kind", "")),
        scopes=frozenset(model.get("scopes") or ()),
    )
