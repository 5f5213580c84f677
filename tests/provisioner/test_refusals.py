"""What the cloud refuses is remembered as what it is, and told to who waits in plain words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.core.dry import decode
from jupyter_gpu_jit.core.requirements import CapacityPolicy
from jupyter_gpu_jit.errors import Rejected
from jupyter_gpu_jit.ports import LEASES, PODS
from jupyter_gpu_jit.provisioner import metrics
from jupyter_gpu_jit.sim.notices import NoticeFaults
from jupyter_gpu_jit.sim.users import Outcome
from jupyter_gpu_jit.sim.world import World, real_provisioner


def told(world: World) -> str:
    texts = [
        p["metadata"]["annotations"].get(wire.STATUS_ANNOTATION) for p in world.cluster.peek(PODS)
    ]
    statuses = [wire.decode_status(text) for text in texts]
    return statuses[0].message if statuses and statuses[0] else ""


def l4_keys(world: World, capacity_type: str = "spot") -> list[tuple[str, str, str]]:
    types = [t for t in world.config.types if t.gpu_model == "L4"]
    return [o.key for t in types for o in t.offerings if o.capacity_type == capacity_type]


def test_a_quota_of_the_account_is_told_as_one_and_one_refusal_speaks_for_its_class(in_world, l4):
    async def body(world: World):
        for key in l4_keys(world):
            world.cloud.refuse(key, "MaxSpotInstanceCountExceeded")
        ann = world.hub.start("ann", replace(l4, capacity=CapacityPolicy.SPOT))
        await world.until(lambda: "ask your admin" in told(world), seconds=60)
        assert told(world) == "Your cluster has no Spot quota left for G instances: ask your admin."
        await world.clock.sleep(120)
        assert not world.cloud.ledger
        assert ann.outcome is Outcome.STARTING
        for key in l4_keys(world):
            world.cloud.refuse(key, "")
        await world.hub.ready(ann, seconds=600)
        assert ann.outcome is Outcome.READY

    in_world(body)


def test_without_spot_quota_a_profile_that_may_goes_on_demand(in_world, l4):
    async def body(world: World):
        for key in l4_keys(world):
            world.cloud.refuse(key, "VcpuLimitExceeded")
        ann = world.hub.start("ann", replace(l4, capacity=CapacityPolicy.SPOT_THEN_ON_DEMAND))
        await world.hub.ready(ann, seconds=300)
        assert {i.capacity_type for i in world.cloud.live()} == {"on-demand"}

    in_world(body)


def test_a_subnet_without_addresses_leaves_the_other_zones(in_world, l4):
    async def body(world: World):
        for key in l4_keys(world):
            if key[1] == "us-east-1a":
                world.cloud.refuse(key, "InsufficientFreeAddressesInSubnet")
        await world.hub.ready(world.hub.start("ann", l4), seconds=300)
        (instance,) = world.cloud.live()
        assert instance.zone == "us-east-1b"

    in_world(body)


def test_what_is_sold_out_is_written_on_the_lease_for_those_who_quote(in_world, l4):
    async def body(world: World):
        best = min(
            (o for t in world.config.types if t.gpu_model == "L4" for o in t.offerings),
            key=lambda o: o.usd_per_hour_micro,
        )
        world.cloud.dry(best.key)
        await world.hub.ready(world.hub.start("ann", l4))
        (lease,) = world.cluster.peek(LEASES)
        told = decode(lease["metadata"]["annotations"][wire.DRY_ANNOTATION])
        now = world.clock.now()
        assert told.excluded(world.config.types, now=now) == [best.key]
        await world.clock.sleep(200)
        (lease,) = world.cluster.peek(LEASES)
        assert not decode(lease["metadata"]["annotations"][wire.DRY_ANNOTATION]).spells

    in_world(body)


def test_a_new_leader_does_not_ask_again_for_what_was_sold_out(in_world, l4):
    async def body(world: World):
        offerings = (o for t in world.config.types if t.gpu_model == "L4" for o in t.offerings)
        world.cloud.dry(min(offerings, key=lambda o: o.usd_per_hour_micro).key)
        await world.hub.ready(world.hub.start("ann", l4))
        refused = world.meter.counted(metrics.ICE)
        assert refused > 0
        await world.clock.sleep(60)  # the lease has been written since, and the spell goes on
        await world.crash()
        world.start_provisioner()
        await world.hub.ready(world.hub.start("bob", l4), seconds=100)
        assert world.meter.counted(metrics.ICE) == refused

    in_world(body, notices=NoticeFaults())


class Forbidding:
    """A cloud that may not launch."""

    def __init__(self, inner):
        self.inner, self.asked = inner, 0

    def __getattr__(self, name):
        return getattr(self.inner, name)

    async def launch(self, request):
        self.asked += 1
        raise Rejected("The role lacks ec2:CreateFleet.", reason="UnauthorizedOperation")


def test_a_request_that_the_cloud_forbids_is_told_as_that_and_not_repeated_for_a_while(
    in_world, l4
):
    clouds = []

    def make(cluster, cloud, *rest, **more):
        clouds.append(Forbidding(cloud))
        return real_provisioner(cluster, clouds[-1], *rest, **more)

    async def body(world: World):
        world.hub.start("ann", l4)
        await world.until(lambda: "refused" in told(world), seconds=60)
        await world.clock.sleep(150)
        assert told(world) == "The cloud refused to launch: The role lacks ec2:CreateFleet."
        assert clouds[0].asked < 8

    in_world(body, make=make)


@pytest.mark.parametrize("code", ["RequestLimitExceeded", "ServiceUnavailable"])
def test_a_throttled_pool_is_asked_again_as_if_nothing_had_been(in_world, l4, code):
    async def body(world: World):
        best = min(
            (o for t in world.config.types if t.gpu_model == "L4" for o in t.offerings),
            key=lambda o: o.usd_per_hour_micro,
        )
        for key in l4_keys(world) + l4_keys(world, "on-demand"):
            world.cloud.refuse(key, code)
        ann = world.hub.start("ann", l4)
        await world.clock.sleep(30)
        assert world.meter.counted(metrics.LAUNCHES, outcome="failed", code=code) > 2
        assert not world.meter.counted(metrics.ICE)
        requests = len(world.cloud._answers)
        assert 2 <= requests <= 30 / 5
        for key in l4_keys(world) + l4_keys(world, "on-demand"):
            world.cloud.refuse(key, "")
        await world.hub.ready(ann, seconds=300)
        (instance,) = world.cloud.live()
        assert (instance.instance_type, instance.zone) == (best.instance_type, best.zone)

    in_world(body, notices=NoticeFaults())
