"""Clouds to run the contract of ``ports.Cloud`` against, each with the same knobs.

A stage has ``cloud`` and says what truly happened there: which instances were ever launched and
which live, whatever the port tells.
"""

import random
from contextlib import asynccontextmanager

from jupyter_gpu_jit.adapters.aws.calls import AwsCalls
from jupyter_gpu_jit.adapters.aws.ec2 import Ec2Cloud
from jupyter_gpu_jit.adapters.aws.settings import AwsSettings, ImageSettings
from jupyter_gpu_jit.adapters.system import RandomIds, SystemClock
from jupyter_gpu_jit.catalogue import instance_types
from jupyter_gpu_jit.local.cloud_api import CloudApi
from jupyter_gpu_jit.local.cloud_client import CloudClient
from jupyter_gpu_jit.sim.boot import BootModel, exactly
from jupyter_gpu_jit.sim.cloud import SimCloud
from jupyter_gpu_jit.sim.market import TYPES

TAGS = {"gpu-jit.io/cluster": "contract"}
STEPS = ("launch", "boot", "register", "ready", "gpus", "call", "shutdown")
TOKEN = "contract-token"
QUEUE, PROFILE = "contract", "contract-node"
CLUSTER_FACTS = {
    "eks_cluster": "contract",
    "cluster_id": "contract",
    "instance_profile": PROFILE,
    "endpoint": "https://contract.eks.test",
    "certificate_authority": "Y2E=",
    "service_cidr": "172.20.0.0/16",
    "kubernetes_version": "1.36",
    "image": ImageSettings(ids={"amd64": "ami-12345678", "arm64": "ami-87654321"}),
    "queue": QUEUE,
}


class SimStage:
    """The simulated cloud, directly or behind HTTP."""

    def __init__(self, sim, cloud):
        self.sim, self.cloud = sim, cloud

    def set_price(self, key, usd_per_hour_micro):
        self.sim.set_price(key, usd_per_hour_micro)

    def stock(self, key, count):
        self.sim.stock(key, count)

    def refuse(self, key, code):
        self.sim.refuse(key, code)

    def ever(self):
        return list(self.sim.ledger)

    def live(self):
        return [i.id for i in self.sim.live()]

    async def all_running(self):
        return {i.state for i in self.sim.live()} == {"running"}


class AwsStage:
    """boto3 against the AWS on loopback."""

    def __init__(self, world, calls, cloud):
        self.world, self.calls, self.cloud = world, calls, cloud

    def set_price(self, key, usd_per_hour_micro):
        self._pool(key, price_usd=usd_per_hour_micro / 1e6)

    def stock(self, key, count):
        self._pool(key, free=count)

    def refuse(self, key, code):
        self._pool(key, refusal=code)

    def ever(self):
        return [row["id"] for row in self._rows()]

    def live(self):
        return [row["id"] for row in self._rows() if row["state"] in ("pending", "running")]

    async def all_running(self):
        self.world.control.post("advance", seconds=60)
        return {row["state"] for row in self._rows()} == {"running"}

    def _pool(self, key, **values):
        kind, zone, sold = key
        self.world.control.post("pool", zone=zone, type=kind, capacity_type=sold, **values)

    def _rows(self):
        return self.world.control.get("instances")["instances"]


@asynccontextmanager
async def sim_stage(*, http):
    """The simulated cloud without delays."""
    boot = BootModel(**dict.fromkeys(STEPS, exactly(0.0)))
    sim = SimCloud(SystemClock(), RandomIds(), random.Random(1), TYPES, boot=boot, tags=TAGS)
    if not http:
        yield SimStage(sim, sim)
    else:
        api = CloudApi(sim, TOKEN)
        client = CloudClient(await api.start(), TOKEN)
        yield SimStage(sim, client)
        await client.close()
        await api.stop()
    await sim.close()


def aws_settings(world, **changes):
    """A fresh world's settings, with everything there that an admin would have made."""
    made = world.control.post("provision", profile=PROFILE, queue=QUEUE)
    found = {
        **CLUSTER_FACTS,
        "region": world.region,
        "endpoint_url": world.url,
        "subnet_ids": tuple(made["subnet_ids"]),
        "security_group_ids": (made["security_group_id"],),
        "families": ("g6", "p4d"),
    }
    return AwsSettings(**{**found, **changes})


@asynccontextmanager
async def aws_stage(world):
    """boto3 against a world that was just begun anew."""
    world.control.post("reset")
    calls = AwsCalls(aws_settings(world), SystemClock())
    cloud = Ec2Cloud(calls, instance_types())
    yield AwsStage(world, calls, cloud)
    await cloud.close()
