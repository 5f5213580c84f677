"""One process of an installation each: provisioner, service, process node. Called by ``main``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import GpuJitError, UserError
from .outside import Outside, metrics_served
from .shared import connect, log_to_stderr, needs_extra, run, say, simulated_cloud

if TYPE_CHECKING:
    from ..core.model import InstanceType
    from ..local.cloud_client import CloudClient
    from ..ports import Instance
    from ..sim.cloud import SimCloud


def provisioner(asked: argparse.Namespace) -> int:
    """Provision until interrupted."""
    needs_extra("kubernetes", "provisioner")
    log_to_stderr()
    return run(lambda: _provision(asked))


async def _provision(asked: argparse.Namespace) -> None:
    from ..adapters.system import RandomIds, SystemClock
    from ..core.interruption import Rules
    from ..provisioner.runtime import Provisioner, Settings

    async with _outside(asked) as outside:
        settings = Settings(
            cluster_id=asked.cluster_id,
            hub_id=asked.hub_id,
            namespace=asked.namespace,
            identity=asked.identity or f"{socket.gethostname()}-{os.getpid()}",
            empty_grace_seconds=asked.empty_grace,
            lease_seconds=asked.lease_seconds,
            interruption=Rules(at_risk_too=asked.replace_at_risk),
            drain_once_replaced=asked.drain_once_replaced,
            vcpu_quotas=outside.quotas,
        )
        cluster = connect(asked.kubeconfig)
        provisioner = Provisioner(
            cluster, outside.cloud, SystemClock(), ids=RandomIds(), settings=settings,
            notices=outside.notices, meter=outside.meter,
        )  # fmt: skip
        try:
            await provisioner.run()
        finally:
            with contextlib.suppress(GpuJitError):
                await provisioner.resign()
            await cluster.close()


@contextlib.asynccontextmanager
async def _outside(asked: argparse.Namespace) -> AsyncIterator[Outside]:
    """What the provisioner deals with besides the cluster. Raises UserError."""
    with metrics_served(asked.metrics_address, asked.metrics_port) as meter:
        if asked.aws is not None:
            needs_extra("boto3", "provisioner")
            from .aws import outside

            async with outside(asked, meter) as found:
                yield found
            return
        cloud = _cloud(asked)
        try:
            yield Outside(cloud, meter=meter)
        finally:
            await cloud.close()


def doctor(asked: argparse.Namespace) -> int:
    """Check an AWS account; 1 when something does not hold."""
    needs_extra("boto3", "provisioner")
    from . import aws

    return aws.doctor(asked)


def _cloud(asked: argparse.Namespace) -> SimCloud | CloudClient:
    """The cloud that was asked for, or one in this process. Raises UserError."""
    if not asked.cloud:
        return simulated_cloud(asked.cluster_id, asked.hub_id)
    needs_extra("aiohttp", "local")
    from ..local.cloud_client import CloudClient

    if not asked.cloud.startswith(("http://", "https://")):
        raise UserError(f"--cloud {asked.cloud} is not a URL that begins with http:// or https://.")
    if asked.cloud_token_file is None:
        raise UserError("--cloud needs --cloud-token-file: every cloud asks for a token.")
    try:
        token = asked.cloud_token_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{asked.cloud_token_file} cannot be read: {error}.") from error
    return CloudClient(asked.cloud, token)


def service(asked: argparse.Namespace) -> int:
    """Serve until interrupted."""
    needs_extra("kubernetes", "provisioner")
    needs_extra("tornado", "service")
    log_to_stderr()
    return run(lambda: _serve(asked))


async def _serve(asked: argparse.Namespace) -> None:
    from ..service.app import ServiceSettings, make_app, serve

    settings = ServiceSettings(
        hub_api_url=_from_hub("JUPYTERHUB_API_URL"), api_token=_from_hub("JUPYTERHUB_API_TOKEN")
    )
    cluster = connect(asked.kubeconfig)
    cloud = simulated_cloud(asked.cluster_id, asked.hub_id)
    app = make_app(cluster, cloud, settings=settings)
    server, port = serve(app, address=asked.address, port=asked.port)
    say(f"serving on http://{asked.address}:{port}{settings.prefix}")
    try:
        await asyncio.Event().wait()
    finally:
        server.stop()
        await server.close_all_connections()
        await cloud.close()
        await cluster.close()


def _from_hub(name: str) -> str:
    if not os.environ.get(name):
        raise UserError(
            f"{name} is not set: JupyterHub sets it for the services it starts; set it yourself "
            "when you start the service."
        )
    return os.environ[name]


def node_agent(asked: argparse.Namespace) -> int:
    """Be a node until interrupted."""
    needs_extra("kubernetes", "provisioner")
    log_to_stderr()
    return run(lambda: _be_a_node(asked))


async def _be_a_node(asked: argparse.Namespace) -> None:
    import tempfile

    from ..adapters.system import SystemClock
    from ..local.agent import NodeAgent
    from ..local.processes import Host

    kind = _instance_type(asked.instance_type)
    cluster = connect(asked.kubeconfig)
    with tempfile.TemporaryDirectory(prefix="gpu-jit-node-") as folder:
        host = Host(folder=Path(folder), demo_id=f"node-{os.getpid()}")
        agent = NodeAgent(
            cluster,
            SystemClock(),
            instance=_local_instance(asked),
            instance_type=kind,
            host=host,
        )
        say(f"node {agent.name}: {kind.name}, sessions in {folder}")
        try:
            await agent.run()
        finally:
            await cluster.close()


def _instance_type(name: str) -> InstanceType:
    from difflib import get_close_matches

    from ..catalogue import instance_types

    known = {kind.name: kind for kind in instance_types()}
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f" Do you mean {near[0]}?" if near else ""
        raise UserError(f"There is no instance type {name!r}.{hint}")
    return known[name]


def _local_instance(asked: argparse.Namespace) -> Instance:
    from ..adapters.system import SystemClock
    from ..ports import Instance

    provider_id = asked.provider_id or f"process://{socket.gethostname()}/{os.getpid()}"
    return Instance(
        id=provider_id.rpartition("/")[2],
        provider_id=provider_id,
        instance_type=asked.instance_type,
        zone=asked.zone,
        capacity_type="on-demand",
        state="running",
        launched_at=SystemClock().now(),
    )
