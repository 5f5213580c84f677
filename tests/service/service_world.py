"""A running service over an in-memory cluster with one session on one node, for tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.web import Application

from jupyter_gpu_jit.catalogue import instance_types
from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.core.model import (
    Condition,
    LaunchBatch,
    NodeClaim,
    Offering,
    Resources,
    SessionRequest,
    SessionStatus,
)
from jupyter_gpu_jit.core.requirements import CapacityType
from jupyter_gpu_jit.ports import CLAIMS, NODES, PODS
from jupyter_gpu_jit.service import ServiceSettings, make_app, serve
from jupyter_gpu_jit.service.board import Board
from jupyter_gpu_jit.sim.cluster import MemoryCluster
from jupyter_gpu_jit.sim.loop import CountingIds

NOW = 1_800_000_000.0
STARTED = "2027-01-15T07:00:00Z"  # an hour before NOW
PREFIX = "/services/gpu-jit/"


class FixedClock:
    def now(self) -> float:
        return NOW

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody sleeps here")


class Catalogue:
    """The part of a cloud that the service asks."""

    async def instance_types(self):
        return instance_types(families=["p4d", "g6", "t3"])


@dataclass(frozen=True)
class World:
    cluster: MemoryCluster
    server: HTTPServer
    api_url: str
    app: Application

    @property
    def url(self) -> str:
        """Without path."""
        return self.api_url.removesuffix(f"{PREFIX}api/v1/")

    @property
    def board(self) -> Board:
        """What the status page looks at."""
        rules = self.app.wildcard_router.rules
        return next(r.target_kwargs["board"] for r in rules if "board" in r.target_kwargs)

    def routes(self) -> dict[str, type]:
        """Handlers of all routes by the route's pattern, with that of everything else."""
        rules = self.app.wildcard_router.rules
        found = {rule.matcher.regex.pattern: rule.target for rule in rules}
        return found | {"": self.app.settings["default_handler_class"]}

    async def ask(
        self, path: str, *, token: str = "", method: str = "GET", body: Any = None, **extra: str
    ) -> HTTPResponse:
        headers = {"Authorization": f"token {token}"} if token else {}
        return await AsyncHTTPClient().fetch(
            (self.url if path.startswith("/") else self.api_url) + path,
            method=method,
            body=body if body is None or isinstance(body, bytes) else json.dumps(body),
            headers={**headers, **extra},
            raise_error=False,
            follow_redirects=False,
            allow_nonstandard_methods=True,
        )


async def make_world(hub, *, cloud: Any = "catalogue") -> World:
    cluster = MemoryCluster(FixedClock(), CountingIds())
    settings = ServiceSettings(
        hub_api_url=hub.api_url,
        api_token=hub.service_token,
        prefix=PREFIX,
        hub_prefix="/hub/",
        identity_seconds=1,
        list_seconds=0.1,
    )
    chosen = Catalogue() if cloud == "catalogue" else cloud
    app = make_app(cluster, chosen, settings=settings, now=lambda: NOW)
    server, port = serve(app)
    return World(cluster, server, f"http://127.0.0.1:{port}{PREFIX}api/v1/", app)


def session_pod(user: str = "ann", server: str = "", **annotations: str) -> dict[str, Any]:
    """A gated pod as the spawner writes it, under a name that says nothing."""
    size = Resources(cpu_millicpu=8000, memory_bytes=64 << 30, gpus=1)
    request = SessionRequest(uid="", user=user, server=server, profile="a100", resources=size)
    amounts = {"cpu": "8", "memory": "64Gi", wire.GPU_RESOURCE: "1"}
    return {
        "metadata": {
            "generateName": "pod-",
            "labels": {wire.SESSION_LABEL: "true"},
            "annotations": {wire.SESSION_ANNOTATION: wire.encode_session(request), **annotations},
        },
        "spec": {
            "schedulingGates": [{"name": wire.GATE}],
            "containers": [
                {
                    "name": "notebook",
                    "image": "lab",
                    "resources": {"requests": amounts, "limits": amounts},
                }
            ],
        },
    }


async def seat_session(cluster: MemoryCluster, user: str = "ann", server: str = "") -> None:
    """A session running on one of the eight GPUs of a p4d.24xlarge, for an hour."""
    await cluster.create(NODES, _node())
    await create_claim(cluster, "gnc-1")
    await _launch(cluster, "gnc-1")
    pod = await cluster.create(PODS, session_pod(user, server), namespace="gpu-jit")
    name = pod["metadata"]["name"]
    release = {"spec": {"schedulingGates": None, "nodeSelector": {wire.PIN_LABEL: "gnc-1"}}}
    await cluster.patch(PODS, name, release, namespace="gpu-jit")
    await cluster.create(
        PODS,
        {"target": {"kind": "Node", "name": "n1"}},
        namespace="gpu-jit",
        name=name,
        subresource="binding",
    )
    ready = [{"type": "Ready", "status": "True"}]
    status = {"phase": "Running", "startTime": STARTED, "conditions": ready}
    await cluster.patch(PODS, name, {"status": status}, namespace="gpu-jit", subresource="status")


def _node() -> dict[str, Any]:
    allocatable = {"cpu": "95", "memory": "1100Gi", wire.GPU_RESOURCE: "8", "pods": "110"}
    return {
        "metadata": {"name": "n1", "labels": {wire.PIN_LABEL: "gnc-1"}},
        "spec": {"providerID": "aws:///us-east-1a/i-1"},
        "status": {
            "allocatable": allocatable,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


async def create_claim(cluster: MemoryCluster, name: str) -> None:
    """A claim as the provisioner writes it before it asks the cloud."""
    offering = Offering(
        instance_type="p4d.24xlarge",
        zone="us-east-1a",
        capacity_type=CapacityType.SPOT,
        usd_per_hour_micro=8_000_000,
    )
    claim = NodeClaim(
        name=name,
        uid="",
        resource_version="",
        created_at=NOW,
        cluster_id="c",
        hub_id="h",
        batch=LaunchBatch(id="batch-1", claims=(name,)),
        offerings=(offering,),
    )
    await cluster.create(CLAIMS, wire.encode_claim(claim))


async def _launch(cluster: MemoryCluster, name: str) -> None:
    done = [wire.LAUNCHED, wire.REGISTERED, wire.INITIALISED]
    conditions = [Condition(type=kind, status=True, since=NOW) for kind in done]
    status = {
        "conditions": [wire.encode_condition(each) for each in conditions],
        "providerID": "aws:///us-east-1a/i-1",
        "nodeName": "n1",
        "instanceType": "p4d.24xlarge",
        "zone": "us-east-1a",
        "capacityType": "spot",
        "microUSDPerHour": 8_000_000,
    }
    await cluster.patch(CLAIMS, name, {"status": status}, subresource="status")


def told(stage: str, message: str) -> Mapping[str, str]:
    status = SessionStatus(stage=stage, since=NOW, message=message)
    return {wire.STATUS_ANNOTATION: wire.encode_status(status)}
