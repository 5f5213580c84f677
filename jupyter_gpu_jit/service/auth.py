"""Who is calling: tokens are judged by the hub, and by nothing else.

The API for programs looks at the Authorization header only. The status page also takes the
cookie of a login through the hub (OAuth), with the hub's own XSRF rules: a script of another page,
also one on a user's server, is answered as if nobody were logged in. Tokens in URLs are ignored
everywhere. Called by the handlers.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jupyterhub.services.auth import HubOAuth, check_scopes
from tornado.web import HTTPError

from ..core.overview import Viewer
from ..errors import Unavailable

SERVICE = "gpu-jit"
SCOPE = "custom:gpu-jit:control"
ACCESS_SCOPE = f"access:services!service={SERVICE}"
# Whoever may open the hub's admin page, and whoever an admin's role gives ours to.
SEE_ALL_SCOPES = frozenset({"admin-ui", "custom:gpu-jit:read"})
_HEADER = re.compile(r"(?:token|bearer)\s+(\S+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An identity the hub vouches for; ``kind`` is user or service."""

    name: str
    kind: str
    scopes: frozenset[str]

    @classmethod
    def of(cls, model: Mapping[str, Any]) -> Caller:
        """From what the hub says of a token."""
        return cls(
            name=str(model["name"]),
            kind=str(model.get("kind", "")),
            scopes=frozenset(model.get("scopes") or ()),
        )

    def may_control(self, server: str) -> bool:
        """Whether this is a user whose token is for their own server of that name."""
        needed = f"{SCOPE}!server={self.name}/{server}"
        return self.kind == "user" and bool(check_scopes({needed}, self.scopes))

    def may_open(self) -> bool:
        """Whether the status page may be opened at all, if only for one's own sessions."""
        return bool(check_scopes({ACCESS_SCOPE}, self.scopes))

    def viewer(self, *, logged_in: bool) -> Viewer:
        """What of the status page is shown: everything, or own sessions.

        ``logged_in``: through our own login, so all of a user's sessions are theirs to see; a
        token sent by a program shows the servers it may control.
        """
        if check_scopes(set(SEE_ALL_SCOPES), self.scopes):
            return Viewer(name=self.name, everything=True)
        return Viewer(name=self.name, may=self._may_see_any if logged_in else self._may_see)

    def _may_see(self, user: str, server: str) -> bool:
        return user == self.name and self.may_control(server)

    def _may_see_any(self, user: str, server: str) -> bool:
        return self.kind == "user" and user == self.name


def bearer(header: str) -> str:
    """The token of an Authorization header, empty when there is none."""
    found = _HEADER.fullmatch(header.strip())
    return found.group(1) if found else ""


def same_token(given: str, expected: str) -> bool:
    """Whether a token is the expected one, in constant time; nothing equals an empty one."""
    return bool(expected) and hmac.compare_digest(given.encode(), expected.encode())


def hub_auth(
    *, hub_api_url: str, api_token: str, prefix: str, hub_prefix: str, max_age_seconds: int
) -> HubOAuth:
    """The hub's side of a login; what the hub says of a token is kept ``max_age_seconds``."""
    return HubOAuth(
        api_url=hub_api_url,
        api_token=api_token,
        base_url=prefix,
        hub_prefix=hub_prefix,
        oauth_client_id=f"service-{SERVICE}",
        oauth_redirect_uri=f"{prefix}oauth_callback",
        cookie_options={"samesite": "Lax"},
        allow_token_in_url=False,
        cache_max_age=max_age_seconds,
    )


class Identities:
    """Asks the hub about tokens; its answers, also negative ones, are kept for some seconds.

    So a revoked token may be accepted for that long.
    """

    def __init__(self, hub: HubOAuth) -> None:
        self.hub = hub

    async def caller(self, token: str, *, session_id: str = "") -> Caller | None:
        """Whose token it is; None when the hub does not know it. Raises Unavailable.

        ``session_id``: of the browser's login at the hub, which ends with it.
        """
        if not token:
            return None
        try:
            model = await self.hub.user_for_token(token, session_id=session_id, sync=False)
        except HTTPError as error:
            raise Unavailable(
                "The hub could not be asked whose token this is; try again in a moment."
            ) from error
        return None if model is None else Caller.of(model)
