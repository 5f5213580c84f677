"""The stand-ins for volume controller and scheduler: volumes are made where pods go, and stay."""

from __future__ import annotations

import asyncio

import pytest

from jupyter_gpu_jit.core.wire import ZONE_LABEL
from jupyter_gpu_jit.errors import Unavailable
from jupyter_gpu_jit.ports import NODES, PODS, STORAGE_CLASSES, VOLUME_CLAIMS, VOLUMES
from jupyter_gpu_jit.sim.binder import Binder
from jupyter_gpu_jit.sim.cluster import MemoryCluster
from jupyter_gpu_jit.sim.loop import CountingIds, LoopClock, run
from jupyter_gpu_jit.sim.volumes import DRIVER, SELECTED_NODE, VolumeMaker

WHERE = {"namespace": "gpu-jit"}
GIB = {"storage": "1Gi"}


class Scene:
    """A cluster; the write of the stand-ins with number ``fails_at`` fails once, if it is set."""

    def __init__(self):
        self.clock = LoopClock()
        self.cluster = MemoryCluster(self.clock, CountingIds())
        self.writes, self.fails_at = 0, 0

    def __getattr__(self, name):
        call = getattr(self.cluster, name)

        async def wrapped(*args, **kwargs):
            self.writes += name in ("create", "patch", "delete")
            if self.writes == self.fails_at:
                self.writes += 1
                raise Unavailable("away")
            return await call(*args, **kwargs)

        return call if name == "watch" else wrapped

    async def node(self, name, zone):
        body = {
            "metadata": {"name": name, "labels": {ZONE_LABEL: zone}},
            "status": {
                "allocatable": {"cpu": "4", "memory": "16Gi", "pods": "10"},
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }
        await self.cluster.create(NODES, body)

    async def kind(self, mode="WaitForFirstConsumer", name="c", **body):
        body = {"provisioner": DRIVER, "volumeBindingMode": mode, **body}
        await self.cluster.create(STORAGE_CLASSES, {"metadata": {"name": name}, **body})

    async def claim(self, name="home", **spec):
        spec = {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": GIB},
            "storageClassName": "c",
            **spec,
        }
        await self.cluster.create(
            VOLUME_CLAIMS, {"metadata": {"name": name}, "spec": spec}, **WHERE
        )

    async def volume(self, name="pv", zone="a", **spec):
        row = {"key": ZONE_LABEL, "operator": "In", "values": [zone]}
        terms = [{"matchExpressions": [row]}]
        spec = {
            "accessModes": ["ReadWriteOnce"],
            "capacity": GIB,
            "nodeAffinity": {"required": {"nodeSelectorTerms": terms}},
            **spec,
        }
        await self.cluster.create(VOLUMES, {"metadata": {"name": name}, "spec": spec})

    async def pod(self, name="p", claim="home"):
        container = {"name": "c", "image": "i", "resources": {"limits": {"cpu": "1"}}}
        volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]
        spec = {"containers": [container], "volumes": volumes}
        await self.cluster.create(PODS, {"metadata": {"name": name}, "spec": spec}, **WHERE)

    async def where(self, name="p"):
        await self.clock.sleep(20)
        return (await self.cluster.get(PODS, name, **WHERE))["spec"].get("nodeName")

    async def home(self, name="home"):
        """Phase of the claim, and the zone of its volume."""
        await self.clock.sleep(20)
        claim = await self.cluster.get(VOLUME_CLAIMS, name, **WHERE)
        phase, volume = claim["status"]["phase"], claim["spec"].get("volumeName")
        return phase, zone_of(await self.cluster.get(VOLUMES, volume)) if volume else None

    def phases(self):
        return {v["metadata"]["name"]: v["status"]["phase"] for v in self.cluster.peek(VOLUMES)}


def zone_of(volume):
    [term] = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    return term["matchExpressions"][0]["values"][0]


def play(story):
    """Run ``story(scene)`` with both stand-ins beside it."""

    async def main():
        scene = Scene()
        maker = VolumeMaker(scene, scene.clock, zone="b")
        tasks = [asyncio.create_task(each.run()) for each in (Binder(scene, scene.clock), maker)]
        try:
            return await story(scene)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    return run(main, seed=0)


def test_a_volume_that_waits_is_made_where_its_first_pod_goes_and_the_second_follows():
    async def story(scene):
        await scene.kind()
        await scene.claim()
        assert await scene.home() == ("Pending", None)
        await scene.node("n1", "a")
        await scene.pod()
        assert await scene.where() == "n1"
        assert await scene.home() == ("Bound", "a")
        await scene.cluster.delete(PODS, "p", grace_seconds=0, **WHERE)
        await scene.cluster.delete(NODES, "n1")
        await scene.node("n2", "b")
        await scene.pod("again")
        assert await scene.where("again") is None
        await scene.node("n3", "a")
        return await scene.where("again")

    assert play(story) == "n3"


@pytest.mark.parametrize(
    ("topologies", "zone"),
    [
        ((), "b"),
        ([{"matchLabelExpressions": [{"key": ZONE_LABEL, "values": ["c", "a"]}]}], "c"),
    ],
)
def test_a_volume_that_does_not_wait_is_made_at_once(topologies, zone):
    async def story(scene):
        await scene.kind("Immediate", allowedTopologies=list(topologies))
        await scene.claim()
        return await scene.home()

    assert play(story) == ("Bound", zone)


def test_nobody_is_bound_before_a_volume_that_does_not_wait_is_there():
    async def story(scene):
        await scene.node("n1", "a")
        await scene.kind("Immediate", provisioner="somebody.else")
        await scene.claim()
        await scene.pod()
        return await scene.where(), await scene.home()

    assert play(story) == (None, ("Pending", None))


@pytest.mark.parametrize("missing", ["claim", "class"])
def test_a_pod_without_its_claim_or_a_claim_without_its_class_waits(missing):
    async def story(scene):
        await scene.node("n1", "a")
        if missing == "class":
            await scene.claim()
        await scene.pod()
        return await scene.where()

    assert play(story) is None


def test_a_claim_that_names_its_volume_gets_that_one():
    async def story(scene):
        await scene.volume("mine", "a")
        await scene.volume("free", "b")
        await scene.claim(volumeName="mine")
        assert await scene.home() == ("Bound", "a")
        return scene.phases()

    assert play(story) == {"mine": "Bound", "free": "Available"}


def test_where_the_chosen_node_has_gone_another_is_chosen():
    async def story(scene):
        await scene.kind()
        await scene.claim()
        chosen = {"metadata": {"annotations": {SELECTED_NODE: "gone"}}}
        await scene.cluster.patch(VOLUME_CLAIMS, "home", chosen, **WHERE)
        await scene.node("n1", "a")
        await scene.pod()
        return await scene.where(), await scene.home()

    assert play(story) == ("n1", ("Bound", "a"))


@pytest.mark.parametrize(("policy", "left"), [("Delete", {}), ("Retain", {"pv": "Released"})])
def test_a_volume_whose_claim_is_deleted_goes_or_is_kept_by_its_policy(policy, left):
    async def story(scene):
        await scene.volume(persistentVolumeReclaimPolicy=policy)
        await scene.claim(volumeName="pv")
        assert (await scene.home())[0] == "Bound"
        await scene.cluster.delete(VOLUME_CLAIMS, "home", **WHERE)
        await scene.clock.sleep(5)
        return scene.phases()

    assert play(story) == left


WRITES = 7
"""Choose the node; make the volume, claim it, bind it; name it, bind the claim; bind the pod."""


@pytest.mark.parametrize("number", range(1, WRITES + 1))
def test_an_api_that_is_away_at_any_step_is_tried_again(number):
    async def story(scene):
        scene.fails_at = number
        await scene.kind()
        await scene.claim()
        await scene.node("n1", "a")
        await scene.pod()
        assert await scene.where() == "n1"
        assert scene.writes > WRITES, "the failed write was made again"
        [volume] = scene.cluster.peek(VOLUMES)
        assert volume["status"]["phase"] == "Bound"
        assert await scene.home() == ("Bound", "a")

    play(story)


def test_two_claims_of_one_pod_are_made_in_its_zone():
    async def story(scene):
        await scene.kind()
        await scene.claim("home")
        await scene.claim("data")
        await scene.node("n1", "a")
        container = {"name": "c", "image": "i"}
        volumes = [
            {"name": name, "persistentVolumeClaim": {"claimName": name}}
            for name in ("home", "data")
        ]
        spec = {"containers": [container], "volumes": volumes}
        await scene.cluster.create(PODS, {"metadata": {"name": "p"}, "spec": spec}, **WHERE)
        return await scene.where(), await scene.home("home"), await scene.home("data")

    assert play(story) == ("n1", ("Bound", "a"), ("Bound", "a"))
