"""Asks the service about this session, with the token of this server. Called by ``widgets``.

Standard library only: a kernel must be able to use it whatever else is installed there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from http.client import HTTPException
from typing import Any, cast
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from ..errors import NotFound, Unavailable, UserError

TIMEOUT_SECONDS = 5.0
MAX_ANSWER_BYTES = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo:
    """This session as the service last told it; money in USD, unknown texts are empty.

    ``usd_per_hour`` is the session's share of ``node_usd_per_hour``; ``started_at`` is RFC 3339.
    """

    user: str = ""
    server: str = ""
    profile: str = ""
    stage: str = ""
    message: str = ""
    gpus: int = 0
    gpu_model: str = ""
    node: str = ""
    instance_type: str = ""
    zone: str = ""
    capacity_type: str = ""
    usd_per_hour: float = 0.0
    node_usd_per_hour: float = 0.0
    started_at: str | None = None
    running_seconds: float = 0.0
    spent_usd: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Where to ask and as whom; the token is in no repr."""

    api_url: str
    token: str = field(repr=False)
    server: str = ""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Connection:
        """What the spawner put into this server's environment. Raises UserError outside one."""
        api_url, token = environ.get("GPU_JIT_API_URL", ""), environ.get("JUPYTERHUB_API_TOKEN", "")
        if not api_url or not token:
            raise UserError(
                "This notebook does not run in a session of jupyter_gpu_jit; "
                "start your server from the hub's spawn page to get one.",
                reason="NoSession",
            )
        if urlsplit(api_url).scheme not in ("http", "https"):
            raise UserError(
                "GPU_JIT_API_URL is not an http address; ask an administrator of this hub.",
                reason="BadAddress",
            )
        server = environ.get("JUPYTERHUB_SERVER_NAME", "")
        return cls(api_url=api_url.rstrip("/") + "/", token=token, server=server)


class _NoRedirects(HTTPRedirectHandler):
    """A redirect would carry the token to wherever it points: it is an error instead."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Never."""


# No proxy of the environment either: it would see the token.
_OPENER = build_opener(ProxyHandler({}), _NoRedirects())


def fetch(connection: Connection) -> SessionInfo:
    """This session now; takes at most a few seconds.

    Raises UserError (the token is refused), NotFound (no such session), Unavailable.
    """
    url = f"{connection.api_url}session?{urlencode({'server': connection.server})}"
    request = Request(url, headers={"Authorization": f"token {connection.token}"})
    try:
        with _OPENER.open(request, timeout=TIMEOUT_SECONDS) as response:
            body = response.read(MAX_ANSWER_BYTES)
    except HTTPError as error:
        with error:
            raise _refusal(error.code) from None
    except (OSError, HTTPException):
        raise Unavailable("The service cannot be reached; trying again.") from None
    return _read(body)


def _refusal(status: int) -> UserError | NotFound | Unavailable:
    if status in (401, 403):
        return UserError(
            "The service refuses this server's token; stop and start your server to get a new one.",
            reason="Forbidden",
        )
    if status == 404:
        return NotFound("The service does not know this session (yet); trying again.")
    return Unavailable(f"The service answered {status}; trying again.")


def _read(body: bytes) -> SessionInfo:
    try:
        told = json.loads(body)
        return SessionInfo(**{name: _typed(told[name], old) for name, old in _DEFAULTS.items()})
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Unavailable("The service gave an answer nobody can read; trying again.") from None


_DEFAULTS: dict[str, object] = {each.name: each.default for each in fields(SessionInfo)}


def _typed(value: object, default: object) -> Any:
    """The value in the type of the field; None only where None is the default."""
    if default is None:
        return None if value is None else str(value)
    if not isinstance(value, (str, int, float)):
        raise TypeError("not a plain value")
    return cast("type[Any]", type(default))(value)
