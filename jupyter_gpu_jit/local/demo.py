"""``gpu-jit demo``: one process that runs the world, the provisioner and the service, and a hub.

Called by ``cli``, which hands over what ``local`` may not import (``Parts``). Runs until it is
cancelled; then everything ends in the reverse order of its start, and a watchdog sees to
whatever is left, also when this process is killed.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from ..core.model import InstanceType
from ..core.wire import CLUSTER_TAG, HUB_TAG
from ..errors import UserError
from ..ports import Clock, Cloud, Cluster, Ids, Notices
from ..sim.boot import BootModel
from ..sim.kubelet import PodTimes
from . import disk, marks, proxy
from .aws_world import AwsWorld
from .hub_process import HubProcess
from .hub_settings import LOGIN, REAL, SIMULATED, HubSettings
from .logs import log_to
from .plane import Connect, Plane, Say, memory_plane, real_plane
from .ports import free_ports
from .processes import Addresses, Host
from .threads import in_thread
from .watchdog import Watchdog
from .world import Laws, ProcessNodes, World

NAMESPACE = "gpu-jit"
OWNER = "demo"
DATA = Path(__file__).parent / "data"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSettings:
    """What the person asks for. ``port`` 0 takes a free one; ``real`` is a real control plane,
    whose API server keeps an audit log if ``audit`` (for tests of the rights). ``aws``: the cloud
    is spoken to as EC2, over HTTP."""

    port: int = 8000
    real: bool = False
    audit: bool = False
    aws: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePlace:
    """Where the service finds the hub, and the token both know."""

    hub_api_url: str
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """A service that listens on ``port`` until ``stop``."""

    port: int
    stop: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """Where nodes are bought, and what is said of them unasked."""

    cloud: Cloud
    notices: Notices | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts that ``local`` does not know: ``provision`` runs until cancelled.

    ``amazon`` speaks to the account of that world as to any other.
    """

    clock: Clock
    ids: Ids
    instance_types: Sequence[InstanceType]
    provision: Callable[[Cluster, Market], Awaitable[None]]
    serve: Callable[[Cluster, Cloud, ServicePlace], Serving]
    connect: Connect
    amazon: Callable[[AwsWorld], AbstractAsyncContextManager[Market]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One demo's own things."""

    id: str
    folder: Path

    @property
    def logs(self) -> Path:
        """Folder of all logs."""
        return self.folder / "logs"


async def run_demo(settings: DemoSettings, parts: Parts, say: Say) -> None:
    """Run until cancelled. Raises UserError (port, disk), HubEnded, and what a part raises."""
    port = public_port(settings.port)
    async with _site() as site:
        say(f"folder: {site.folder} (logs in {site.logs})")
        say(SIMULATED)
        say(REAL)
        if not disk.has_room(site.folder):
            raise UserError(disk.FULL, reason="DiskFull")
        command = await in_thread(lambda: proxy.command(say))
        with log_to(site.logs / "demo.log"):
            await _run(settings, parts, _Run(site=site, port=port, proxy=tuple(command), say=say))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    site: Site
    port: int
    proxy: tuple[str, ...]
    say: Say


async def _run(settings: DemoSettings, parts: Parts, run: _Run) -> None:
    async with asyncio.TaskGroup() as group, AsyncExitStack() as stack:
        plane = await stack.enter_async_context(_plane(settings, parts, run))
        for chore in plane.chores:
            await stack.enter_async_context(_beside(group, chore(), "chore"))
        if settings.aws:
            market = await _amazon(group, stack, plane, parts, run=run)
        else:
            market = await _simulated(stack, plane, parts, run)
        provision = parts.provision(plane.provisioner, market)
        await stack.enter_async_context(_beside(group, provision, "provisioner"))
        run.say("provisioner: running")
        hub = await _hub(stack, plane, parts, cloud=market.cloud, run=run)
        await stack.enter_async_context(_beside(group, hub.watch(run.say), "hub"))
        await hub.until_ready()
        watching = disk.watch(run.site.folder, run.say)
        await stack.enter_async_context(_beside(group, watching, "disk"))
        run.say(LOGIN)
        run.say(f"ready: http://127.0.0.1:{run.port}/")
        await asyncio.Event().wait()


def _plane(settings: DemoSettings, parts: Parts, run: _Run) -> AbstractAsyncContextManager[Plane]:
    if settings.real:
        return real_plane(
            run.site.folder,
            manifests=(DATA / "crd.yaml", DATA / "rbac.yaml"),
            connect=parts.connect,
            demo_id=run.site.id,
            say=run.say,
            audit=settings.audit,
        )
    return memory_plane(run.site.folder, parts.clock, parts.ids, namespace=NAMESPACE, say=run.say)


async def _simulated(stack: AsyncExitStack, plane: Plane, parts: Parts, run: _Run) -> Market:
    """A cloud in this process, without any protocol between."""
    laws, host = _laws(parts), _host(run)
    world = World(plane.nodes, parts.clock, parts.ids, host=host, laws=laws, say=run.say)
    stack.push_async_callback(world.close)
    return Market(cloud=world.cloud)


async def _amazon(
    group: asyncio.TaskGroup, stack: AsyncExitStack, plane: Plane, parts: Parts, *, run: _Run
) -> Market:
    """EC2 and SQS on loopback, in a process of their own; nodes follow what is launched there."""
    # Moto is an extra of its own, and the demo does without it.
    from .aws_account import account
    from .aws_world.nodes import follow

    world = stack.enter_context(account(OWNER, log=run.site.logs / "aws.log"))
    run.say(f"AWS: {world.url} (EC2, SQS and the rest, on loopback)")
    nodes = ProcessNodes(
        plane.nodes, parts.clock, host=_host(run), laws=_laws(parts), rng=random.Random()
    )
    stack.push_async_callback(nodes.close)
    following = follow(world.control, nodes.hooks, parts.clock)
    await stack.enter_async_context(_beside(group, following, "nodes"))
    return await stack.enter_async_context(parts.amazon(world))


def _laws(parts: Parts) -> Laws:
    return Laws(
        instance_types=parts.instance_types,
        tags={CLUSTER_TAG: OWNER, HUB_TAG: OWNER},
        boot=BootModel.demo(),
        times=PodTimes.demo(),
    )


def _host(run: _Run) -> Host:
    # Several demos on a machine begin at different addresses, so that they rarely meet.
    addresses = Addresses(start=secrets.randbelow(60_000))
    return Host(folder=run.site.folder, demo_id=run.site.id, addresses=addresses)


async def _hub(
    stack: AsyncExitStack, plane: Plane, parts: Parts, *, cloud: Cloud, run: _Run
) -> HubProcess:
    hub_port, proxy_api_port = free_ports(2)
    token = secrets.token_hex(32)
    hub_api_url = f"http://127.0.0.1:{hub_port}/hub/api"
    place = ServicePlace(hub_api_url=hub_api_url, token=token)
    serving = parts.serve(plane.service, cloud, place)
    stack.push_async_callback(serving.stop)
    settings = HubSettings(
        port=run.port,
        hub_port=hub_port,
        proxy_api_port=proxy_api_port,
        proxy_command=run.proxy,
        proxy_token=secrets.token_hex(32),
        service_url=f"http://127.0.0.1:{serving.port}",
        service_token=token,
        profiles_file=str(DATA / "profiles.yaml"),
        namespace=NAMESPACE,
        folder=str(run.site.folder / "hub"),
    )
    run.say("JupyterHub: starting")
    log = run.site.logs / "hub.log"
    hub = await HubProcess.start(
        settings, kubeconfig=plane.hub_kubeconfig, log=log, demo_id=run.site.id
    )
    stack.push_async_callback(hub.stop)
    return hub


# --- small helpers ---------------------------------------------------------------------------


@asynccontextmanager
async def _site() -> AsyncIterator[Site]:
    """A folder and a watchdog that removes it with all that still runs."""
    demo_id = secrets.token_hex(8)
    site = Site(id=demo_id, folder=_temporary_folder() / f"gpu-jit-demo-{demo_id}")
    site.folder.mkdir(mode=0o700)
    site.logs.mkdir()
    watchdog = Watchdog(demo_id, site.folder)
    # For what is built or fetched: those programs inherit our environment.
    os.environ[marks.DEMO_MARK] = demo_id
    try:
        yield site
    finally:
        del os.environ[marks.DEMO_MARK]
        watchdog.close()  # blocks: nothing may overtake the end


def _temporary_folder() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        raise UserError(
            "No temporary folder can be written to: free some space, or set TMPDIR to a folder "
            "on another disk.",
            reason="NoTemporaryFolder",
        ) from None


@asynccontextmanager
async def _beside(
    group: asyncio.TaskGroup, work: Awaitable[None], name: str
) -> AsyncIterator[None]:
    """Run ``work`` beside the rest; its failure is the failure of the whole."""

    async def awaited() -> None:
        await work

    task = group.create_task(awaited(), name=name)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def public_port(port: int) -> int:
    """The port itself when it is free, a free one for 0. Raises UserError."""
    if port == 0:
        return free_ports(1)[0]
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise UserError(
                f"Port {port} is taken: choose another with --port, or 0 for a free one.",
                reason="PortTaken",
            ) from None
    return port
