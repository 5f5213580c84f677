"""One world behind one loopback port. Called by ``__main__``."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from werkzeug.serving import BaseWSGIServer, make_server

from . import actions, store
from .control import Control
from .faults import Faults
from .front import Front
from .parameters import Parameters
from .timeline import Timeline
from .world import World


class Handler(store.RequestHandler):
    """Keeps connections open, as AWS does, and prints nothing."""

    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: Any) -> None:
        """Calls are in the world's own log."""


class Server:
    """The world, its clock and its HTTP server."""

    def __init__(self, world: World, token: str, port: int) -> None:
        self._timeline = world.timeline
        faults = Faults()
        front = Front(world, faults, Control(world, faults, token), store.application())
        store.install(actions.bound(world))
        store.guard(actions.checks(world))
        store.take_messages(world.queues.put, world.queues.counts)
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._http: BaseWSGIServer = make_server(
            "127.0.0.1", port, front, threaded=True, request_handler=Handler
        )
        self._http.daemon_threads = True  # type: ignore[attr-defined]  # of its mix-in

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._http.server_address[1])

    def serve(self, on_ready: Callable[[], None]) -> None:
        """Run until ``stop`` is called from another thread."""
        self._timeline.start()
        on_ready()
        self._http.serve_forever(poll_interval=0.1)

    def stop(self) -> None:
        """End ``serve``."""
        self._timeline.close()
        self._http.shutdown()


def make(
    parameters: Parameters, *, seed: int, region: str, speed: float, token: str, port: int
) -> Server:
    """A server with a new world behind it."""
    world = World(parameters, seed=seed, region=region, timeline=Timeline(speed=speed))
    return Server(world, token, port)
