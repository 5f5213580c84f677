"""The status page: the page itself, its login, its files, and what it shows, at once or live.

Nothing here changes anything, so there is nothing a forged request could do; what a page of
somebody else could *read* is kept from it by the hub's XSRF rules (``auth``).
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from html import escape
from importlib.resources import files
from typing import Any

from jupyterhub.services.auth import HubOAuthCallbackHandler, HubOAuthenticated
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, StaticFileHandler

from ..core.overview import Viewer
from ..errors import Unavailable
from .auth import Caller, Identities
from .board import Board
from .handlers import HEADERS, JsonHandler, Refused, told

STATIC = str(files("jupyter_gpu_jit.service") / "static")
TEMPLATES = files("jupyter_gpu_jit.service") / "templates"
PAGE_POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'none'; object-src 'none'; "
    "frame-ancestors 'none'"
)
KEEP_ALIVE_SECONDS = 8.0
_GAP = re.compile("@([a-z]+)@")


class LoginHandler(HubOAuthenticated, JsonHandler):  # type: ignore[misc]  # the hub has no types
    """Base of what a browser opens: a login cookie counts, and so does a token in the header."""

    def initialize(  # type: ignore[override]  # the route hands over one argument more
        self, *, identities: Identities, api_token: str, board: Board
    ) -> None:
        """Arguments of the route."""
        super().initialize(identities=identities, api_token=api_token)
        self.hub_auth = identities.hub
        self.board = board
        self._model: Any = None

    async def whoever(self) -> Caller | None:
        """Who is logged in or sent a token; None for nobody. Raises Unavailable."""
        try:
            model = await self.hub_auth.get_user(self, sync=False)
        except HTTPError as error:
            raise Unavailable(
                "The hub could not be asked who you are; try again in a moment."
            ) from error
        self._model = model
        return None if model is None else Caller.of(model)

    def get_current_user(self) -> Any:
        """Whoever ``whoever`` found; upstream's asks the hub and holds up everybody meanwhile."""
        return self._model

    async def viewer(self) -> Viewer:
        """What this request may see. Raises Refused (401, 403), Unavailable."""
        return self._viewer_of(await self.whoever())

    async def viewer_still(self) -> Viewer:
        """The same later on: the login may have ended since. Raises as ``viewer``."""
        token = self.hub_auth.get_token(self) or ""
        session_id = self.hub_auth.get_session_id(self)
        return self._viewer_of(await self._identities.caller(token, session_id=session_id))

    def _viewer_of(self, caller: Caller | None) -> Viewer:
        if caller is None:
            raise Refused("You are not logged in here.", reason="Unauthorized", status=401)
        if not caller.may_open():
            raise Refused(
                "Your account may not open this page; an administrator of the hub can change that.",
                reason="Forbidden",
                status=403,
            )
        return caller.viewer(logged_in=not getattr(self, "_token_authenticated", False))


class OverviewHandler(LoginHandler):
    """What the page shows, as JSON."""

    async def get(self) -> None:
        """The picture of now. Raises Refused, Unavailable."""
        self.answer(await self.board.picture(await self.viewer()))


class EventsHandler(LoginHandler):
    """The same, live: server-sent events, one for each change, until the login ends.

    Events: ``overview`` (the whole picture), ``trouble`` (a sentence, "" when it is over) and
    ``end`` (why nothing more comes).
    """

    def initialize(self, **arguments: Any) -> None:
        """Arguments of the route."""
        super().initialize(**arguments)
        self._gone = asyncio.Event()
        self._last: dict[str, str] = {"trouble": json.dumps("")}

    def on_connection_close(self) -> None:
        """Nobody reads any more."""
        self._gone.set()

    async def get(self) -> None:
        """Stream. Raises Refused and Unavailable before the first event only."""
        viewer = await self.viewer()
        picture = await self.board.picture(viewer)
        self.set_header("Content-Type", "text/event-stream; charset=utf-8")
        self.set_header("X-Accel-Buffering", "no")
        try:
            await self._send("overview", picture)
            with self.board.watching():
                await self._follow()
        except StreamClosedError:
            self._gone.set()

    async def _follow(self) -> None:
        quiet_since = asyncio.get_running_loop().time()
        while await self._next_look():
            viewer = await self._viewer_or_end()
            if viewer is None:
                return
            sent = await self._send("trouble", self.board.trouble)
            sent |= await self._send("overview", self.board.known(viewer))
            now = asyncio.get_running_loop().time()
            if sent or now - quiet_since >= KEEP_ALIVE_SECONDS:
                quiet_since = now
                if not sent:
                    await self._write(": still here\n\n")

    async def _next_look(self) -> bool:
        """Wait for it; false when the reader has gone meanwhile."""
        waits = [asyncio.ensure_future(w) for w in (self.board.next_look(), self._gone.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return not self._gone.is_set()

    async def _viewer_or_end(self) -> Viewer | None:
        """Asked at every look; the hub's word is kept for some seconds, so that costs little."""
        try:
            return await self.viewer_still()
        except Refused as error:
            await self._send("end", error.user_message)
        except Unavailable:
            # Nobody can say whether the login still holds, so nothing more is shown.
            await self._send("end", "The hub does not answer; reload this page in a moment.")
        return None

    async def _send(self, event: str, data: Any) -> bool:
        """Send unless that was the last of its kind; whether it was sent."""
        text = json.dumps(data, allow_nan=False)
        if self._last.get(event) == text:
            return False
        self._last[event] = text
        await self._write(f"event: {event}\ndata: {text}\n\n")
        return True

    async def _write(self, text: str) -> None:
        self.write(text)
        await self.flush()


class PageHandler(LoginHandler):
    """The page; whoever is not logged in is sent to the hub first."""

    def set_default_headers(self) -> None:
        """As everywhere, but this one is shown."""
        super().set_default_headers()
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Content-Security-Policy", PAGE_POLICY)

    async def get(self) -> None:
        """The page, or the way to the login. Raises Refused (403), Unavailable."""
        if not self.request.path.endswith("/"):
            # The login's cookie is for addresses below this one.
            self.redirect(self.hub_auth.base_url)
            return
        caller = await self.whoever()
        if caller is None:
            self.redirect(self.get_login_url())
            return
        self._viewer_of(caller)
        values = {
            "name": caller.name,
            "xsrf": self.xsrf_token.decode(),
            "hub": self.hub_auth.hub_prefix,
            "now": str(time.time()),
        }
        self.finish(filled("status.html", self.hub_auth.base_url, **values))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """A sentence on a page of the same look."""
        status, _, message = told(kwargs.get("exc_info", (None, None))[1], status_code)
        self.set_status(status)
        values = {"message": message, "hub": self.hub_auth.hub_prefix}
        self.finish(filled("sorry.html", self.hub_auth.base_url, **values))


class CallbackHandler(HubOAuthCallbackHandler, PageHandler):  # type: ignore[misc]  # as above
    """The end of a login at the hub."""

    async def prepare(self) -> None:
        """Who is logged in already, asked without blocking everybody else."""
        await self.whoever()


class FilesHandler(StaticFileHandler):
    """Scripts and styles of the page; they hold nothing of anybody, so they need no login."""

    def set_default_headers(self) -> None:
        """As everywhere; kept by browsers only until asked again."""
        self.clear_header("Server")
        for name, value in HEADERS.items():
            if name != "Content-Type":
                self.set_header(name, value)
        self.set_header("Cache-Control", "no-cache")


def filled(template: str, base: str, **values: str) -> str:
    """A page of ours with each ``@name@`` replaced, escaped. Nobody's text is a template here."""
    known = {"base": base, **values}
    text = (TEMPLATES / template).read_text()
    return _GAP.sub(lambda gap: escape(known[gap[1]], quote=True), text)
