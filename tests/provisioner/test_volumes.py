"""Sessions go where their volumes are: each kind of volume where it alone decides.

A whole world in virtual time: the real provisioner, and stand-ins for the scheduler and for the
controllers that make volumes.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from jupyter_gpu_jit.core.progress import Stage
from jupyter_gpu_jit.core.wire import ZONE_LABEL
from jupyter_gpu_jit.errors import Defect, NotFound, Rejected, Unavailable
from jupyter_gpu_jit.ports import NODES, STORAGE_CLASSES, VOLUME_CLAIMS, VOLUMES, Kind
from jupyter_gpu_jit.provisioner.runtime import Provisioner
from jupyter_gpu_jit.provisioner.settings import Settings
from jupyter_gpu_jit.provisioner.volumes import Volumes
from jupyter_gpu_jit.sim.cluster import MemoryCluster
from jupyter_gpu_jit.sim.loop import CountingIds, LoopClock, run
from jupyter_gpu_jit.sim.market import CPU, L4, TYPES, ZONES
from jupyter_gpu_jit.sim.notices import NoticeFaults
from jupyter_gpu_jit.sim.users import Outcome, Session
from jupyter_gpu_jit.sim.volumes import DRIVER
from jupyter_gpu_jit.sim.world import World

WHERE = {"namespace": "gpu-jit"}
CHEAP_ZONE, OTHER_ZONE = ZONES
GIB = {"storage": "1Gi"}
SMALL = replace(CPU, cpu_guarantee_millicpu=400, memory_guarantee_bytes=1 << 30)


async def make_class(world: World, name: str = "lazy", **body: Any) -> None:
    body = {"provisioner": DRIVER, "volumeBindingMode": "WaitForFirstConsumer", **body}
    await world.cluster.create(STORAGE_CLASSES, {"metadata": {"name": name}, **body})


async def make_claim(
    world: World,
    name: str = "home",
    *,
    kind: str = "lazy",
    mode: str = "ReadWriteOnce",
    **spec: Any,
) -> None:
    spec = {"accessModes": [mode], "resources": {"requests": GIB}, "storageClassName": kind, **spec}
    body = {"metadata": {"name": name}, "spec": spec}
    await world.cluster.create(VOLUME_CLAIMS, body, **WHERE)


async def make_bound(
    world: World, zone: str, name: str = "home", *, mode: str = "ReadWriteOnce"
) -> None:
    """A claim with a volume that has long been in that zone."""
    row = {"key": ZONE_LABEL, "operator": "In", "values": [zone]}
    spec = {
        "accessModes": [mode],
        "capacity": GIB,
        "csi": {"driver": DRIVER, "volumeHandle": name},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [row]}]}},
    }
    await world.cluster.create(VOLUMES, {"metadata": {"name": f"pv-{name}"}, "spec": spec})
    await make_claim(world, name, kind="", mode=mode, volumeName=f"pv-{name}")
    await world.clock.sleep(1)


async def zone_of(world: World, session: Session) -> str:
    node = await world.cluster.get(NODES, session.nodes[-1])
    return str(node["metadata"]["labels"][ZONE_LABEL])


def prefer(world: World, zone: str) -> None:
    """From now on everything costs twice as much in the other zones."""
    for kind in TYPES:
        for sold in kind.offerings:
            factor = 1 if sold.zone == zone else 2
            world.cloud.set_price(sold.key, factor * sold.usd_per_hour_micro)


def run_dry(world: World, zone: str) -> None:
    for kind in TYPES:
        for sold in kind.offerings:
            if sold.zone == zone:
                world.cloud.dry(sold.key)


# --- where a volume is ----------------------------------------------------------------------------


@pytest.mark.parametrize("zone", ZONES)
def test_a_session_starts_in_the_zone_of_its_volume(in_world, zone):
    async def body(world: World) -> None:
        await make_bound(world, zone)
        ann = world.hub.start("ann", L4, volumes=["home"])
        await world.hub.ready(ann)
        assert ann.outcome is Outcome.READY
        assert await zone_of(world, ann) == zone
        assert len(ann.pods) == 1

    in_world(body)


def test_a_node_in_another_zone_is_no_seat_for_it_however_much_room_it_has(in_world):
    async def body(world: World) -> None:
        neighbour = world.hub.start("neighbour", SMALL)
        await world.hub.ready(neighbour)
        assert await zone_of(world, neighbour) == CHEAP_ZONE
        await make_bound(world, OTHER_ZONE)
        ann = world.hub.start("ann", SMALL, volumes=["home"])
        bob = world.hub.start("bob", SMALL)
        await world.hub.ready(ann, bob)
        assert bob.nodes == neighbour.nodes
        assert await zone_of(world, ann) == OTHER_ZONE

    in_world(body)


def test_where_the_zone_of_its_volume_has_no_capacity_the_session_waits_and_is_told_so(in_world):
    async def body(world: World) -> None:
        await make_bound(world, OTHER_ZONE)
        run_dry(world, OTHER_ZONE)
        ann = world.hub.start("ann", L4, volumes=["home"])
        await world.hub.reached(ann, Stage.WAITING)
        await world.clock.sleep(600)
        assert not ann.nodes
        assert f"in {OTHER_ZONE}" in ann.message
        assert "have capacity now" in ann.message
        bob = world.hub.start("bob", L4)
        await world.hub.ready(bob)
        assert await zone_of(world, bob) == CHEAP_ZONE

    in_world(body)


# --- volumes that are still to be made ------------------------------------------------------------


def test_the_second_start_of_a_user_lands_in_the_zone_where_the_first_made_the_home(in_world):
    async def body(world: World) -> None:
        await make_class(world)
        await make_claim(world)
        prefer(world, OTHER_ZONE)
        first = world.hub.start("ann", L4, volumes=["home"])
        await world.hub.ready(first)
        assert await zone_of(world, first) == OTHER_ZONE
        [volume] = world.cluster.peek(VOLUMES)
        assert volume["status"]["phase"] == "Bound"
        await world.hub.stop(first)
        await world.all_given_back()
        prefer(world, CHEAP_ZONE)
        await world.clock.sleep(world.config.settings.prices_age_seconds + 1)
        second = world.hub.start("ann", L4, volumes=["home"])
        other = world.hub.start("bob", L4)
        await world.hub.ready(second, other)
        assert await zone_of(world, second) == OTHER_ZONE
        assert await zone_of(world, other) == CHEAP_ZONE
        assert len(second.pods) == len(first.pods) == 1

    in_world(body)


def test_a_claim_that_waits_for_its_first_consumer_leaves_the_zone_free(in_world):
    async def body(world: World) -> None:
        await make_class(world)
        await make_claim(world)
        ann = world.hub.start("ann", L4, volumes=["home"])
        await world.hub.ready(ann)
        assert await zone_of(world, ann) == CHEAP_ZONE

    in_world(body)


def test_a_class_that_allows_one_zone_only_decides_it(in_world):
    async def body(world: World) -> None:
        row = {"key": ZONE_LABEL, "values": [OTHER_ZONE]}
        await make_class(world, allowedTopologies=[{"matchLabelExpressions": [row]}])
        await make_claim(world)
        ann = world.hub.start("ann", L4, volumes=["home"])
        await world.hub.ready(ann)
        assert await zone_of(world, ann) == OTHER_ZONE

    in_world(body)


def test_who_is_released_while_the_volume_is_made_is_not_taken_for_stuck(in_world):
    async def body(world: World) -> None:
        world.maker.making_seconds = 45.0
        await make_class(world)
        await make_claim(world)
        ann = world.hub.start("ann", L4, volumes=["home"])
        await world.hub.ready(ann)
        assert ann.outcome is Outcome.READY
        assert len(ann.pods) == 1

    in_world(body)


def test_a_volume_that_is_never_made_ends_in_a_new_start_and_not_in_silence(in_world):
    async def body(world: World) -> None:
        world.maker.making_seconds = 10_000.0
        await make_class(world)
        await make_claim(world)
        ann = world.hub.start("ann", L4, volumes=["home"])
        await world.until(lambda: len(ann.pods) == 2, seconds=600)

    in_world(body)


def test_a_claim_that_is_bound_at_once_is_waited_for_and_then_followed(in_world):
    async def body(world: World) -> None:
        world.maker.making_seconds = 100.0
        await make_class(world, "eager", volumeBindingMode="Immediate")
        world.maker.zone = OTHER_ZONE
        await make_claim(world, kind="eager")
        ann = world.hub.start("ann", L4, volumes=["home"])
        await world.hub.reached(ann, Stage.WAITING)
        await world.clock.sleep(30)
        assert ann.message == "It waits: its volume claim home has no volume yet."
        assert not world.cloud.live()
        await world.hub.ready(ann)
        assert await zone_of(world, ann) == OTHER_ZONE

    in_world(body)


def test_a_claim_that_is_missing_is_waited_for(in_world):
    async def body(world: World) -> None:
        await make_class(world)
        ann = world.hub.start("ann", L4, volumes=["home"])
        await world.hub.reached(ann, Stage.WAITING)
        assert ann.message == "It waits: its volume claim home does not exist yet."
        await world.clock.sleep(5)
        made_at = world.clock.now()
        await make_claim(world)
        await world.hub.ready(ann)
        assert ann.outcome is Outcome.READY
        assert ann.stages[Stage.PLANNED] < made_at + 2

    in_world(body)


def test_whoever_has_to_leave_a_node_gets_the_next_one_where_the_home_is(in_world):
    async def body(world: World) -> None:
        await make_bound(world, OTHER_ZONE)
        ann = world.hub.start("ann", L4, volumes=["home"])
        await world.hub.ready(ann)
        [taken] = world.cloud.live()
        world.interrupt(taken.id)
        await world.clock.sleep(30)
        [new] = [instance for instance in world.cloud.live() if instance.id != taken.id]
        assert new.zone == OTHER_ZONE
        await world.hub.gone(ann)
        again = world.hub.start("ann", L4, volumes=["home"])
        await world.hub.ready(again)
        assert await zone_of(world, again) == OTHER_ZONE
        assert len(world.cloud.ledger) == 2

    in_world(body, notices=NoticeFaults(transit_seconds=0.0))


# --- volumes in use -------------------------------------------------------------------------------


def test_a_volume_of_one_node_that_is_in_use_means_that_node(in_world):
    async def body(world: World) -> None:
        await make_bound(world, CHEAP_ZONE)
        first = world.hub.start("ann", SMALL, volumes=["home"])
        await world.hub.ready(first)
        second = world.hub.start("ann", SMALL, server="two", volumes=["home"])
        await world.hub.ready(second)
        assert second.nodes == first.nodes

    in_world(body)


def test_where_that_node_is_full_the_session_waits_until_the_volume_is_free(in_world):
    async def body(world: World) -> None:
        await make_bound(world, CHEAP_ZONE)
        first = world.hub.start("ann", L4, volumes=["home"])
        await world.hub.ready(first)
        second = world.hub.start("ann", L4, server="two", volumes=["home"])
        await world.hub.reached(second, Stage.WAITING)
        await world.clock.sleep(120)
        assert f"are the node {first.nodes[0]}, where its volume is in use" in second.message
        assert len(world.cloud.live()) == 1
        await world.hub.stop(first)
        await world.hub.ready(second)
        assert second.outcome is Outcome.READY

    in_world(body)


def test_a_volume_that_many_nodes_share_ties_nobody_to_a_node(in_world):
    async def body(world: World) -> None:
        await make_bound(world, CHEAP_ZONE, mode="ReadWriteMany")
        users = [world.hub.start(f"user{n}", L4, volumes=["home"]) for n in range(2)]
        await world.hub.ready(*users)
        assert users[0].nodes != users[1].nodes
        assert {await zone_of(world, user) for user in users} == {CHEAP_ZONE}

    in_world(body)


@pytest.mark.parametrize("bound", [True, False], ids=["bound", "new"])
def test_of_two_starts_at_once_with_one_home_the_second_goes_where_the_first_is(in_world, bound):
    async def body(world: World) -> None:
        if bound:
            await make_bound(world, CHEAP_ZONE)
        else:
            await make_class(world)
            await make_claim(world)
        first, second = (
            world.hub.start("ann", L4, server=name, volumes=["home"]) for name in ("one", "two")
        )
        await world.hub.reached(second, Stage.WAITING)
        assert second.message == "It waits: its volume claim home goes to jupyter-ann--one first."
        await world.hub.ready(first)
        await world.clock.sleep(120)
        assert (first.outcome, second.outcome) == (Outcome.READY, Outcome.STARTING)
        assert len(world.cloud.ledger) == 1
        await world.hub.stop(first)
        await world.hub.ready(second)
        assert await zone_of(world, second) == CHEAP_ZONE
        assert len(first.pods) == len(second.pods) == 1

    in_world(body)


def test_three_starts_at_once_with_one_home_all_run_on_one_node(in_world):
    async def body(world: World) -> None:
        await make_class(world)
        await make_claim(world)
        servers = [
            world.hub.start("ann", SMALL, server=f"s{n}", volumes=["home"]) for n in range(3)
        ]
        await world.hub.ready(*servers)
        assert len({node for server in servers for node in server.nodes}) == 1
        assert [len(server.pods) for server in servers] == [1, 1, 1]

    in_world(body)


# --- clusters that do not let us look -------------------------------------------------------------


class Refusing:
    """A cluster that refuses to list one kind."""

    def __init__(self, cluster: MemoryCluster, kind: Kind, error: Exception) -> None:
        self._cluster, self._kind, self._error = cluster, kind, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster, name)

    async def list(self, kind: Kind, **scope: str) -> Any:
        if kind == self._kind:
            raise self._error
        return await self._cluster.list(kind, **scope)


def leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for one in error.exceptions for leaf in leaves(one)]
    return [error]


@pytest.mark.parametrize("kind", [VOLUME_CLAIMS, VOLUMES, STORAGE_CLASSES], ids=lambda k: k.plural)
@pytest.mark.parametrize(
    "error",
    [
        Rejected("It is forbidden: no such right.", reason="Forbidden"),
        NotFound("the server could not find the requested resource"),
    ],
    ids=["forbidden", "not served"],
)
def test_a_provisioner_without_the_right_to_look_at_volumes_ends_and_says_what_to_do(kind, error):
    async def main() -> None:
        clock = LoopClock()
        cluster = Refusing(MemoryCluster(clock, CountingIds()), kind, error)
        settings = Settings(lease_seconds=5)
        provisioner = Provisioner(cluster, Any, clock, ids=CountingIds(), settings=settings)
        with pytest.raises(BaseExceptionGroup) as raised:
            async with asyncio.timeout(60):
                await provisioner.run()
        [defect] = leaves(raised.value)
        assert isinstance(defect, Defect)
        assert defect.reason == "NoAccess"
        said = error.user_message.rstrip(".")
        assert defect.user_message == (
            f"The provisioner has to list and watch {kind.plural}, and the API server says: "
            f"{said}. Apply the roles of this version (hub_config/rbac.yaml), then start the "
            "provisioner again."
        )

    run(main, seed=1)


def test_an_api_server_that_is_away_is_asked_again():
    async def main() -> None:
        clock = LoopClock()
        memory = MemoryCluster(clock, CountingIds())
        cluster: Any = Refusing(memory, VOLUMES, Unavailable("It is away."))
        volumes = Volumes(cluster, clock, namespace="gpu-jit", changed=lambda: None)
        following = asyncio.ensure_future(volumes.volumes.run())
        await clock.sleep(60)
        assert not volumes.volumes.synced.is_set()
        cluster._kind = None
        async with asyncio.timeout(60):
            await volumes.volumes.synced.wait()
        following.cancel()
        await asyncio.wait([following])

    run(main, seed=1)
