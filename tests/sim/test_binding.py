"""The stand-in for kube-scheduler: where pods may go, and that they go there once."""

import asyncio

import pytest

from jupyter_gpu_jit.errors import Unavailable
from jupyter_gpu_jit.ports import NODES, PODS
from jupyter_gpu_jit.sim.binder import Binder
from jupyter_gpu_jit.sim.cluster import MemoryCluster
from jupyter_gpu_jit.sim.loop import CountingIds, LoopClock, run

WHERE = {"namespace": "gpu-jit"}
GPU_TAINT = {"key": "nvidia.com/gpu", "effect": "NoSchedule"}


class Scene:
    """A cluster with a running binder."""

    def __init__(self):
        self.clock = LoopClock()
        self.cluster = MemoryCluster(self.clock, CountingIds())
        self.bindings = []
        self.cluster.on_change.append(self._note)

    def _note(self, change):
        if change.kind == PODS and change.old is not None:
            before, after = (obj["spec"].get("nodeName") for obj in (change.old, change.object))
            if before != after:
                self.bindings.append((change.object["metadata"]["name"], after))

    async def node(self, name="n", *, cpu="4", gpus="0", ready="True", labels=None, **spec):
        allocatable = {"cpu": cpu, "memory": "16Gi", "pods": "10", "nvidia.com/gpu": gpus}
        conditions = [{"type": "Ready", "status": ready}]
        body = {
            "metadata": {"name": name, "labels": labels or {}},
            "spec": spec,
            "status": {"allocatable": allocatable, "conditions": conditions},
        }
        await self.cluster.create(NODES, body)

    async def pod(self, name="p", *, cpu="1", gpus=None, **spec):
        amounts = {"cpu": cpu, **({"nvidia.com/gpu": gpus} if gpus else {})}
        container = {"name": "c", "image": "i", "resources": {"limits": amounts}}
        body = {"metadata": {"name": name}, "spec": {"containers": [container], **spec}}
        await self.cluster.create(PODS, body, **WHERE)

    async def where(self, name="p"):
        await self.clock.sleep(5)
        pod = await self.cluster.get(PODS, name, **WHERE)
        return pod["spec"].get("nodeName")


def play(story, seed=0):
    """Run ``story(scene)`` with a binder beside it."""

    async def main():
        scene = Scene()
        binder = asyncio.create_task(Binder(scene.cluster, scene.clock).run())
        try:
            return await story(scene)
        finally:
            binder.cancel()
            await asyncio.wait([binder])

    return run(main, seed=seed)


def test_a_pod_goes_to_a_node_that_fits():
    async def story(scene):
        await scene.node("small", cpu="1")
        await scene.node("large", cpu="8")
        await scene.pod(cpu="2")
        return await scene.where()

    assert play(story) == "large"


def test_a_node_that_comes_later_takes_the_waiting_pod():
    async def story(scene):
        await scene.pod()
        assert await scene.where() is None
        await scene.node()
        return await scene.where()

    assert play(story) == "n"


REFUSALS = {
    "too little CPU": ({"cpu": "1"}, {"cpu": "2"}),
    "no GPU": ({}, {"gpus": "1"}),
    "not ready": ({"ready": "False"}, {}),
    "cordoned": ({"unschedulable": True}, {}),
    "tainted": ({"taints": [GPU_TAINT]}, {}),
    "tainted against running": ({"taints": [{"key": "x", "effect": "NoExecute"}]}, {}),
    "another label": ({"labels": {"a": "1"}}, {"nodeSelector": {"a": "2"}}),
    "gated": ({}, {"schedulingGates": [{"name": "g.io/x"}]}),
    "another scheduler's": ({}, {"schedulerName": "other"}),
    "affinity": (
        {"labels": {"zone": "a"}},
        {
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [
                            {
                                "matchExpressions": [
                                    {"key": "zone", "operator": "NotIn", "values": ["a"]}
                                ]
                            }
                        ]
                    }
                }
            }
        },
    ),
}


@pytest.mark.parametrize(("node", "pod"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_pod_waits_when_its_only_node_will_not_do(node, pod):
    async def story(scene):
        await scene.node(**node)
        await scene.pod(**pod)
        return await scene.where()

    assert play(story) is None


def test_a_tolerated_taint_and_a_matching_pin_are_no_obstacle():
    pin = "node-restriction.kubernetes.io/gpu-jit-claim"

    async def story(scene):
        await scene.node("other", gpus="8", taints=[GPU_TAINT])
        await scene.node("mine", gpus="8", labels={pin: "c1"}, taints=[GPU_TAINT])
        toleration = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
        gates = [{"name": "gpu-jit.io/plan"}]
        await scene.pod(gpus="1", tolerations=[toleration], schedulingGates=gates)
        assert await scene.where() is None
        release = {"spec": {"schedulingGates": None, "nodeSelector": {pin: "c1"}}}
        await scene.cluster.patch(PODS, "p", release, **WHERE)
        return await scene.where()

    assert play(story) == "mine"


@pytest.mark.parametrize("seed", range(10))
def test_a_node_is_never_filled_beyond_its_room_in_any_order(seed):
    async def story(scene):
        await scene.node(cpu="64", gpus="3")
        await asyncio.gather(*(scene.pod(f"p{n}", gpus="1") for n in range(5)))
        await scene.clock.sleep(30)
        return scene.bindings

    bindings = play(story, seed)
    assert len(bindings) == 3
    assert len({name for name, _ in bindings}) == 3


def test_a_terminating_pod_holds_its_seat_until_it_is_gone():
    async def story(scene):
        await scene.node(gpus="1")
        await scene.pod("first", gpus="1")
        assert await scene.where("first") == "n"
        await scene.pod("second", gpus="1")
        await scene.cluster.delete(PODS, "first", **WHERE)
        assert await scene.where("second") is None
        await scene.cluster.delete(PODS, "first", grace_seconds=0, **WHERE)
        return await scene.where("second")

    assert play(story) == "n"


def test_a_finished_pod_gives_its_seat_back():
    async def story(scene):
        await scene.node(gpus="1")
        await scene.pod("first", gpus="1")
        await scene.pod("second", gpus="1")
        taken = "first" if await scene.where("first") else "second"
        status = {"status": {"phase": "Succeeded"}}
        await scene.cluster.patch(PODS, taken, status, subresource="status", **WHERE)
        return await scene.where("first"), await scene.where("second")

    assert play(story) == ("n", "n")


def test_pods_spread_to_the_emptier_node():
    async def story(scene):
        await scene.node("a", cpu="8")
        await scene.node("b", cpu="8")
        for n in range(4):
            await scene.pod(f"p{n}")
            await scene.where(f"p{n}")
        return sorted(node for _, node in scene.bindings)

    assert play(story) == ["a", "a", "b", "b"]


def test_a_forgotten_history_is_listed_again():
    async def story(scene):
        await scene.node()
        await scene.clock.sleep(4 * 3600)
        scene.cluster.compact()
        await scene.pod()
        return await scene.where()

    assert play(story) == "n"


class Flaky:
    """A cluster whose calls fail for a while."""

    def __init__(self, cluster):
        self._cluster, self.failures = cluster, 0

    def __getattr__(self, name):
        call = getattr(self._cluster, name)

        async def wrapped(*args, **kwargs):
            if self.failures > 0:
                self.failures -= 1
                raise Unavailable("away")
            return await call(*args, **kwargs)

        return call if name == "watch" else wrapped


@pytest.mark.parametrize("failures", [1, 2, 7])
def test_an_api_that_is_away_for_a_moment_is_tried_again(failures):
    async def main():
        scene = Scene()
        flaky = Flaky(scene.cluster)
        flaky.failures = failures
        binder = asyncio.create_task(Binder(flaky, scene.clock).run())
        await scene.node()
        await scene.pod()
        await scene.clock.sleep(20)
        flaky.failures = failures
        await scene.pod("later")
        await scene.clock.sleep(20)
        binder.cancel()
        await asyncio.wait([binder])
        return [name for name, _ in scene.bindings]

    assert run(main, seed=0) == ["p", "later"]


def test_equal_seeds_bind_equally():
    async def story(scene):
        await asyncio.gather(*(scene.node(f"n{n}") for n in range(3)))
        await asyncio.gather(*(scene.pod(f"p{n}") for n in range(9)))
        await scene.clock.sleep(10)
        return scene.bindings

    assert play(story, 3) == play(story, 3)
    assert len(play(story, 3)) == 9
