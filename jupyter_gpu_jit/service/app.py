"""The web application: its settings, its routes, and how it listens. Called by cli and local.

Every answer of the API is JSON. What goes wrong is one sentence with a stable reason, never a
stack trace.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application

from ..core.packing import USUAL, Policy, WaitModel
from ..ports import Cloud, Cluster
from .auth import Identities, hub_auth
from .board import Board
from .handlers import HealthHandler, NotFoundHandler, QuotesHandler, SessionHandler
from .lists import Lists
from .pages import (
    STATIC,
    CallbackHandler,
    EventsHandler,
    FilesHandler,
    OverviewHandler,
    PageHandler,
)
from .quotes import Quoter

MAX_BODY_BYTES = 1 << 20


def _default_prefix() -> str:
    return os.environ.get("JUPYTERHUB_SERVICE_PREFIX", "/services/gpu-jit/")


def _default_hub_prefix() -> str:
    return os.environ.get("JUPYTERHUB_BASE_URL", "/") + "hub/"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """What an admin sets. ``api_token`` is the service's own at the hub, known to the hub too.

    ``identity_seconds``: how long the hub's word about a token is kept, so how long a revoked
    token may still read its own session. ``list_seconds``: how old a view of the cluster may be.
    ``namespace`` and ``lease_name`` are of the provisioner's lease, where it says what is sold out.
    ``cookie_secret`` signs logins at the status page; with a new one browsers log in again.
    """

    hub_api_url: str
    api_token: str = field(repr=False)
    prefix: str = field(default_factory=_default_prefix)
    hub_prefix: str = field(default_factory=_default_hub_prefix)
    cookie_secret: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    identity_seconds: int = 10
    list_seconds: float = 1.0
    namespace: str = "gpu-jit"
    lease_name: str = "gpu-jit-provisioner"
    policy: Policy = USUAL
    waits: WaitModel = field(default_factory=WaitModel)
    max_usd_per_hour_micro: int | None = None


def make_app(
    cluster: Cluster,
    cloud: Cloud | None,
    *,
    settings: ServiceSettings,
    now: Callable[[], float] = time.time,
) -> Application:
    """The application; without a cloud it has no quotes. ``now`` gives epoch seconds."""
    lists = Lists(
        cluster,
        cloud,
        max_age_seconds=settings.list_seconds,
        lease=(settings.namespace, settings.lease_name),
    )
    prefix = f"/{settings.prefix.strip('/')}/"
    hub = hub_auth(
        hub_api_url=settings.hub_api_url,
        api_token=settings.api_token,
        prefix=prefix,
        hub_prefix=settings.hub_prefix,
        max_age_seconds=settings.identity_seconds,
    )
    shared = {"identities": Identities(hub), "api_token": settings.api_token}
    quoter = None if cloud is None else _quoter(lists, settings, now)
    root = prefix + "api/v1/"
    return Application(
        [
            (root + "health", HealthHandler, shared),
            (root + "quotes", QuotesHandler, {**shared, "quoter": quoter}),
            (root + "session", SessionHandler, {**shared, "lists": lists, "now": now}),
            *_page_routes(prefix, root, {**shared, "board": Board(lists, now=now)}),
        ],
        default_handler_class=NotFoundHandler,
        default_handler_args=shared,
        log_function=_log_nothing,
        cookie_secret=settings.cookie_secret,
    )


def _page_routes(prefix: str, root: str, shared: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The status page's own."""
    return [
        (prefix + "?", PageHandler, shared),
        (prefix + "oauth_callback", CallbackHandler, shared),
        (prefix + r"static/([a-z_]+\.(?:js|css))", FilesHandler, {"path": STATIC}),
        (root + "overview", OverviewHandler, shared),
        (root + "events", EventsHandler, shared),
    ]


def _quoter(lists: Lists, settings: ServiceSettings, now: Callable[[], float]) -> Quoter:
    return Quoter(
        lists,
        policy=settings.policy,
        waits=settings.waits,
        now=now,
        max_usd_per_hour_micro=settings.max_usd_per_hour_micro,
    )


def _log_nothing(handler: object) -> None:
    """No access log: panels ask every few seconds; failures are logged where they happen."""


def serve(app: Application, *, address: str = "127.0.0.1", port: int = 0) -> tuple[HTTPServer, int]:
    """Listen with a limit on bodies; the server (stop it with ``stop``) and its port."""
    server = HTTPServer(app, max_body_size=MAX_BODY_BYTES, max_header_size=16 << 10)
    sockets = bind_sockets(port, address=address)
    server.add_sockets(sockets)
    return server, int(sockets[0].getsockname()[1])
