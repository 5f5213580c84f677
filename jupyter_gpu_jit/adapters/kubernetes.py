"""``ports.Cluster`` over a real Kubernetes API, with the official client's asyncio part.

Reads and writes plain JSON for any kind: the client's connection, TLS and authentication are
used, its models are not (0.8 ms an object against 0.01 ms). Made by ``cli``; every failure
leaves as one of ``errors``, so that no caller needs to know the client.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from ..errors import Defect, Expired, GpuJitError, Rejected, Unavailable
from ..ports import LEASES, Kind, Listing, WatchEvent
from .kubernetes_errors import error_of, raise_for

Json = dict[str, Any]

PAGE_SIZE = 500
REQUEST_SECONDS = 15.0
WATCH_SECONDS = 45
"""Length of one watch: how long a connection that died without a word can go unnoticed."""
CONNECTIONS = 32
"""At most, watches included: each costs the server a handshake, and more would not be faster.

Leases have two of their own: who can only renew behind all that work loses them for nothing.
"""
_LEASE_CONNECTIONS = 2
_WATCH_SLACK_SECONDS = 10.0
_CONNECT_SECONDS = 5.0

_WARM_UP_SECONDS = 30.0
"""An API server that has just started refuses what its roles allow until it has read them."""

_LEASES_PATH = f"/apis/{LEASES.group}/"
_LOST = (aiohttp.ClientError, TimeoutError, OSError)


class KubernetesCluster:
    """A cluster behind an API server; see ``connect``, ``from_kubeconfig`` and ``in_cluster``.

    One instance belongs to one event loop; ``close`` it there. ``limits`` are the keyword
    arguments of the constructor. The first request raises Defect when the configuration is bad.
    """

    def __init__(
        self,
        configure: Callable[[Configuration], Awaitable[None]],
        *,
        request_seconds: float = REQUEST_SECONDS,
        watch_seconds: int = WATCH_SECONDS,
    ) -> None:
        self._configure = configure
        self._lock = asyncio.Lock()
        self._request_seconds, self._watch_seconds = request_seconds, watch_seconds
        self._clients: dict[bool, ApiClient] = {}
        self._lost_at = float("-inf")

    @classmethod
    def connect(
        cls, *, server: str, token: str, ca_file: str | None = None, **limits: Any
    ) -> KubernetesCluster:
        """By URL and bearer token; ``ca_file`` None means the system's certificates."""

        async def configure(target: Configuration) -> None:
            target.host = server.rstrip("/")
            target.ssl_ca_cert = ca_file
            target.api_key = {"BearerToken": f"Bearer {token}"}

        return cls(configure, **limits)

    @classmethod
    def from_kubeconfig(cls, path: str, **limits: Any) -> KubernetesCluster:
        """The current context of a kubeconfig file."""

        async def configure(target: Configuration) -> None:
            load: Any = config.load_kube_config
            await load(path, client_configuration=target, persist_config=False)

        return cls(configure, **limits)

    @classmethod
    def in_cluster(cls, **limits: Any) -> KubernetesCluster:
        """The service account of the pod this runs in; its token is read again as it rotates."""

        async def configure(target: Configuration) -> None:
            load: Any = config.load_incluster_config
            load(client_configuration=target)

        return cls(configure, **limits)

    async def close(self) -> None:
        """Close the connections."""
        clients: Any = self._clients.values()
        self._clients = {}
        for client in clients:
            await client.close()

    async def list(
        self, kind: Kind, *, namespace: str = "", label_selector: str = "", field_selector: str = ""
    ) -> Listing:
        """See ports.Cluster; fetched in pages, all of one version."""
        query = _selection(label_selector, field_selector)
        try:
            return await self._pages(_path(kind, namespace), {**query, "limit": str(PAGE_SIZE)})
        except Expired:
            # Writes outran our paging: the server has to give it in one piece.
            return await self._pages(_path(kind, namespace), query)

    async def get(self, kind: Kind, name: str, *, namespace: str = "") -> Json:
        """See ports.Cluster."""
        return await self._request("GET", _path(kind, namespace, name))

    async def create(
        self, kind: Kind, body: Json, *, namespace: str = "", name: str = "", subresource: str = ""
    ) -> Json:
        """See ports.Cluster."""
        whole = body if subresource else {**_head(kind), **body}
        return await self._request("POST", _path(kind, namespace, name, subresource), body=whole)

    async def patch(
        self, kind: Kind, name: str, patch: Json, *, namespace: str = "", subresource: str = ""
    ) -> Json:
        """See ports.Cluster."""
        path = _path(kind, namespace, name, subresource)
        return await self._request(
            "PATCH", path, body=patch, content_type="application/merge-patch+json"
        )

    async def delete(
        self,
        kind: Kind,
        name: str,
        *,
        namespace: str = "",
        uid: str = "",
        resource_version: str = "",
        grace_seconds: int | None = None,
    ) -> None:
        """See ports.Cluster."""
        options: Json = {"apiVersion": "v1", "kind": "DeleteOptions"}
        wanted = {"uid": uid, "resourceVersion": resource_version}
        options["preconditions"] = {key: value for key, value in wanted.items() if value}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        await self._request("DELETE", _path(kind, namespace, name), body=options)

    async def watch(
        self,
        kind: Kind,
        *,
        resource_version: str,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[WatchEvent]:
        """See ports.Cluster; ends after ``watch_seconds``."""
        query = {
            **_selection(label_selector, field_selector),
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(self._watch_seconds),
        }
        seconds = self._watch_seconds + _WATCH_SLACK_SECONDS
        path = _path(kind, namespace)
        response = await self._send("GET", path, query=query, seconds=seconds)
        try:
            await self._raise_for(response)
            async for line in response.content:
                yield _event(line)
        except _LOST as error:
            raise self._unavailable("GET", path, error) from error
        finally:
            await _hang_up(response)

    # --- one request ----------------------------------------------------------------------------

    async def _pages(self, path: str, query: Mapping[str, str]) -> Listing:
        items: list[Json] = []
        page = await self._request("GET", path, query=query)
        while True:
            items += page["items"]
            token = page["metadata"].get("continue")
            if not token:
                return Listing(tuple(items), page["metadata"]["resourceVersion"])
            page = await self._request("GET", path, query={**query, "continue": token})

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Json | None = None,
        content_type: str = "application/json",
    ) -> Json:
        response = await self._send(method, path, query=query, body=body, content_type=content_type)
        try:
            await self._raise_for(response)
            answer: Json = json.loads(await response.read())
        except (*_LOST, ValueError) as error:
            raise self._unavailable(method, path, error) from error
        finally:
            response.release()
        return answer

    async def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Json | None = None,
        content_type: str = "application/json",
        seconds: float = 0.0,
    ) -> aiohttp.ClientResponse:
        """The response with its headers; the body is still to be read."""
        client = await self._connected(for_leases=path.startswith(_LEASES_PATH))
        headers = {"Accept": "application/json", "Content-Type": content_type}
        await client.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        url = client.configuration.host + path
        timeout = aiohttp.ClientTimeout(
            total=seconds or self._request_seconds, sock_connect=_CONNECT_SECONDS
        )
        try:
            reply = await client.call_api(
                method,
                f"{url}?{urlencode(query)}" if query else url,
                header_params=headers,
                body=body,
                _request_timeout=timeout,
            )
        except _LOST as error:
            raise self._unavailable(method, path, error) from error
        response: aiohttp.ClientResponse = reply.response
        return response

    async def _raise_for(self, response: aiohttp.ClientResponse) -> None:
        try:
            await raise_for(response)
        except Rejected as error:
            since_lost = asyncio.get_running_loop().time() - self._lost_at
            if response.status in (401, 403) and since_lost < _WARM_UP_SECONDS:
                raise Unavailable(error.user_message, reason=error.reason) from error
            raise

    def _unavailable(self, method: str, path: str, error: BaseException) -> GpuJitError:
        self._lost_at = asyncio.get_running_loop().time()
        what = str(error) or type(error).__name__
        return Unavailable(f"The Kubernetes API did not answer {method} {path}: {what[:256]}.")

    async def _connected(self, *, for_leases: bool) -> ApiClient:
        async with self._lock:
            if for_leases not in self._clients:
                target = Configuration()
                try:
                    await self._configure(target)
                except (config.ConfigException, OSError) as error:
                    raise Defect(f"The Kubernetes configuration cannot be used: {error}") from error
                # The environment may name a proxy or certificates meant for the outside world.
                target.connection_pool_maxsize = _LEASE_CONNECTIONS if for_leases else CONNECTIONS
                target.client_session_kwargs = {"trust_env": not _is_loopback(target.host)}
                self._clients[for_leases] = ApiClient(target)
            return self._clients[for_leases]


async def _hang_up(response: aiohttp.ClientResponse) -> None:
    """Close a connection in the middle of an answer, without TLS's polite goodbye.

    The goodbye would go on in the background, where ``close`` could not wait for it.
    """
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
    response.close()
    await asyncio.sleep(0)


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _head(kind: Kind) -> Json:
    return {"apiVersion": kind.api_version, "kind": kind.kind}


def _path(kind: Kind, namespace: str, name: str = "", subresource: str = "") -> str:
    root = f"/apis/{kind.group}" if kind.group else "/api"
    scope = ("namespaces", namespace) if namespace and kind.namespaced else ()
    parts = (kind.version, *scope, kind.plural, name, subresource)
    return "/".join((root, *(quote(part, safe="") for part in parts if part)))


def _selection(label_selector: str, field_selector: str) -> dict[str, str]:
    both = {"labelSelector": label_selector, "fieldSelector": field_selector}
    return {key: value for key, value in both.items() if value}


def _event(line: bytes) -> WatchEvent:
    """One line of a watch. Raises what an ERROR event stands for."""
    try:
        body = json.loads(line)
    except ValueError as error:
        # The connection broke within a line.
        raise Unavailable("A watch of the Kubernetes API broke off; watch again.") from error
    if body["type"] == "ERROR":
        raise error_of(body["object"])
    return WatchEvent(body["type"], body["object"])
