"""Sessions on EC2: boto3 over HTTP, real API server and scheduler, nodes that KWOK keeps alive.

The AWS is ours on loopback (local/aws_world); adapters and provisioner are those of production,
the latter in a process of its own with the rights that are shipped.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from real_provisioner import NAMESPACE, forget_leaders, until

from jupyter_gpu_jit.adapters.kubernetes import KubernetesCluster
from jupyter_gpu_jit.cli.bench.aws import CLUSTER, AwsStage, aws_beside
from jupyter_gpu_jit.cli.bench.real import RealStage
from jupyter_gpu_jit.cli.bench.start import L4
from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.core.model import NodeClaim, Profile
from jupyter_gpu_jit.local.control_plane import ControlPlane
from jupyter_gpu_jit.ports import CLAIMS, PODS
from jupyter_gpu_jit.sim.users import pod_name, session_pod

# One session fills a node, so that forty sessions are forty nodes.
EIGHT_L4 = replace(L4, slug="l4-8", gpus=8, cpu_guarantee_millicpu=16_000)
STORM_SECONDS = 30.0
PATIENCE_SECONDS = 180.0


@pytest.fixture
async def stage(control_plane: ControlPlane) -> AsyncIterator[AwsStage]:
    where = {"server": control_plane.server, "ca_file": str(control_plane.ca_file)}
    admin = KubernetesCluster.connect(token=control_plane.admin_token, **where)
    try:
        await forget_leaders(admin)
        # A class of this size finds no pool that has room for all of it.
        async with aws_beside(
            RealStage(admin, NAMESPACE, control_plane), parameters={"depth": 60}
        ) as stage:
            yield stage
        await forget_leaders(admin)
    finally:
        await admin.close()


async def come(stage: AwsStage, profile: Profile, name: str, numbers: Iterable[int]) -> None:
    bodies = [session_pod(profile, user=f"{name}-{n:02d}") for n in numbers]
    await asyncio.gather(
        *(stage.cluster.create(PODS, body, namespace=NAMESPACE) for body in bodies)
    )


async def pods(stage: AwsStage, name: str) -> Sequence[dict[str, Any]]:
    items = (await stage.cluster.list(PODS, namespace=NAMESPACE)).items
    return [pod for pod in items if f"{name}-" in pod["metadata"]["name"]]


def all_run(stage: AwsStage, count: int, name: str) -> Callable[[], Any]:
    async def holds() -> bool:
        found = await pods(stage, name)
        return sum(pod["status"].get("phase") == "Running" for pod in found) == count

    return holds


async def claims(stage: AwsStage) -> Sequence[dict[str, Any]]:
    """Those of the stage's provisioner: other tests have left theirs."""
    ours = f"{wire.CLUSTER_LABEL}={CLUSTER}"
    return (await stage.cluster.list(CLAIMS, label_selector=ours)).items


async def live(stage: AwsStage) -> list[dict[str, Any]]:
    lives = (await stage.get("instances"))["instances"]
    return [life for life in lives if life["state"] in ("pending", "running")]


async def end_all(stage: AwsStage, name: str) -> None:
    """And nothing is left, neither in the cluster nor in EC2."""
    for pod in await pods(stage, name):
        await stage.cluster.delete(
            PODS, pod["metadata"]["name"], namespace=NAMESPACE, grace_seconds=0
        )

    async def gone() -> bool:
        return not await claims(stage) and not await live(stage)

    await until(gone, PATIENCE_SECONDS)


async def test_thirty_run_although_pools_dry_up_midway(stage: AwsStage) -> None:
    async with stage.provisioner(empty_grace_seconds=0.5):
        await come(stage, L4, "dry", range(12))
        await until(lambda: live(stage), PATIENCE_SECONDS)
        used = {(life["zone"], life["type"]) for life in await live(stage)}
        for zone, kind in used:
            await stage.post("pool", zone=zone, type=kind, capacity_type="spot", up=False)
        await come(stage, L4, "dry", range(12, 30))
        await until(all_run(stage, 30, "dry"), PATIENCE_SECONDS)
        later = {(life["zone"], life["type"]) for life in await live(stage)}
        assert later - used, "nothing was bought where there is still room"
        await end_all(stage, "dry")


async def test_a_storm_takes_half_of_forty_nodes_and_everybody_goes_on_elsewhere(
    stage: AwsStage,
) -> None:
    async with stage.provisioner(empty_grace_seconds=0.5, drain_once_replaced=True):
        await come(stage, EIGHT_L4, "storm", range(40))
        await until(all_run(stage, 40, "storm"), PATIENCE_SECONDS)
        lives = sorted(await live(stage), key=lambda life: str(life["id"]))
        assert len(lives) == 40
        assert {life["capacity_type"] for life in lives} == {"spot"}
        taken = {life["id"] for life in lives[:20]}
        sitting = await sessions_on(stage, "storm")
        pool_of = {sitting[life["id"]]: (life["zone"], life["type"]) for life in lives[:20]}
        await stage.post("interrupt", ids=sorted(taken), spread_seconds=STORM_SECONDS)
        places = await until(room_for_all(stage, set(pool_of)), PATIENCE_SECONDS)
        for uid, pool in pool_of.items():
            assert (places[uid].zone, places[uid].instance_type) != pool, "the pool is dry"
        await until(all_are_back(stage, EIGHT_L4, "storm", 40), PATIENCE_SECONDS)
        assert not {life["id"] for life in await live(stage)} & taken
        await end_all(stage, "storm")


def room_for_all(stage: AwsStage, leaving: set[str]) -> Callable[[], Any]:
    """The claim that keeps room for each of those sessions, once there is one for all."""
    kept: dict[str, NodeClaim] = {}

    async def holds() -> dict[str, NodeClaim]:
        for body in await claims(stage):
            claim = wire.read_claim(body)
            if claim.is_true(wire.LAUNCHED):
                kept.update({each.session: claim for each in claim.reservations})
        return kept if leaving <= set(kept) else {}

    return holds


def all_are_back(stage: AwsStage, profile: Profile, name: str, count: int) -> Callable[[], Any]:
    """Whose server was ended starts it again, as told; until all run on nodes that stay."""

    async def holds() -> bool:
        there = {pod["metadata"]["name"] for pod in await pods(stage, name)}
        missing = [n for n in range(count) if pod_name(f"{name}-{n:02d}") not in there]
        await come(stage, profile, name, missing)
        leaving = [claim for claim in await claims(stage) if _is_taken(claim)]
        return not leaving and bool(await all_run(stage, count, name)())

    return holds


def _is_taken(claim: dict[str, Any]) -> bool:
    return wire.read_claim(claim).is_true(wire.INTERRUPTED)


async def sessions_on(stage: AwsStage, name: str) -> dict[str, str]:
    """The uid of the session on each instance, which it fills."""
    known = [wire.read_claim(claim) for claim in await claims(stage)]
    instance_of = {c.name: c.provider_id.rpartition("/")[2] for c in known}
    return {
        instance_of[pod["spec"]["nodeSelector"][wire.PIN_LABEL]]: pod["metadata"]["uid"]
        for pod in await pods(stage, name)
    }
