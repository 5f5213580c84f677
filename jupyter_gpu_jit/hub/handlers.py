"""What we add to the hub's own addresses: quotes, cancel, a stream of progress, scripts and styles.

``guard`` holds what we put in front of two of the hub's own. Installed by ``setup(c)``.
"""

from __future__ import annotations

import asyncio
from typing import Any

from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.apihandlers.users import SpawnProgressAPIHandler
from jupyterhub.handlers.static import CacheControlStaticFilesHandler
from jupyterhub.scopes import needs_scope
from jupyterhub.utils import url_escape_path, url_path_join
from tornado import web

from ..core.options import usable_profiles
from ..errors import UserError
from . import form
from .quotes import QuoteClient
from .refusals import BAD_OPTIONS, CANCELLED, Refusal
from .spawner import GpuJitSpawner
from .waiting import until_over

CANCEL_SECONDS = 10.0
_CLIENT = QuoteClient()


def extra_handlers() -> list[tuple[Any, ...]]:
    """Routes below the hub's prefix, for ``c.JupyterHub.extra_handlers``."""
    user = r"/api/gpu-jit/users/([^/]+)"
    return [
        (r"/api/gpu-jit/quotes", QuotesHandler),
        (rf"{user}/server/cancel", CancelHandler),
        (rf"{user}/servers/([^/]+)/cancel", CancelHandler),
        (rf"{user}/server/progress", ProgressHandler),
        (rf"{user}/servers/([^/]+)/progress", ProgressHandler),
        (r"/gpu-jit/static/(.*)", StaticHandler, {"path": form.static_folder()}),
    ]


class StaticHandler(CacheControlStaticFilesHandler):
    """Our scripts and styles; they hold nothing of anybody, so they need no login."""


class QuotesHandler(APIHandler):
    """What the profiles this user may use cost per hour now, and how long they take now."""

    async def get(self) -> None:
        """``{"quotes": {slug: quote} or null}``; null when the service cannot be asked."""
        spawner = self._spawner()
        await spawner.learn_profiles()
        try:
            profiles = usable_profiles(spawner.offered_profiles(), spawner.group_names)
        except UserError as error:
            raise Refusal(BAD_OPTIONS, error.user_message) from error
        quotes = await _CLIENT.quotes(profiles, url=spawner.quotes_url, token=spawner.quotes_token)
        self.set_header("Cache-Control", "no-store")
        self.write({"quotes": quotes})

    def _spawner(self) -> GpuJitSpawner:
        spawner = getattr(self.current_user, "spawner", None)
        if not isinstance(spawner, GpuJitSpawner):
            raise web.HTTPError(403, "Only a user of this hub has quotes.")
        return spawner


class _ServerHandler(APIHandler):
    """Base: the spawner that an address names."""

    def spawner_of(self, user_name: str, server_name: str) -> Any:
        """The spawner object. Raises 404."""
        user = self.find_user(user_name)
        if user is None or server_name not in user.spawners:
            raise web.HTTPError(404, "There is no such server.")
        return user.spawners[server_name]


class CancelHandler(_ServerHandler):
    """End a start that is going on, at whatever stage, leaving nothing behind.

    The hub's own DELETE answers 500 for a start that it took up again after its restart.
    """

    @needs_scope("delete:servers")  # type: ignore[untyped-decorator]  # the hub has no types
    async def post(self, user_name: str, server_name: str = "") -> None:
        """204 when it is over, 202 while the pod is still leaving; 409 when nothing waits."""
        spawner = self.spawner_of(user_name, server_name)
        if spawner.pending not in ("spawn", "check"):
            if spawner.pending == "stop":
                self.set_status(202)
                return
            raise Refusal(CANCELLED, "Nothing is starting here, so there is nothing to cancel.")
        await self._cancel(spawner)
        self.set_status(204 if not spawner.active else 202)

    delete = post

    async def _cancel(self, spawner: Any) -> None:
        future = spawner._spawn_future
        waiting_for_answer = spawner._waiting_for_response or spawner._proxy_pending
        if isinstance(spawner, GpuJitSpawner) and not waiting_for_answer:
            spawner.cancel_start()
            await until_over(spawner, timeout_seconds=CANCEL_SECONDS)
            return
        # The pod runs and the hub waits for its first answer: end that, then stop as usual.
        if future is not None:
            future.cancel()
            await asyncio.wait([future], timeout=CANCEL_SECONDS)
        await self.stop_single_user(spawner.user, spawner.name)


class ProgressHandler(SpawnProgressAPIHandler):
    """The hub's stream of progress, which also speaks of starts taken up again after a restart."""

    @needs_scope("read:servers")  # type: ignore[untyped-decorator]  # the hub has no types
    async def get(self, user_name: str, server_name: str = "") -> None:
        """Server-sent events until the start is over; the last one says ``ready`` or ``failed``."""
        user = self.find_user(user_name)
        spawner = user.spawners[server_name] if user and server_name in user.spawners else None
        if spawner is None or spawner.pending != "check":
            await super().get(user_name, server_name)
            return
        self.set_header("Cache-Control", "no-cache")
        keepalive = asyncio.ensure_future(self.keepalive())
        try:
            async for event in spawner.progress():
                await self.send_event(event)
            await self.send_event(self._last_event(user, spawner))
        finally:
            keepalive.cancel()

    def _last_event(self, user: Any, spawner: Any) -> dict[str, Any]:
        if not spawner.ready:
            message = "The start ended while the hub was restarting; start the server again."
            return {"progress": 100, "failed": True, "message": message}
        url = url_path_join(user.url, url_escape_path(spawner.name), "/")
        return {"progress": 100, "ready": True, "message": "JupyterLab is ready.", "url": url}
