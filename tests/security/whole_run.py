"""A demo on the real control plane, in this process, with everything happening to its sessions.

Each account goes its own way through the API server with its own token, so that the audit log
says which rights a life of sessions needs. Things go wrong on purpose: a node is cordoned the
moment a pod is released to it, a node object outlives its claim, an instance has no claim.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
from person import Person

from jupyter_gpu_jit.adapters.kubernetes import KubernetesCluster
from jupyter_gpu_jit.adapters.system import RandomIds, SystemClock
from jupyter_gpu_jit.cli.demo import _demo_parts, _demo_stage_seconds
from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.core.model import Offering
from jupyter_gpu_jit.core.requirements import CapacityType
from jupyter_gpu_jit.local.demo import OWNER, DemoSettings, Market, run_demo
from jupyter_gpu_jit.ports import CLAIMS, NODES, PODS, Cluster, Json, Kind, LaunchRequest
from jupyter_gpu_jit.provisioner.runtime import Provisioner, Settings
from jupyter_gpu_jit.sim.boot import BootModel, exactly

NAMESPACE = "gpu-jit"
READY_SECONDS = 120
GHOST = "ghost-node"
CORDONED = "node.kubernetes.io/unschedulable"

# What these tests are about does not depend on how long a machine takes to boot.
QUICK = BootModel(
    launch=exactly(0.2),
    boot=exactly(0.5),
    register=exactly(0.5),
    ready=exactly(0.2),
    gpus=exactly(0.2),
    call=exactly(0.02),
    shutdown=exactly(0.5),
)


class Meddling:
    """A Cluster that does what it is asked, and tells ``before`` of each patch first."""

    def __init__(self, cluster: Cluster, before: Callable[[Kind, Json], Any]) -> None:
        self._cluster, self._before = cluster, before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster, name)

    async def patch(self, kind: Kind, name: str, patch: Json, **where: str) -> Json:
        await self._before(kind, patch)
        return await self._cluster.patch(kind, name, patch, **where)


@dataclass
class WholeRun:
    """The running demo, seen by its administrator."""

    lines: list[str]
    admin: Any = None
    cloud: Any = None
    cordoned: str = ""
    cordon_next: bool = False

    @property
    def url(self) -> str:
        return next(s.removeprefix("ready: ") for s in self.lines if s.startswith("ready: "))

    @property
    def folder(self) -> Path:
        return Path(self.lines[0].removeprefix("folder: ").partition(" ")[0])

    @property
    def plane(self) -> Path:
        return self.folder / "control-plane"

    def connect(self) -> None:
        self.admin = KubernetesCluster.from_kubeconfig(str(self.plane / "admin.kubeconfig"))

    def audit(self) -> list[Json]:
        """What service accounts of our namespace asked of the API server."""
        rows = map(json.loads, (self.plane / "audit.log").read_text().splitlines())
        ours = f"system:serviceaccount:{NAMESPACE}:"
        return [row for row in rows if row["user"]["username"].startswith(ours)]

    async def pods(self) -> list[Json]:
        return list((await self.admin.list(PODS, namespace=NAMESPACE)).items)

    async def pod_of(self, user: str) -> Json | None:
        for pod in await self.pods():
            if json.loads(pod["metadata"]["annotations"][wire.SESSION_ANNOTATION])["user"] == user:
                return pod
        return None

    async def server_token(self, user: str) -> str:
        """The token that user's server was given."""
        pod = await self.pod_of(user)
        assert pod is not None
        [container] = pod["spec"]["containers"]
        env = {row["name"]: row.get("value", "") for row in container["env"]}
        return str(env["JUPYTERHUB_API_TOKEN"])

    async def meddle(self, kind: Kind, patch: Json) -> None:
        """Somebody cordons the node between the provisioner's look and its release of a pod."""
        pin = (patch.get("spec") or {}).get("nodeSelector") if kind is PODS else None
        if not (self.cordon_next and pin):
            return
        self.cordon_next = False
        nodes = (await self.admin.list(NODES)).items
        [name] = [
            node["metadata"]["name"]
            for node in nodes
            if node["metadata"]["labels"].get(wire.PIN_LABEL) == pin[wire.PIN_LABEL]
        ]
        await self.admin.patch(NODES, name, {"spec": {"unschedulable": True}})

        async def is_known() -> bool:
            taints = (await self.admin.get(NODES, name))["spec"].get("taints", ())
            return any(taint["key"] == CORDONED for taint in taints)

        # A controller has seen it, so the scheduler has, too: it will not bind the pod.
        await until(is_known, "the cordon is known")
        self.cordoned = name

    async def uncordon(self) -> None:
        await self.admin.patch(NODES, self.cordoned, {"spec": {"unschedulable": None}})


async def until(check: Callable[[], Any], what: str, seconds: float = 90.0) -> Any:
    """What ``check`` (awaited if need be) gives once that is true."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                found = check()
                found = await found if asyncio.iscoroutine(found) else found
                if found:
                    return found
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"not within {seconds} s: {what}") from None


@asynccontextmanager
async def whole_run() -> AsyncIterator[WholeRun]:
    """A demo on a real control plane that keeps an audit log; gone at the end."""
    run = WholeRun(lines=[])
    settings = DemoSettings(port=0, real=True, audit=True)
    demo = asyncio.ensure_future(run_demo(settings, _parts(run), run.lines.append))
    try:
        await until(
            lambda: demo.done() or any(s.startswith("ready: ") for s in run.lines),
            "the demo is ready",
            READY_SECONDS,
        )
        if demo.done():
            demo.result()
        run.connect()
        yield run
    finally:
        if run.admin is not None:
            await run.admin.close()
        demo.cancel()
        with suppress(asyncio.CancelledError):
            await demo


def _parts(run: WholeRun) -> Any:
    settings = Settings(
        cluster_id=OWNER,
        hub_id=OWNER,
        namespace=NAMESPACE,
        empty_grace_seconds=1.0,
        release_deadline_seconds=2.0,
        orphan_grace_seconds=5.0,
        collect_interval_seconds=2.0,
        stage_seconds=_demo_stage_seconds(),
    )

    async def provision(cluster: Cluster, market: Market) -> None:
        run.cloud = cloud = market.cloud
        meddled: Any = Meddling(cluster, run.meddle)
        await Provisioner(meddled, cloud, SystemClock(), ids=RandomIds(), settings=settings).run()

    return replace(_demo_parts(1.0), provision=provision)


# --- what happens ------------------------------------------------------------------------------


async def live(run: WholeRun) -> None:
    """Quotes, start, cancel, a stuck pod made anew, session info, stop, empty nodes, garbage."""
    async with Person(run.url, "ann") as ann, Person(run.url, "bob") as bob:
        quotes = (await ann.api("GET", "gpu-jit/quotes"))["quotes"]
        assert all(quote["possible"] for quote in quotes.values())
        run.cordon_next = True
        await ann.start({"profile": "l4"})
        await bob.start({"profile": "cpu"})
        await until(lambda: run.pod_of("bob"), "bob's pod")
        await bob.api("POST", "gpu-jit/users/bob/server/cancel")
        first = await until(lambda: run.cordoned and run.pod_of("ann"), "a pod that is stuck")
        await _until_another(run, first)
        await run.uncordon()
        assert (await ann.progress())[-1][1].get("ready")
        await _ask_the_service(run, ann)
        await leave_garbage(run)
        await ann.stop()
    await until(lambda: _nothing_left(run), "no claim, node or instance is left")


async def _until_another(run: WholeRun, first: Json) -> None:
    async def is_another() -> bool:
        pod = await run.pod_of("ann")
        return pod is not None and pod["metadata"]["uid"] != first["metadata"]["uid"]

    await until(is_another, "the stuck pod is created again")


async def _ask_the_service(run: WholeRun, person: Person) -> None:
    token = await run.server_token(person.name)
    headers = {"Authorization": f"token {token}"}
    root = f"{run.url}services/gpu-jit/api/v1/"
    async with aiohttp.ClientSession(headers=headers) as client:
        for path in ("session", "overview"):
            async with client.get(root + path) as answer:
                assert answer.status == 200, await answer.text()
                assert "g6.xlarge" in await answer.text()
        async with client.get(f"{root}events") as answer:
            assert answer.status == 200
            assert (await answer.content.readline()).startswith(b"event: overview")


async def leave_garbage(run: WholeRun) -> None:
    """An instance without claim, and a node object without either."""
    offering = Offering(
        instance_type="g4dn.xlarge",
        zone="us-east-1a",
        capacity_type=CapacityType.ON_DEMAND,
        usd_per_hour_micro=526_000,
    )
    tags = {wire.CLUSTER_TAG: OWNER, wire.HUB_TAG: OWNER, wire.BATCH_TAG: "lost"}
    request = LaunchRequest(
        client_token=secrets.token_hex(8), offerings=(offering,), count=1, tags=tags
    )
    result = await run.cloud.launch(request)
    assert result.instances
    labels = {wire.PIN_LABEL: "gnc-of-nobody"}
    await run.admin.create(NODES, {"metadata": {"name": GHOST, "labels": labels}})


async def _nothing_left(run: WholeRun) -> bool:
    claims = (await run.admin.list(CLAIMS)).items
    pinned = [
        node["metadata"]["name"]
        for node in (await run.admin.list(NODES)).items
        if wire.PIN_LABEL in node["metadata"]["labels"]
    ]
    return not claims and not pinned and not run.cloud.live()
