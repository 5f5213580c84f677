"""One pod's life on a process node, from bound to gone.

Called by ``agent``, which owns one ``PodRun`` per pod. In order: a seat on the GPUs, the image
(simulated), the process, readiness by connecting to its port, its exit, and the confirmation
of its deletion.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ..core.wire import pod_resources
from ..errors import Conflict, NotFound, TransientError
from ..ports import EVENTS, PODS, Clock, Cluster, Json
from ..sim import podstatus
from . import reports
from .processes import SERVICE_URL, Devices, Host, SessionProcess, command_line, environment

log = logging.getLogger(__name__)
T = TypeVar("T")
DEFAULT_GRACE_SECONDS = 30.0
RETRY_SECONDS = 0.5
READY_POLL_SECONDS = 0.05
NO_PORT = 0
USERNAME_ANNOTATION = "hub.jupyter.org/username"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What a pod stands on: the API, the clock, the machine, its node's GPUs.

    ``pull_seconds``: how long the simulated image pull takes.
    """

    cluster: Cluster
    clock: Clock
    host: Host
    devices: Devices
    pull_seconds: float = 0.5


async def persist(call: Callable[[], Awaitable[T]]) -> T | None:
    """Repeat a write while the API server is away; None when the object is gone or another."""
    while True:
        try:
            return await call()
        except (NotFound, Conflict):
            return None
        except TransientError as error:
            log.warning("write repeated", extra={"reason": error.reason})
            await asyncio.sleep(RETRY_SECONDS)


class PodRun:
    """Runs one pod; ``run`` returns when the object is gone, and kills the process if cancelled."""

    def __init__(self, ground: Ground, pod: Json) -> None:
        self._ground = ground
        self._pod = pod
        self._meta = pod["metadata"]
        self._container = reports.container_of(pod)
        self._process: SessionProcess | None = None
        self._grace_seconds = DEFAULT_GRACE_SECONDS
        self._ending = asyncio.Event()
        self._event_numbers = itertools.count()

    def see(self, pod: Json) -> None:
        """Take in the pod as it is now; a deletion begins or shortens its end."""
        if "deletionTimestamp" in pod["metadata"]:
            grace = pod["metadata"].get("deletionGracePeriodSeconds")
            self.end(DEFAULT_GRACE_SECONDS if grace is None else float(grace))

    def end(self, grace_seconds: float) -> None:
        """End the pod: SIGTERM now, SIGKILL after the grace."""
        self._grace_seconds = min(grace_seconds, self._grace_seconds)
        self._ending.set()
        if self._process is not None:
            self._process.stop(self._grace_seconds)

    async def run(self) -> None:
        """The pod's life."""
        phase = (self._pod.get("status") or {}).get("phase") or "Pending"
        if phase == "Pending" and not self._ending.is_set():
            await self._seated()
        await self._ending.wait()
        await persist(lambda: self._ground.cluster.delete(PODS, **self._key(), grace_seconds=0))

    def _key(self) -> dict[str, Any]:
        meta = self._meta
        return {"name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]}

    async def _seated(self) -> None:
        wanted = pod_resources(self._pod["spec"]).gpus
        gpus = self._ground.devices.take(wanted)
        if gpus is None:
            await self._write(podstatus.admission_failed())
            return
        address = self._ground.host.addresses.take(self._port())
        try:
            await self._contained(address, gpus)
        finally:
            self._ground.host.addresses.give_back(address)
            self._ground.devices.give_back(gpus)

    async def _contained(self, address: str, gpus: tuple[int, ...]) -> None:
        await self._write(podstatus.waiting(self._pod, now=self._now()))
        await self._pull()
        if self._ending.is_set():
            return
        try:
            process = await self._start(address, gpus)
        except OSError as error:
            await self._tell("Failed", f"Error: cannot start the container: {error}")
            await self._write(reports.cannot_start(f"Cannot start: {error}"))
            return
        self._process = process
        try:
            await self._supervise(process, address)
        finally:
            process.kill()
            await process.wait()

    async def _pull(self) -> None:
        image = self._container.get("image") or "the default image"
        await self._tell("Pulling", f'Pulling image "{image}"')
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._ground.pull_seconds):
                await self._ending.wait()
            return
        await self._tell("Pulled", f'Successfully pulled image "{image}"')

    async def _start(self, address: str, gpus: tuple[int, ...]) -> SessionProcess:
        annotations = self._meta.get("annotations") or {}
        home = self._ground.host.home(annotations.get(USERNAME_ANNOTATION) or self._meta["name"])
        env = environment(
            self._container,
            host=self._ground.host,
            home=home,
            uid=self._meta["uid"],
            address=address,
            gpus=gpus,
        )
        line = command_line(self._container, env)
        await self._tell("Created", f"Created container {self._container['name']}")
        return await SessionProcess.start(
            line, env=env, folder=home, log=self._ground.host.log(self._meta["name"])
        )

    async def _supervise(self, process: SessionProcess, address: str) -> None:
        if self._ending.is_set():
            process.stop(self._grace_seconds)
        await self._tell("Started", f"Started container {self._container['name']}")
        reporting = asyncio.create_task(self._report(address))
        try:
            code = await process.wait()
        finally:
            reporting.cancel()
            await asyncio.gather(reporting, return_exceptions=True)
        if not self._ending.is_set():  # otherwise the pod is gone in a moment, as on a kubelet
            await self._write(reports.finished(self._pod, exit_code=code, now=self._now()))

    async def _report(self, address: str) -> None:
        """Phase, address and container status in one patch: KubeSpawner reads them together."""
        await self._write(podstatus.running(self._pod, now=self._now(), address=address))
        await _answers(address, self._port())
        await self._write(podstatus.ready(self._pod, now=self._now()))

    def _port(self) -> int:
        """The port the container listens on; 0 when it says none."""
        for row in self._container.get("env") or ():
            if row["name"] == SERVICE_URL:
                return urlsplit(row.get("value") or "").port or NO_PORT
        ports = self._container.get("ports") or ()
        return int(ports[0]["containerPort"]) if ports else NO_PORT

    def _now(self) -> float:
        return self._ground.clock.now()

    async def _tell(self, reason: str, message: str) -> None:
        number = int(self._now() * 1e6) * 1000 + next(self._event_numbers)
        name = f"{self._meta['name']}.{number:x}"
        body = reports.event(self._pod, name=name, reason=reason, message=message, now=self._now())
        namespace = self._meta["namespace"]
        await persist(lambda: self._ground.cluster.create(EVENTS, body, namespace=namespace))

    async def _write(self, status: Json) -> None:
        """Patch the status; the uid keeps a late report off a new pod of the same name (409)."""
        body = {"metadata": {"uid": self._meta["uid"]}, "status": status}
        name, namespace = self._meta["name"], self._meta["namespace"]
        stored = await persist(
            lambda: self._ground.cluster.patch(
                PODS, name, body, namespace=namespace, subresource="status"
            )
        )
        self._pod = stored or self._pod


async def _answers(address: str, port: int) -> None:
    """Wait until something listens there; at once when there is no port."""
    while port != NO_PORT:
        try:
            _, writer = await asyncio.open_connection(address, port)
        except OSError:
            await asyncio.sleep(READY_POLL_SECONDS)
        else:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            return
