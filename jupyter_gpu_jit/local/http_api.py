"""The in-memory cluster behind HTTP: what the demo's hub, service and ``kubectl get`` talk to.

Serves the calls that KubeSpawner, ``kubernetes.aio`` and ``kubectl get -o yaml|json`` make;
anything else is answered 501 with its name, so that nobody mistakes a gap for a success.
Started by ``local.demo`` and by tests, on loopback only.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from ..errors import Expired, GpuJitError, Rejected, Unavailable, UserError
from ..ports import (
    PODS,
    STORAGE_CLASSES,
    VOLUME_ATTACHMENTS,
    VOLUME_CLAIMS,
    VOLUMES,
    Kind,
    WatchEvent,
)
from ..sim.cluster import MemoryCluster
from .http_discovery import describe
from .http_status import failure, status_of, success

Json = dict[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

BODY_LIMIT_BYTES = 3 << 20
"""As kube-apiserver limits a request."""

_MERGE = "application/merge-patch+json"
_STRATEGIC = "application/strategic-merge-patch+json"
_TRUE = ("true", "1", "t", "T", "True", "TRUE")
_RETURNS_OBJECT_ON_DELETE = (PODS, VOLUME_CLAIMS, VOLUMES, STORAGE_CLASSES, VOLUME_ATTACHMENTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """What a URL names; ``name`` and ``subresource`` may be empty."""

    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""


class KubernetesApi:
    """HTTP server of one MemoryCluster.

    Every request needs the token: as bearer token, or as the first segment of the path, because
    kubectl sends no credentials over plain HTTP (``kubeconfig`` has such a URL). The token must
    therefore be of characters a URL keeps.
    """

    def __init__(self, cluster: MemoryCluster, token: str) -> None:
        self._cluster, self._token, self._url = cluster, token, ""
        self._watches: set[asyncio.Task[Any]] = set()
        self._runner: web.AppRunner | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen; the base URL. Raises UserError for an address that is not loopback."""
        if not ipaddress.ip_address(host).is_loopback:
            raise UserError(
                f"{host} is not a loopback address; the demo's API stays on this machine."
            )
        app = web.Application(client_max_size=BODY_LIMIT_BYTES, middlewares=[self._guard])
        app.router.add_route("*", "/{path:.*}", self._dispatch)
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        bound_host, bound_port = self._runner.addresses[0][:2]
        shown = f"[{bound_host}]" if ":" in bound_host else bound_host
        self._url = f"http://{shown}:{bound_port}"
        return self._url

    def kubeconfig(self, namespace: str = "default") -> Json:
        """A kubeconfig for kubectl and every other client, to be written as JSON, mode 0600."""
        server = f"{self._url}/{self._token}"
        context = {"cluster": "local", "user": "local", "namespace": namespace}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "local", "cluster": {"server": server}}],
            "users": [{"name": "local", "user": {"token": self._token}}],
            "contexts": [{"name": "local", "context": context}],
            "current-context": "local",
        }

    async def stop(self) -> None:
        """End open watches and stop listening."""
        for task in list(self._watches):
            task.cancel()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    # --- the way in -----------------------------------------------------------------------------

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Token first, and every error as a Status object."""
        if not self._is_allowed(request):
            return failure(401, "Unauthorized", "Unauthorized")
        try:
            return await handler(request)
        except GpuJitError as error:
            return status_of(error)
        except web.HTTPRequestEntityTooLarge:
            return failure(413, "RequestEntityTooLarge", "The request body is above 3 MiB.")

    def _is_allowed(self, request: web.Request) -> bool:
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        segment = request.path.strip("/").partition("/")[0]
        return (scheme == "Bearer" and self._is_token(bearer)) or self._is_token(segment)

    def _path(self, request: web.Request) -> str:
        """The path without the token, and so fit to be shown."""
        first, _, rest = request.path.strip("/").partition("/")
        return f"/{rest if self._is_token(first) else request.path.strip('/')}"

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        path = self._path(request)
        if request.method == "GET":
            if path in ("/healthz", "/livez", "/readyz"):
                return web.Response(text="ok")
            described = describe(path, self._cluster.kinds)
            if described is not None:
                return web.json_response(described)
        address = self._address(path)
        handler = self._handler(request, address) if address else None
        if address is None or handler is None:
            return _not_served(request, path)
        return await handler(request, address)

    def _address(self, path: str) -> Address | None:
        """What the path names, or None when it is not one of our kinds."""
        parts = path.strip("/").split("/")
        if parts[0] == "api" and len(parts) > 2:
            group, version, rest = "", parts[1], parts[2:]
        elif parts[0] == "apis" and len(parts) > 3:
            group, version, rest = parts[1], parts[2], parts[3:]
        else:
            return None
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        kinds = (r.kind for r in self._cluster.kinds)
        wanted = (group, version, rest[0])
        kind = next((k for k in kinds if (k.group, k.version, k.plural) == wanted), None)
        if kind is None or len(rest) > 3 or (namespace and not kind.namespaced):
            return None
        name, subresource = [*rest[1:], "", ""][:2]
        return Address(kind=kind, namespace=namespace, name=name, subresource=subresource)

    def _handler(
        self, request: web.Request, address: Address
    ) -> Callable[[web.Request, Address], Awaitable[web.StreamResponse]] | None:
        """The method that serves this call, or None."""
        if request.query.get("dryRun"):
            return None
        whole = not address.subresource
        match request.method:
            case "GET" if address.name and whole:
                return self._get
            case "GET" if whole:
                return self._watch if request.query.get("watch", "") in _TRUE else self._list
            case "POST" if whole and not address.name:
                return self._create
            case "POST" if address.subresource == "binding" and address.kind == PODS:
                return self._bind
            case "PATCH" if address.name and address.subresource in ("", "status"):
                return self._patch
            case "DELETE" if address.name and whole:
                return self._delete
        return None

    # --- the calls ------------------------------------------------------------------------------

    async def _get(self, _: web.Request, at: Address) -> web.Response:
        obj = await self._cluster.get(at.kind, at.name, namespace=at.namespace)
        return web.json_response(obj)

    async def _list(self, request: web.Request, at: Address) -> web.Response:
        listing = await self._cluster.list(at.kind, namespace=at.namespace, **_selectors(request))
        _check_freshness(request.query, listing.resource_version)
        return web.json_response(
            {
                "kind": f"{at.kind.kind}List",
                "apiVersion": at.kind.api_version,
                "metadata": {"resourceVersion": listing.resource_version},
                "items": listing.items,
            }
        )

    async def _create(self, request: web.Request, at: Address) -> web.Response:
        body = await _json_body(request)
        stored = await self._cluster.create(at.kind, body, namespace=at.namespace)
        return web.json_response(stored, status=201)

    async def _bind(self, request: web.Request, at: Address) -> web.Response:
        body = await _json_body(request)
        stored = await self._cluster.create(
            at.kind, body, namespace=at.namespace, name=at.name, subresource="binding"
        )
        return web.json_response(stored, status=201)

    async def _patch(self, request: web.Request, at: Address) -> web.Response:
        body = await _json_body(request)
        # A strategic merge differs from a JSON merge only in lists (and in "$..." directives).
        plain = request.content_type == _MERGE
        if not plain and (request.content_type != _STRATEGIC or not _is_flat(body)):
            return _not_served(request, f"{self._path(request)} with {request.content_type}")
        stored = await self._cluster.patch(
            at.kind, at.name, body, namespace=at.namespace, subresource=at.subresource
        )
        return web.json_response(stored)

    async def _delete(self, request: web.Request, at: Address) -> web.Response:
        options = await _json_body(request) if request.body_exists else {}
        if options.get("dryRun"):
            return _not_served(request, f"{self._path(request)} with dryRun")
        preconditions = options.get("preconditions") or {}
        left = await self._cluster.remove(
            at.kind,
            at.name,
            namespace=at.namespace,
            uid=preconditions.get("uid") or "",
            resource_version=preconditions.get("resourceVersion") or "",
            grace_seconds=_grace(request.query, options),
        )
        if at.kind in _RETURNS_OBJECT_ON_DELETE or "deletionTimestamp" in left["metadata"]:
            return web.json_response(left)
        return success({"name": at.name, "kind": at.kind.plural, "uid": left["metadata"]["uid"]})

    # --- watches --------------------------------------------------------------------------------

    async def _watch(self, request: web.Request, at: Address) -> web.StreamResponse:
        query = request.query
        if query.get("sendInitialEvents") in _TRUE:
            raise Rejected("sendInitialEvents: Forbidden: it is not served here", reason="Invalid")
        events = self._cluster.watch(
            at.kind,
            resource_version=query.get("resourceVersion", ""),
            namespace=at.namespace,
            timeout_seconds=_seconds(query.get("timeoutSeconds")),
            **_selectors(request),
        )
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        bookmarks = query.get("allowWatchBookmarks") in _TRUE
        task = asyncio.current_task()
        assert task is not None
        self._watches.add(task)
        try:
            # A client that hangs up is no error.
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await _stream(response, events, bookmarks=bookmarks)
        finally:
            self._watches.discard(task)
        return response


async def _stream(response: web.StreamResponse, events: Any, *, bookmarks: bool) -> None:
    """One JSON document a line; an error after the headers travels as an event, as upstream."""
    async with contextlib.aclosing(events):
        try:
            async for event in events:
                if bookmarks or event.type != "BOOKMARK":
                    await response.write(_line(event))
        except (Expired, Unavailable, Rejected) as error:
            status = json.loads(status_of(error).text or "{}")
            await response.write(_line(WatchEvent("ERROR", status)))
    await response.write_eof()


def _line(event: WatchEvent) -> bytes:
    return json.dumps({"type": event.type, "object": event.object}).encode() + b"\n"


def _selectors(request: web.Request) -> Mapping[str, str]:
    return {
        "label_selector": request.query.get("labelSelector", ""),
        "field_selector": request.query.get("fieldSelector", ""),
    }


def _check_freshness(query: Mapping[str, str], current: str) -> None:
    """Whether a list may be answered with the current state. Raises Expired or Unavailable."""
    wanted, match = query.get("resourceVersion", ""), query.get("resourceVersionMatch", "")
    if query.get("continue"):
        raise Expired("The continue token is not one of ours; list again from the start.")
    if match == "Exact" and wanted != current:
        raise Expired(f"resourceVersion {wanted} is not kept; list again without it.")
    if wanted.isdigit() and int(wanted) > int(current):
        raise Unavailable(
            f"Too large resource version: {wanted}, current: {current}",
            reason="Timeout",
            retry_after_seconds=1.0,
        )


async def _json_body(request: web.Request) -> Json:
    try:
        body = json.loads(await request.read())
    except ValueError:
        raise Rejected("The body is not JSON.", reason="BadRequest") from None
    if not isinstance(body, dict):
        raise Rejected("The body is not a JSON object.", reason="BadRequest")
    return body


def _is_flat(patch: Any) -> bool:
    """Whether a patch has neither lists nor strategic directives."""
    if isinstance(patch, dict):
        return all(not k.startswith("$") and _is_flat(v) for k, v in patch.items())
    return not isinstance(patch, list)


def _grace(query: Mapping[str, str], options: Json) -> int | None:
    asked = options.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
    return None if asked is None else _whole(asked)


def _seconds(text: str | None) -> float | None:
    return None if not text else float(_whole(text))


def _whole(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise Rejected(
            f"{value!r} is not a whole number of seconds.", reason="BadRequest"
        ) from None


def _not_served(request: web.Request, what: str) -> web.Response:
    message = f"{request.method} {what} is not served by this local API."
    return failure(501, "NotImplemented", message)
