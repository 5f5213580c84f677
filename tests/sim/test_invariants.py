"""Each invariant bites: a violation is planted for each, beside the right thing that passes."""

from dataclasses import replace

import pytest
from simkit import (
    KINDS,
    NS,
    HandClock,
    add_pod,
    bind,
    claim,
    instance,
    new_cluster,
    release,
    set_claim,
    write_claim,
)

from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.core.model import LaunchBatch, SessionStatus
from jupyter_gpu_jit.core.progress import Stage
from jupyter_gpu_jit.errors import Unavailable
from jupyter_gpu_jit.ports import CLAIMS, NODES, PODS
from jupyter_gpu_jit.sim.cluster import Change
from jupyter_gpu_jit.sim.invariants import Invariants, Violated
from jupyter_gpu_jit.sim.kubelet import NodeSpec, node_json
from jupyter_gpu_jit.sim.loop import EPOCH
from jupyter_gpu_jit.sim.market import A100
from jupyter_gpu_jit.sim.taps import Call, Freshness
from jupyter_gpu_jit.sim.truth import Truth

JOINED = (wire.LAUNCHED, wire.REGISTERED, wire.INITIALISED)


class Scene:
    """A cluster whose every change is judged."""

    def __init__(self):
        self.clock = HandClock()
        self.cluster = new_cluster(self.clock)
        self.truth = Truth(self.clock, dict(KINDS), acting_since=EPOCH - 100.0)
        self.invariants = Invariants(self.truth)
        self.cluster.on_change.append(self.invariants.cluster_changed)
        self.cloud = self.invariants.instance_changed

    def pass_time(self, seconds):
        for _ in range(int(seconds)):
            self.clock.time += 1.0
            self.invariants.tick()

    async def launched(self, number=1, name="gnc-1", kind="g6.xlarge"):
        """A claim written, launched and recorded."""
        batch = LaunchBatch(id=f"batch-{number}", claims=(name,))
        await write_claim(self.cluster, claim(name, batch=batch))
        machine = instance(number, kind=kind, batch=batch.id, at=self.clock.now())
        self.cloud(machine)
        await set_claim(
            self.cluster, name, provider_id=machine.provider_id, conditions=(wire.LAUNCHED,)
        )
        return machine

    async def joined(self, number=1, name="gnc-1", kind="g6.xlarge"):
        """A claim with a complete node; the node's name."""
        machine = await self.launched(number, name, kind)
        spec = NodeSpec(instance=machine, instance_type=KINDS[kind])
        body = node_json(spec, self.clock.now())
        body["metadata"]["labels"][wire.PIN_LABEL] = name
        await self.cluster.create(NODES, body)
        gpus = str(KINDS[kind].allocatable.gpus)
        status = {
            "allocatable": {wire.GPU_RESOURCE: gpus},
            "conditions": [{"type": "Ready", "status": "True"}],
        }
        await self.cluster.patch(NODES, spec.name, {"status": status}, subresource="status")
        await set_claim(self.cluster, name, provider_id=machine.provider_id, conditions=JOINED)
        return machine, spec.name

    async def seated(self, user="alice"):
        """A session running on a node of its own."""
        machine, node = await self.joined()
        await add_pod(self.cluster, user)
        await release(self.cluster, f"jupyter-{user}", "gnc-1")
        await bind(self.cluster, f"jupyter-{user}", node)
        return machine, node

    async def show(self, stage, user="alice", place="gnc-1"):
        """Write a stage into a pod's record."""
        text = wire.encode_status(SessionStatus(stage=stage, since=self.clock.now()))
        notes = {wire.STATUS_ANNOTATION: text, wire.CLAIM_ANNOTATION: place}
        patch = {"metadata": {"annotations": notes}}
        await self.cluster.patch(PODS, f"jupyter-{user}", patch, namespace=NS)


@pytest.fixture
async def scene():
    return Scene()


def violates(name, message=""):
    """The block must break the invariant whose name begins like this."""
    return pytest.raises(Violated, match=rf"^{name}[^:]*: .*{message}")


async def test_a_whole_quiet_life_violates_nothing(scene):
    machine, _ = await scene.seated()
    scene.pass_time(400)
    await scene.cluster.delete(PODS, "jupyter-alice", namespace=NS, grace_seconds=0)
    await scene.cluster.delete(CLAIMS, "gnc-1")
    scene.cloud(replace(machine, state="shutting-down"))
    assert scene.invariants.checked["I1 no double launch"] > 400


async def test_the_story_of_a_violation_is_told(scene):
    await scene.launched()
    with pytest.raises(Violated) as caught:
        scene.cloud(instance(2))
    assert caught.value.name == "I1 no double launch"
    assert "claim gnc-1 Launched aws:///us-east-1a/i-00000000000000001" in caught.value.story
    assert caught.value.reason == "InvariantViolated"


async def test_i1_a_launch_without_a_written_intent(scene):
    with violates("I1", "no claim is written"):
        scene.cloud(instance())


async def test_i1_a_launch_before_the_batch_is_whole(scene):
    batch = LaunchBatch(id="batch-1", claims=("gnc-1", "gnc-2"))
    await write_claim(scene.cluster, claim("gnc-1", batch=batch))
    with violates("I1", "gnc-2"):
        scene.cloud(instance())


async def test_i1_two_instances_for_one_claim(scene):
    await scene.launched()
    with violates("I1", "got 2 instances"):
        scene.cloud(instance(2))


async def test_i1_a_second_launch_for_a_session_needs_a_failure(scene):
    for number in (1, 2):
        batch = LaunchBatch(id=f"batch-{number}", claims=(f"gnc-{number}",))
        await write_claim(scene.cluster, claim(f"gnc-{number}", batch=batch, sessions=("uid-1",)))
    scene.cloud(instance(1, batch="batch-1"))
    # The first claim is gone by the time of the second launch: it counts all the same.
    await scene.cluster.delete(CLAIMS, "gnc-1")
    await scene.cluster.patch(CLAIMS, "gnc-1", {"metadata": {"finalizers": None}})
    with violates("I1", "2 launches for session uid-1"):
        scene.cloud(instance(2, batch="batch-2"))
    scene.truth.excuse(instance(1).id)
    scene.cloud(replace(instance(2, batch="batch-2"), state="pending"))


async def test_i1_a_claim_never_changes_its_instance(scene):
    await scene.launched()
    # The API server refuses this; a fake that did not would be found out here.
    body = await scene.cluster.get(CLAIMS, "gnc-1")
    body["status"]["providerID"] = "aws:///us-east-1a/i-other"
    change = Change(type="MODIFIED", kind=CLAIMS, version=999, object=body, old=None)
    with violates("I1", "gnc-1 changed"):
        scene.invariants.cluster_changed(change)


async def test_i1_two_claims_never_share_an_instance(scene):
    machine = await scene.launched()
    await write_claim(scene.cluster, claim("gnc-2"))
    with violates("I1", "have the same instance"):
        await set_claim(scene.cluster, "gnc-2", provider_id=machine.provider_id)


async def test_i2_an_instance_without_a_claim_for_over_five_minutes(scene):
    await scene.launched()
    await scene.cluster.delete(CLAIMS, "gnc-1")
    await scene.cluster.patch(CLAIMS, "gnc-1", {"metadata": {"finalizers": None}})
    scene.pass_time(300)
    with violates("I2", "runs without a claim"):
        scene.pass_time(5)


async def test_i2_a_claim_without_its_instance_for_over_five_minutes(scene):
    machine = await scene.launched()
    scene.truth.excuse(machine.id)
    scene.cloud(replace(machine, state="shutting-down"))
    scene.pass_time(300)
    with violates("I2", "outlived its instance"):
        scene.pass_time(5)


async def test_i2_nothing_may_be_left_at_the_end(scene):
    await scene.launched()
    with violates("I2", "left over"):
        scene.invariants.finish()


async def test_i3_an_instance_of_a_living_claim_is_ended(scene):
    machine = await scene.launched()
    with violates("I3", "gnc-1 has or awaits it"):
        scene.cloud(replace(machine, state="shutting-down"))


async def test_i3_an_instance_in_flight_is_ended(scene):
    await write_claim(scene.cluster, claim())
    scene.cloud(instance())
    with violates("I3", "gnc-1 has or awaits it"):
        scene.cloud(instance(state="shutting-down"))


async def test_i3_a_fresh_instance_without_a_claim_is_ended(scene):
    machine = await scene.launched()
    await scene.cluster.delete(CLAIMS, "gnc-1")
    await scene.cluster.patch(CLAIMS, "gnc-1", {"metadata": {"finalizers": None}})
    with violates("I3", "after only"):
        scene.cloud(replace(machine, state="shutting-down"))
    scene.pass_time(61)
    scene.cloud(replace(machine, state="terminated"))


async def test_i3_the_claim_under_a_session_is_deleted(scene):
    await scene.seated()
    with violates("I3", "deleted under .*jupyter-alice"):
        await scene.cluster.delete(CLAIMS, "gnc-1")


async def test_i3_the_claim_that_a_session_waits_for_is_deleted(scene):
    machine = await scene.launched()
    await add_pod(scene.cluster)
    await scene.show(Stage.BOOTING)
    with violates("I3", "deleted under"):
        await scene.cluster.delete(CLAIMS, "gnc-1")
    scene.truth.excuse(machine.id)


async def test_i3_does_not_protect_a_node_that_never_joined(scene):
    machine = await scene.launched()
    await add_pod(scene.cluster)
    await scene.show(Stage.BOOTING)
    scene.truth.excuse(machine.id)
    await scene.cluster.delete(CLAIMS, "gnc-1")
    scene.cloud(replace(machine, state="shutting-down"))


async def test_i9_a_deletion_while_a_cache_has_not_heard_for_a_minute(scene):
    fresh = Freshness(scene.clock, scene.invariants.deleting)
    await fresh.before(Call("watch", "pods"))
    scene.clock.time += 1000.0
    await fresh.before(Call("delete", "pods", "jupyter-alice"))
    await fresh.after(Call("watch", "pods"), Unavailable("gone"))
    await fresh.after(Call("list", "pods"), None)
    scene.clock.time += 59.0
    await fresh.before(Call("terminate", "cloud", "i-1"))
    scene.clock.time += 2.0
    with violates("I9", "61 s old"):
        await fresh.before(Call("terminate", "cloud", "i-1"))


async def test_i9_a_deletion_while_an_own_write_is_in_doubt(scene):
    fresh = Freshness(scene.clock, scene.invariants.deleting)
    await fresh.after(Call("list", "pods"), None)
    await fresh.after(Call("patch", "pods", "jupyter-alice"), Unavailable("no answer"))
    with violates("I9", "unanswered write"):
        await fresh.before(Call("delete", "gpunodeclaims", "gnc-1"))
    await fresh.after(Call("list", "pods"), None)
    await fresh.before(Call("delete", "gpunodeclaims", "gnc-1"))


async def test_i11_a_stage_goes_back(scene):
    await scene.joined()
    await add_pod(scene.cluster)
    await scene.show(Stage.REGISTERED)
    with violates("I11", "went back from Registered to Booting"):
        await scene.show(Stage.BOOTING)


async def test_i11_another_attempt_may_begin_again(scene):
    await scene.joined()
    await add_pod(scene.cluster)
    await scene.show(Stage.REGISTERED)
    await scene.show(Stage.PLANNED, place="gnc-2")


async def test_i11_a_stage_runs_ahead_of_the_machine(scene):
    await scene.launched()
    await add_pod(scene.cluster)
    await scene.show(Stage.BOOTING)
    with violates("I11", "shows Initialised while gnc-1 is at Booting"):
        await scene.show(Stage.INITIALISED)


async def test_i11_a_stage_is_shown_too_late(scene):
    await add_pod(scene.cluster)
    await scene.launched()
    await scene.show(Stage.LAUNCHING)
    scene.pass_time(5)
    with violates("I11", "at Booting for [67] s"):
        scene.pass_time(3)


async def test_i11_a_new_provisioner_has_time_to_take_over(scene):
    await add_pod(scene.cluster)
    await scene.launched()
    await scene.show(Stage.LAUNCHING)
    scene.truth.acting_since = None
    scene.pass_time(60)
    scene.truth.acting_since = scene.clock.now()
    scene.pass_time(24)
    with violates("I11"):
        scene.pass_time(4)


async def test_capacity_is_never_exceeded_in_any_dimension(scene):
    _, node = await scene.seated()
    await add_pod(scene.cluster, "bob")
    await release(scene.cluster, "jupyter-bob", "gnc-1")
    with violates("capacity"):
        await bind(scene.cluster, "jupyter-bob", node)


@pytest.mark.parametrize(
    "profile",
    [
        replace(A100, gpus=0, cpu_guarantee_millicpu=95_691),
        replace(A100, gpus=0, memory_guarantee_bytes=1_082_713 << 20),
        replace(A100, gpus=9),
    ],
)
async def test_one_pod_too_large_in_one_dimension_is_found(scene, profile):
    _, node = await scene.joined(kind="p4d.24xlarge")
    await add_pod(scene.cluster, "alice", profile)
    await release(scene.cluster, "jupyter-alice", "gnc-1")
    with violates("capacity"):
        await bind(scene.cluster, "jupyter-alice", node)


async def test_a_node_that_says_more_than_its_type_has_is_not_believed(scene):
    _, node = await scene.seated()
    status = {"status": {"allocatable": {wire.GPU_RESOURCE: "2"}}}
    await scene.cluster.patch(NODES, node, status, subresource="status")
    await add_pod(scene.cluster, "bob", replace(A100, cpu_guarantee_millicpu=1))
    await release(scene.cluster, "jupyter-bob", "gnc-1")
    with violates("capacity"):
        await bind(scene.cluster, "jupyter-bob", node)


async def test_a_session_has_two_live_pods_on_nodes(scene):
    await scene.seated()
    _, node = await scene.joined(2, "gnc-2")
    body = await scene.cluster.get(PODS, "jupyter-alice", namespace=NS)
    twin = {
        "metadata": {"name": "jupyter-twin", "annotations": body["metadata"]["annotations"]},
        "spec": {**body["spec"], "nodeSelector": {wire.PIN_LABEL: "gnc-2"}},
    }
    del twin["spec"]["nodeName"]
    twin["metadata"]["annotations"][wire.CLAIM_ANNOTATION] = "gnc-2"
    await scene.cluster.create(PODS, twin, namespace=NS)
    with violates("one seat"):
        await bind(scene.cluster, "jupyter-twin", node)


async def test_a_pod_is_bound_elsewhere_than_planned(scene):
    await scene.joined()
    _, other = await scene.joined(2, "gnc-2")
    await add_pod(scene.cluster)
    await release(scene.cluster, "jupyter-alice", "gnc-1")
    with violates("plan executed", "was bound to"):
        await bind(scene.cluster, "jupyter-alice", other)


async def test_a_pod_is_released_onto_a_node_that_is_not_initialised(scene):
    await scene.launched()
    await add_pod(scene.cluster)
    with violates("plan executed", "not initialised"):
        await release(scene.cluster, "jupyter-alice", "gnc-1")


async def test_a_pod_is_released_elsewhere_than_it_was_planned(scene):
    await scene.joined()
    await add_pod(scene.cluster)
    patch = {
        "metadata": {"annotations": {wire.CLAIM_ANNOTATION: "gnc-9"}},
        "spec": {"schedulingGates": None, "nodeSelector": {wire.PIN_LABEL: "gnc-1"}},
    }
    with violates("plan executed", "planned onto 'gnc-9'"):
        await scene.cluster.patch(PODS, "jupyter-alice", patch, namespace=NS)


async def test_a_release_onto_a_node_that_was_cordoned_long_ago(scene):
    _, node = await scene.joined()
    await add_pod(scene.cluster)
    await scene.cluster.patch(NODES, node, {"spec": {"unschedulable": True}})
    scene.pass_time(4)
    await release(scene.cluster, "jupyter-alice", "gnc-1")
    await add_pod(scene.cluster, "bob")
    scene.pass_time(2)
    with violates("plan executed", "has long been unusable"):
        await release(scene.cluster, "jupyter-bob", "gnc-1")


async def test_a_release_onto_a_claim_whose_node_is_gone(scene):
    _, node = await scene.joined()
    await add_pod(scene.cluster)
    await scene.cluster.delete(NODES, node)
    with violates("plan executed", "has no node"):
        await release(scene.cluster, "jupyter-alice", "gnc-1")
