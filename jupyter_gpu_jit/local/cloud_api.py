"""The simulated cloud behind HTTP: a cloud that outlives the provisioner, as a real one does.

Started by tests and trials on loopback; ``gpu-jit provisioner --cloud URL`` speaks to it through
``cloud_client``. A launch that was begun goes on when its caller dies, as with EC2.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable

from aiohttp import web

from ..errors import CapacityError, Defect, GpuJitError, TransientError, UserError
from ..ports import Cloud
from . import cloud_wire as wire

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
BODY_LIMIT_BYTES = 8 << 20


class CloudApi:
    """HTTP server of one cloud, on loopback; every request needs the bearer token."""

    def __init__(self, cloud: Cloud, token: str) -> None:
        self._cloud, self._token = cloud, token
        self._runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> str:
        """Listen; the base URL."""
        app = web.Application(client_max_size=BODY_LIMIT_BYTES, middlewares=[self._guard])
        app.router.add_get(wire.TYPES, self._types)
        app.router.add_get(wire.INSTANCES, self._instances)
        app.router.add_post(wire.LAUNCHES, self._launch)
        app.router.add_post(wire.TERMINATIONS, self._terminate)
        app.router.add_post(wire.NETWORK_NODES, self._network_nodes)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Token first, and every error of ours as JSON with its reason."""
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not hmac.compare_digest(given.encode(), self._token.encode()):
            return _failure(401, "Unauthorized", "The token is not this cloud's.")
        try:
            return await handler(request)
        except GpuJitError as error:
            return _failure(_status(error), error.reason, error.user_message)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return _failure(400, "BadRequest", f"The request cannot be read: {error!r:.200}.")

    async def _types(self, _: web.Request) -> web.Response:
        types = await self._cloud.instance_types()
        return web.json_response([wire.body_of(kind) for kind in types])

    async def _instances(self, _: web.Request) -> web.Response:
        instances = await self._cloud.instances()
        return web.json_response([wire.body_of(instance) for instance in instances])

    async def _launch(self, request: web.Request) -> web.Response:
        asked = wire.launch_request(json.loads(await request.read()))
        return web.json_response(wire.body_of(await self._cloud.launch(asked)))

    async def _terminate(self, request: web.Request) -> web.Response:
        ids = json.loads(await request.read())["instance_ids"]
        await self._cloud.terminate([str(one) for one in ids])
        return web.json_response({})

    async def _network_nodes(self, request: web.Request) -> web.Response:
        ids = json.loads(await request.read())["instance_ids"]
        found = await self._cloud.network_nodes([str(one) for one in ids])
        return web.json_response(dict(found))


def _status(error: GpuJitError) -> int:
    match error:
        case TransientError():
            return 503
        case CapacityError():
            return 409
        case UserError() | Defect():
            return 422
    return 500


def _failure(status: int, reason: str, message: str) -> web.Response:
    return web.json_response({"reason": reason, "message": message}, status=status)
