"""The handlers for programs: each finds out who calls, asks, and answers JSON. Used by ``app``.

``pages`` builds on the base. tests/service has one table of handler x role; a route whose handler
has no row there fails it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from http.client import responses
from typing import Any

from tornado.web import HTTPError, RequestHandler

from .. import __version__
from ..errors import GpuJitError, NotFound, TransientError, UserError
from . import view
from .auth import Caller, Identities, bearer, same_token
from .lists import Lists
from .quotes import Quoter

log = logging.getLogger(__name__)

HEADERS = {
    "Content-Type": "application/json; charset=utf-8",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Refused(GpuJitError):
    """The caller may not; ``status`` is 401 (unknown) or 403 (known, not allowed)."""

    def __init__(self, user_message: str, *, reason: str, status: int) -> None:
        super().__init__(user_message, reason=reason)
        self.status = status


class JsonHandler(RequestHandler):
    """Base: security headers, identity, errors as one sentence."""

    def initialize(self, *, identities: Identities, api_token: str) -> None:
        """Arguments of the route."""
        self._identities = identities
        self._api_token = api_token

    def set_default_headers(self) -> None:
        """Also on errors; the server does not name itself."""
        self.clear_header("Server")
        for name, value in HEADERS.items():
            self.set_header(name, value)

    def check_xsrf_cookie(self) -> None:
        """No cookie is looked at, so there is nothing to forge."""

    def token(self) -> str:
        """The token the caller sent, maybe empty."""
        return bearer(self.request.headers.get("Authorization", ""))

    async def caller(self) -> Caller:
        """Who calls. Raises Refused (401), Unavailable."""
        caller = await self._identities.caller(self.token())
        if caller is None:
            raise Refused(
                "This needs a valid token of the hub in the Authorization header.",
                reason="Unauthorized",
                status=401,
            )
        return caller

    def answer(self, body: Mapping[str, Any], *, status: int = 200) -> None:
        """End with that JSON."""
        self.set_status(status)
        self.finish(json.dumps(body, allow_nan=False))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Any failure as ``{"reason", "message"}``; what is not ours stays in the log."""
        error = kwargs.get("exc_info", (None, None))[1]
        status, reason, message = told(error, status_code)
        if status == 401:
            self.set_header("WWW-Authenticate", "token")
        self.answer({"reason": reason, "message": message}, status=status)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Only what nobody foresaw is an error in the log."""
        if isinstance(value, (UserError, TransientError, Refused, HTTPError)):
            return
        log.error("request failed", exc_info=(typ, value, tb))


def told(error: BaseException | None, status_code: int) -> tuple[int, str, str]:
    """Status, reason and sentence of a failure."""
    match error:
        case Refused():
            return error.status, error.reason, error.user_message
        case UserError():
            return 400, error.reason, error.user_message
        case NotFound():
            return 404, error.reason, error.user_message
        case TransientError():
            return 503, error.reason, error.user_message
        case HTTPError() if error.status_code < 500:
            return _of_http(error.status_code)
    return 500, "InternalError", "The service failed; its log says why. Try again in a moment."


def _of_http(status: int) -> tuple[int, str, str]:
    name = responses.get(status, "Error")
    return status, name.replace(" ", ""), f"The request was not understood: {name.lower()}."


class NotFoundHandler(JsonHandler):
    """Everything that is not a route."""

    async def prepare(self) -> None:
        """Whatever the method."""
        raise NotFound("There is nothing at this address.", reason="NotFound")


class HealthHandler(JsonHandler):
    """Whether the process answers; says nothing else, so it needs no token."""

    async def get(self) -> None:
        """Always ok."""
        self.answer({"status": "ok", "version": __version__})


class QuotesHandler(JsonHandler):
    """What each profile costs and how long it takes now; for the hub's spawn page."""

    def initialize(  # type: ignore[override]  # the route hands over one argument more
        self, *, identities: Identities, api_token: str, quoter: Quoter | None
    ) -> None:
        """Arguments of the route."""
        super().initialize(identities=identities, api_token=api_token)
        self._quoter = quoter

    async def post(self) -> None:
        """Body ``{"profiles": [...]}``; answers ``{"quotes": {slug: quote}}``."""
        await self._must_be_hub()
        if self._quoter is None:
            raise NotFound("This service has no prices, so it gives no quotes.", reason="NoPrices")
        self.answer({"quotes": await self._quoter.quotes(_json_object(self.request.body))})

    async def _must_be_hub(self) -> None:
        if same_token(self.token(), self._api_token):
            return
        await self.caller()
        raise Refused("Only the hub may ask for quotes.", reason="Forbidden", status=403)


class SessionHandler(JsonHandler):
    """A user's own session, asked for with the token of that session's server."""

    def initialize(  # type: ignore[override]  # the route hands over two arguments more
        self,
        *,
        identities: Identities,
        api_token: str,
        lists: Lists,
        now: Callable[[], float],
    ) -> None:
        """Arguments of the route."""
        super().initialize(identities=identities, api_token=api_token)
        self._lists = lists
        self._now = now

    async def get(self) -> None:
        """``?server=NAME``, empty for the default server. Raises Refused, NotFound."""
        caller = await self.caller()
        server = self.get_query_argument("server", "", strip=False)
        if not caller.may_control(server):
            raise Refused(
                "This token is not for a server of that name.", reason="Forbidden", status=403
            )
        found = view.find(await self._lists.pods(), user=caller.name, server=server)
        if found is None:
            raise NotFound("No session of that name is running.", reason="NoSession")
        self.answer(await self._described(found))

    async def _described(self, found: view.Found) -> dict[str, Any]:
        return view.describe(
            found,
            claims=await self._lists.claims(),
            nodes=await self._lists.nodes(),
            instance_types=await self._lists.instance_types(),
            now=self._now(),
        )


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UserError('The body must be JSON such as {"profiles": [...]}.', reason="BadBody")
    return value
