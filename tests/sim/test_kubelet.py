"""The simulated node: what a controller, a scheduler and a hub see of it."""

import asyncio
import random

import pytest
from simkit import (
    KINDS,
    NS,
    add_pod,
    bind,
    get_node,
    get_pod,
    instance,
    new_cluster,
    release,
    until,
    virtually,
)

from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.core.layouts import WHOLE, room_on
from jupyter_gpu_jit.core.model import UNTOLD, Resources
from jupyter_gpu_jit.ports import EVENTS, NODES, PODS
from jupyter_gpu_jit.sim.boot import BootModel, exactly
from jupyter_gpu_jit.sim.kubelet import Habits, Kubelet, NodeSpec, PodTimes
from jupyter_gpu_jit.sim.loop import EPOCH, CountingIds, LoopClock
from jupyter_gpu_jit.sim.market import A100, L4

TIMES = PodTimes(pull=exactly(6.0), start=exactly(4.0), stop=exactly(0.5))


class Machine:
    """A kubelet running beside a test, on a cluster of its own."""

    def __init__(self, *, kind="g6.xlarge", habits=None):
        self.clock = LoopClock()
        self.cluster = new_cluster(self.clock)
        self.spec = NodeSpec(
            instance=instance(kind=kind),
            instance_type=KINDS[kind],
            boot=BootModel.exact(),
            times=TIMES,
            habits=habits or Habits(),
        )
        self.name = self.spec.name

    async def __aenter__(self):
        kubelet = Kubelet(self.cluster, self.clock, CountingIds(), random.Random(1), spec=self.spec)
        self.task = asyncio.create_task(kubelet.run())
        return self

    async def __aexit__(self, *exc):
        self.task.cancel()
        await asyncio.wait([self.task])

    def nodes(self):
        return [wire.read_node(node) for node in self.cluster.peek(NODES)]

    async def up(self):
        """Until the node reports everything."""
        gpus = self.spec.instance_type.allocatable.gpus
        await until(lambda: any(n.allocatable.gpus == gpus for n in self.nodes()))

    async def send(self, user="alice", profile=None):
        """A session's pod, bound here."""
        pod = await add_pod(self.cluster, user, profile or L4)
        name = pod["metadata"]["name"]
        await release(self.cluster, name, "gnc-1")
        await bind(self.cluster, name, self.name)
        return name

    def pod(self, name="jupyter-alice"):
        found = [p for p in self.cluster.peek(PODS) if p["metadata"]["name"] == name]
        return found[0] if found else None

    def reasons(self):
        events = sorted(
            self.cluster.peek(EVENTS), key=lambda e: int(e["metadata"]["resourceVersion"])
        )
        return [event["reason"] for event in events]


def on_machine(test, **how):
    """Run ``test(machine)`` in virtual time."""

    async def main():
        async with Machine(**how) as machine:
            await test(machine)

    virtually(main)


def test_a_node_registers_tainted_and_labelled_then_is_ready_then_has_gpus():
    async def test(machine):
        await until(machine.nodes)
        assert round(machine.clock.now() - EPOCH) == 25
        node = await get_node(machine.cluster, machine.name)
        assert not node.ready
        assert node.allocatable.gpus == 0
        assert {wire.UNREGISTERED_TAINT, wire.GPU_TAINT, wire.USER_TAINT} <= set(node.taints)
        assert node.provider_id == machine.spec.instance.provider_id
        assert node.labels[wire.PURPOSE_LABEL] == "user"
        assert node.labels[wire.INSTANCE_TYPE_LABEL] == "g6.xlarge"
        assert node.labels[wire.ZONE_LABEL] == "us-east-1a"
        assert node.labels[wire.CAPACITY_LABEL] == "spot"
        assert node.claim == ""
        await until(lambda: machine.nodes()[0].ready)
        assert machine.nodes()[0].allocatable.gpus == 0
        await machine.up()
        kind = KINDS["g6.xlarge"]
        assert room_on(machine.nodes()[0], kind, WHOLE) == kind.allocatable

    on_machine(test)


def test_a_pod_pulls_starts_and_becomes_ready_in_a_kubelets_words():
    async def test(machine):
        await machine.up()
        await machine.send()
        begun = machine.clock.now()
        await until(lambda: wire.read_session_pod(machine.pod()).ready)
        assert 10.0 <= machine.clock.now() - begun < 10.5
        pod = await get_pod(machine.cluster)
        assert pod["status"]["phase"] == "Running"
        assert pod["status"]["podIP"].startswith("10.1.")
        status = pod["status"]["containerStatuses"][0]
        assert status["name"] == "notebook"
        assert status["ready"] is True
        assert "running" in status["state"]
        kinds = {c["type"]: c["status"] for c in pod["status"]["conditions"]}
        assert kinds["PodScheduled"] == kinds["Ready"] == "True"
        assert machine.reasons() == ["Pulling", "Pulled", "Created", "Started"]
        event = machine.cluster.peek(EVENTS)[0]
        assert event["involvedObject"]["uid"] == pod["metadata"]["uid"]
        assert event["eventTime"] is None
        assert event["lastTimestamp"]

    on_machine(test)


def test_a_second_pod_finds_the_image_there():
    async def test(machine):
        await machine.up()
        await machine.send("alice", A100)
        await until(lambda: wire.read_session_pod(machine.pod()).ready)
        await machine.send("bob", A100)
        begun = machine.clock.now()
        await until(lambda: wire.read_session_pod(machine.pod("jupyter-bob")).ready)
        assert machine.clock.now() - begun < 5.0

    on_machine(test, kind="p4d.24xlarge")


@pytest.mark.parametrize(("stubborn", "least", "most"), [(False, 0.4, 1.0), (True, 8.0, 11.0)])
def test_a_deleted_pod_ends_soon_or_when_its_grace_is_over(stubborn, least, most):
    async def test(machine):
        await machine.up()
        name = await machine.send()
        await until(lambda: wire.read_session_pod(machine.pod()).ready)
        begun = machine.clock.now()
        await machine.cluster.delete(PODS, name, namespace=NS, grace_seconds=10)
        await until(lambda: machine.pod() is None)
        assert least <= machine.clock.now() - begun <= most
        assert machine.reasons()[-1] == "Killing"

    on_machine(test, habits=Habits(stubborn=stubborn))


def test_a_pod_deleted_while_it_pulls_is_gone_at_once():
    async def test(machine):
        await machine.up()
        name = await machine.send()
        await until(lambda: "Pulling" in machine.reasons())
        begun = machine.clock.now()
        await machine.cluster.delete(PODS, name, namespace=NS, grace_seconds=10)
        await until(lambda: machine.pod() is None)
        assert machine.clock.now() - begun < 0.5

    on_machine(test)


def test_a_pod_of_the_same_name_is_another_pod():
    async def test(machine):
        await machine.up()
        name = await machine.send()
        await machine.cluster.delete(PODS, name, namespace=NS, grace_seconds=1)
        await until(lambda: machine.pod() is None)
        await machine.send()
        await until(lambda: wire.read_session_pod(machine.pod()).ready)

    on_machine(test)


def test_admission_fails_by_plan_or_because_there_is_no_gpu_left():
    async def test(machine):
        await machine.up()
        name = await machine.send()
        await until(lambda: wire.read_session_pod(machine.pod()).phase == "Failed")
        assert wire.read_session_pod(machine.pod()).failure_reason == "UnexpectedAdmissionError"
        await machine.cluster.delete(PODS, name, namespace=NS)
        assert machine.pod() is None
        await machine.send("bob")
        await machine.send("carol")
        await until(lambda: wire.read_session_pod(machine.pod("jupyter-bob")).ready)
        assert wire.read_session_pod(machine.pod("jupyter-carol")).phase == "Failed"

    on_machine(test, habits=Habits(admission_failures=1))


@pytest.mark.parametrize(
    ("habits", "joined", "gpus"),
    [
        (Habits(joins=False), False, 0),
        (Habits(join_delay_seconds=400.0), False, 0),
        (Habits(gpus=0), True, 0),
    ],
)
def test_bad_nodes_do_what_was_planted(habits, joined, gpus):
    async def test(machine):
        await machine.clock.sleep(300.0)
        assert [n.allocatable.gpus for n in machine.nodes()] == ([gpus] if joined else [])
        await machine.clock.sleep(300.0)
        assert len(machine.nodes()) == int(habits.joins)

    on_machine(test, habits=habits)
    assert habits.faulty


def test_a_node_whose_name_is_taken_waits_until_the_old_one_is_gone():
    async def test(machine):
        old = {"metadata": {"name": machine.name}, "spec": {"providerID": "aws:///x/i-old"}}
        await machine.cluster.create(NODES, old)
        await machine.clock.sleep(60.0)
        assert machine.nodes()[0].provider_id == "aws:///x/i-old"
        await machine.cluster.delete(NODES, machine.name)
        await machine.up()
        assert machine.nodes()[0].provider_id == machine.spec.instance.provider_id

    on_machine(test)


def test_what_it_says_it_has_is_what_the_type_can_give():
    async def test(machine):
        await machine.up()
        node = await get_node(machine.cluster, machine.name)
        assert node.allocatable == Resources(
            cpu_millicpu=95690,
            memory_bytes=1082712 << 20,
            gpus=8,
            pods=737,
            volumes=UNTOLD,
            local_disk_bytes=UNTOLD,
        )

    on_machine(test, kind="p4d.24xlarge")
