"""``gpu-jit demo``: puts the demo's parts together. Called by ``main``."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

from .shared import needs_extra, run, say

if TYPE_CHECKING:
    from ..core.packing import WaitModel
    from ..core.progress import Stage
    from ..local.aws_world import AwsWorld
    from ..local.demo import Market, Parts, ServicePlace, Serving
    from ..ports import Cloud, Cluster


def demo(asked: argparse.Namespace) -> int:
    """Run until interrupted."""
    needs_extra("aiohttp", "local")
    from ..local.demo import DemoSettings, run_demo

    if asked.aws:
        needs_extra("moto", "aws-world")
        needs_extra("boto3", "provisioner")
    real = asked.control_plane == "real"
    settings = DemoSettings(port=asked.port, real=real, aws=asked.aws)
    return run(lambda: run_demo(settings, _demo_parts(asked.empty_grace), say))


def _demo_parts(empty_grace_seconds: float) -> Parts:
    from ..adapters.kubernetes import KubernetesCluster
    from ..adapters.system import RandomIds, SystemClock
    from ..catalogue import instance_types
    from ..local.demo import NAMESPACE, OWNER, Parts
    from ..provisioner.runtime import Provisioner, Settings

    settings = Settings(
        cluster_id=OWNER,
        hub_id=OWNER,
        namespace=NAMESPACE,
        empty_grace_seconds=empty_grace_seconds,
        registration_deadline_seconds=120.0,
        initialisation_deadline_seconds=120.0,
        stage_seconds=_demo_stage_seconds(),
    )

    async def provision(cluster: Cluster, market: Market) -> None:
        provisioner = Provisioner(
            cluster,
            market.cloud,
            SystemClock(),
            ids=RandomIds(),
            settings=settings,
            notices=market.notices,
        )
        await provisioner.run()

    return Parts(
        clock=SystemClock(),
        ids=RandomIds(),
        instance_types=instance_types(),
        provision=provision,
        serve=_serve_demo,
        connect=KubernetesCluster.from_kubeconfig,
        amazon=_amazon,
    )


@contextlib.asynccontextmanager
async def _amazon(world: AwsWorld) -> AsyncIterator[Market]:
    """The adapters of production, told the names of the world's account."""
    from ..adapters.aws.settings import AwsSettings
    from ..local.aws_account import settings_of
    from ..local.demo import OWNER, Market
    from .aws import outside_of

    found = settings_of(world, OWNER)
    # An end waits for the polls that are open, and nobody wants to wait for a demo to end.
    settings = AwsSettings(**found, cluster_id=OWNER, hub_id=OWNER, notice_wait_seconds=1)
    async with outside_of(settings, None) as outside:
        yield Market(cloud=outside.cloud, notices=outside.notices)


def _demo_stage_seconds() -> Mapping[Stage, float]:
    """Medians of the demo's boot model, for the ETA shown; JupyterLab's start was measured."""
    from ..core.progress import Stage
    from ..sim.boot import BootModel
    from ..sim.kubelet import PodTimes

    boot, times = BootModel.demo(), PodTimes.demo()
    return {
        Stage.REQUESTED: 0.1,
        Stage.PLANNED: 0.1,
        Stage.LAUNCHING: boot.launch.median_seconds,
        Stage.BOOTING: boot.boot.median_seconds + boot.register.median_seconds,
        Stage.REGISTERED: boot.ready.median_seconds + boot.gpus.median_seconds,
        Stage.INITIALISED: 0.1,
        Stage.PULLING: times.pull.median_seconds,
        Stage.STARTING: 3.0,
    }


def _demo_waits() -> WaitModel:
    """What the spawn page says a start takes: the same medians; half as much again nine in ten."""
    from ..core.packing import WaitModel
    from ..core.progress import Stage

    seconds = _demo_stage_seconds()
    new_node = round(sum(seconds.values()))
    now = round(seconds[Stage.PULLING] + seconds[Stage.STARTING])
    in_flight = (now + new_node) // 2
    return WaitModel(
        now_p50_seconds=now,
        now_p90_seconds=2 * now,
        in_flight_p50_seconds=in_flight,
        in_flight_p90_seconds=in_flight * 3 // 2,
        new_node_p50_seconds=new_node,
        new_node_p90_seconds=new_node * 3 // 2,
    )


def _serve_demo(cluster: Cluster, cloud: Cloud, place: ServicePlace) -> Serving:
    from ..local.demo import Serving
    from ..service.app import ServiceSettings, make_app, serve

    settings = ServiceSettings(
        hub_api_url=place.hub_api_url,
        api_token=place.token,
        prefix="/services/gpu-jit/",
        hub_prefix="/hub/",
        waits=_demo_waits(),
    )
    server, port = serve(make_app(cluster, cloud, settings=settings))

    async def stop() -> None:
        server.stop()
        await server.close_all_connections()

    return Serving(port=port, stop=stop)
