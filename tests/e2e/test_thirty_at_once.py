"""Thirty sessions on a real API server and a real scheduler: all run, where the plan said."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from real_provisioner import NAMESPACE, Real, real_parts, until

from jupyter_gpu_jit.catalogue import instance_types
from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.core.model import Plan, Profile
from jupyter_gpu_jit.core.packing import Policy, solve
from jupyter_gpu_jit.core.snapshot import build
from jupyter_gpu_jit.local.control_plane import ControlPlane
from jupyter_gpu_jit.ports import CLAIMS, NODES, PODS
from jupyter_gpu_jit.provisioner.runtime import Settings
from jupyter_gpu_jit.sim.users import session_pod

GIB = 1 << 30
SETTINGS = Settings(
    cluster_id="thirty", hub_id="thirty", namespace=NAMESPACE, empty_grace_seconds=0.5,
    collect_interval_seconds=5.0,
)  # fmt: skip
A100 = Profile(
    slug="a100", display_name="A100", gpus=1, gpu_models=("A100",),
    cpu_guarantee_millicpu=8000, memory_guarantee_bytes=64 * GIB,
)  # fmt: skip
L4 = Profile(
    slug="l4", display_name="L4", gpus=1, gpu_models=("L4",),
    cpu_guarantee_millicpu=3000, memory_guarantee_bytes=12 * GIB,
)  # fmt: skip
CPU = Profile(
    slug="cpu", display_name="CPU",
    cpu_guarantee_millicpu=2000, memory_guarantee_bytes=4 * GIB,
)  # fmt: skip


@pytest.fixture
async def real(control_plane: ControlPlane) -> AsyncIterator[Real]:
    async with real_parts(control_plane, SETTINGS) as parts:
        yield parts


def wanted() -> list[dict[str, Any]]:
    profiles = [A100] * 11 + [L4] * 9 + [CPU] * 10
    return [session_pod(p, user=f"thirty-{n:02d}") for n, p in enumerate(profiles)]


async def planned(real: Real) -> Plan:
    """What the planner says of the pods as the API server admitted them, worked out apart."""
    pods = (await real.admin.list(PODS, namespace=NAMESPACE)).items
    snapshot = build(
        pods=pods, nodes=[], claims=[], instance_types=instance_types(), now=time.time()
    )
    return solve(snapshot, SETTINGS.policy)


async def pods_of(real: Real) -> list[dict[str, Any]]:
    listing = await real.admin.list(PODS, namespace=NAMESPACE)
    return [p for p in listing.items if p["metadata"]["name"].startswith("jupyter-thirty-")]


async def claims_of(real: Real) -> list[dict[str, Any]]:
    """Ours alone: other tests leave theirs on the same control plane."""
    listing = await real.admin.list(CLAIMS, label_selector=SETTINGS.own_selector)
    return list(listing.items)


async def test_thirty_sessions_at_once_all_run_on_the_nodes_the_plan_named(real: Real) -> None:
    bodies = wanted()
    await asyncio.gather(*(real.admin.create(PODS, b, namespace=NAMESPACE) for b in bodies))
    plan = await planned(real)
    real.start()

    async def all_running() -> list[dict[str, Any]]:
        pods = await pods_of(real)
        up = [p for p in pods if p["status"].get("phase") == "Running"]
        return up if len(up) == len(bodies) else []

    pods = await until(all_running, 60)
    assert len({p["metadata"]["uid"] for p in pods}) == len(bodies), "none twice"

    claims = [wire.read_claim(c) for c in await claims_of(real)]
    node_of = {claim.name: claim.node_name for claim in claims}
    companies = {frozenset(claim.sessions) for claim in plan.claims}
    assert {frozenset(claim.sessions) for claim in claims} == companies, "the plan was executed"
    for pod in pods:
        session = wire.read_session_pod(pod)
        assert session.pinned_to == session.claim
        assert session.node_name == node_of[session.claim]
    await assert_nothing_is_overfull(real, pods)

    live = real.cloud.live()
    assert len(live) == len(claims) == len(real.cloud.ledger), "no launch was made twice"
    assert sum(i.usd_per_hour_micro for i in live) == plan.usd_per_hour_micro, "as planned"
    assert Counter(i.instance_type for i in live)["p4d.24xlarge"] == 2, "8 A100s a node: 11 need 2"

    await asyncio.gather(*(
        real.admin.delete(PODS, p["metadata"]["name"], namespace=NAMESPACE, grace_seconds=0)
        for p in pods
    ))  # fmt: skip

    async def all_given_back() -> bool:
        return not real.cloud.live() and not await claims_of(real)

    await until(all_given_back, 30)
    left = {n["metadata"]["name"] for n in (await real.admin.list(NODES)).items}
    assert not left & set(node_of.values())


async def assert_nothing_is_overfull(real: Real, pods: list[dict[str, Any]]) -> None:
    rooms = {
        n.name: n.allocatable for n in map(wire.read_node, (await real.admin.list(NODES)).items)
    }
    for pod in pods:
        session = wire.read_session_pod(pod)
        room = rooms[session.node_name]
        assert session.request.resources.fits_in(room), f"{session.node_name} is overfull"
        rooms[session.node_name] = room - session.request.resources


async def test_the_plan_for_all_thirty_is_no_dearer_than_what_was_launched_one_by_one() -> None:
    """The plan's own price is that of its nodes; sharing makes it cheaper than one node each."""
    types = instance_types()
    pods = []
    for number, body in enumerate(wanted()):
        meta = {
            **body["metadata"], "uid": f"uid-{number:02d}", "namespace": NAMESPACE,
            "resourceVersion": str(number + 1), "creationTimestamp": "2026-01-01T00:00:00Z",
        }  # fmt: skip
        pods.append({**body, "metadata": meta})
    snapshot = build(pods=pods, nodes=[], claims=[], instance_types=types, now=0.0)
    plan = solve(snapshot, Policy())
    assert not plan.refused
    assert len(plan.placements) == len(pods)
    assert plan.usd_per_hour_micro == sum(c.offerings[0].usd_per_hour_micro for c in plan.claims)
    alone = sum(
        solve(replace(snapshot, waiting=(session,)), Policy()).usd_per_hour_micro
        for session in snapshot.waiting
    )
    assert plan.usd_per_hour_micro < alone
