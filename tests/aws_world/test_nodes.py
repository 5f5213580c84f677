"""The node's own side: Nodes join when and as the world, the user data and the faults say."""

import asyncio
import base64
import json

import pytest
from worlds import connected, eventually

from jupyter_gpu_jit.adapters.aws.facts import Facts
from jupyter_gpu_jit.adapters.aws.settings import ImageFamily
from jupyter_gpu_jit.adapters.aws.user_data import Boot, user_data
from jupyter_gpu_jit.adapters.system import RandomIds, SystemClock
from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.local.aws_world.nodes import WorldFeed, WorldNodes, follow, instance_of
from jupyter_gpu_jit.local.aws_world.user_data import read
from jupyter_gpu_jit.local.kwok import ANNOTATION
from jupyter_gpu_jit.ports import NODES
from jupyter_gpu_jit.sim.cloud import Hooks
from jupyter_gpu_jit.sim.cluster import MemoryCluster

ONE = "us-east-1a/g6.xlarge"
FACTS = Facts(
    name="lab",
    endpoint="https://api.example",
    certificate_authority="bm90IGEgQ0E=",
    service_cidr="10.100.0.0/16",
    kubernetes_version="1.33",
    instance_profile="node",
    security_group_ids=(),
    subnets=(),
)


def told(family=ImageFamily.AL2023, **more):
    return user_data(FACTS, Boot(family=family, capacity_type="spot", **more))


class Stage:
    """An account whose instances become nodes of a cluster in memory."""

    def __init__(self, aws, cluster=None, **options):
        aws.post("provision", profile="node")
        self.aws = aws
        self.cluster = cluster or MemoryCluster(SystemClock(), RandomIds())
        self.nodes = WorldNodes(aws.world.control, self.cluster, SystemClock(), **options)

    async def after(self, seconds):
        self.aws.post("advance", seconds=seconds)
        await self.nodes.step()
        return self.cluster.peek(NODES)

    def launch(self, data=None, overrides=(ONE,), **more):
        settings = {
            "UserData": told() if data is None else data,
            "IamInstanceProfile": {"Name": "node"},
        }
        self.aws.template(**{**settings, "InstanceInitiatedShutdownBehavior": "terminate"})
        return self.aws.launched(*overrides, **more)


@pytest.fixture
def stage(aws):
    return Stage(aws, kwok=False)


@pytest.mark.parametrize("family", list(ImageFamily))
async def test_a_node_registers_late_as_its_user_data_says(stage, family):
    (instance_id,) = stage.launch(told(family))
    assert await stage.after(20) == []
    [node] = await stage.after(40)
    assert node["spec"]["providerID"] == f"aws:///us-east-1a/{instance_id}"
    keys = {taint["key"] for taint in node["spec"]["taints"]}
    assert keys >= {wire.UNREGISTERED_TAINT.key, wire.GPU_TAINT.key, wire.USER_TAINT.key}
    labels = node["metadata"]["labels"]
    assert labels[wire.PURPOSE_LABEL] == "user"
    assert labels[wire.CAPACITY_LABEL] == "spot"
    assert labels[wire.INSTANCE_TYPE_LABEL] == "g6.xlarge"
    assert node["metadata"]["name"] == stage.aws.instance(instance_id)["PrivateDnsName"]


async def test_gpus_come_after_ready_and_ready_after_the_node(stage):
    stage.aws.post("parameters", register_seconds=10, ready_seconds=100, gpus_seconds=1000)
    stage.launch()
    [node] = await stage.after(60)
    assert ready(node) == "False"
    [node] = await stage.after(140)
    assert (ready(node), wire.GPU_RESOURCE in node["status"]["allocatable"]) == ("True", False)
    [node] = await stage.after(2000)
    assert node["status"]["allocatable"][wire.GPU_RESOURCE] == "1"


def ready(node):
    return next(c["status"] for c in node["status"]["conditions"] if c["type"] == "Ready")


async def test_nodes_for_kwok_carry_its_mark(aws):
    stage = Stage(aws)
    stage.launch()
    [node] = await stage.after(120)
    assert node["metadata"]["annotations"] == {ANNOTATION: "fake"}


async def test_a_divided_node_shows_its_parts(stage):
    tags = [{"Key": wire.LAYOUT_TAG, "Value": "time-sliced-4"}]
    stage.launch(TagSpecifications=[{"ResourceType": "instance", "Tags": tags}])
    [node] = await stage.after(200)
    assert node["status"]["allocatable"][wire.GPU_RESOURCE] == "4"


async def test_faults_of_nodes_never_late_no_gpus_another_id(stage):
    for habit in (
        {"joins": False},
        {"late_seconds": 600},
        {"gpus": 0},
        {"provider_id": "aws:///us-east-1a/i-other"},
    ):
        stage.aws.post("habits", **habit)
    stage.launch(count=4)
    nodes = await stage.after(200)
    assert len(nodes) == 2
    ids = {n["spec"]["providerID"]: n["status"]["allocatable"] for n in nodes}
    assert "aws:///us-east-1a/i-other" in ids
    (bare,) = (amounts for key, amounts in ids.items() if not key.endswith("i-other"))
    assert wire.GPU_RESOURCE not in bare
    assert len(await stage.after(600)) == 3


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("", "cannot be read"),
        (base64.b64encode(b"\xff\xfe").decode(), "cannot be read"),
        (base64.b64encode(b"MIME-Version: 1.0\n\nnothing").decode(), "names no cluster"),
        (base64.b64encode(b"[settings]\nmotd = 'x'").decode(), "cannot be read"),
    ],
)
def test_bad_user_data_has_a_reason(data, problem):
    assert problem in read(data).problem


async def test_a_node_without_usable_user_data_or_profile_never_joins(stage):
    (instance_id,) = stage.launch(base64.b64encode(b"[settings.kubernetes]\n").decode())
    assert await stage.after(3000) == []
    stage.aws.template(name="bare", UserData=told())
    (bare,) = stage.aws.launched(ONE, template="bare")
    assert await stage.after(200) == []
    assert stage.nodes.problems == {bare: "The instance has no instance profile."}
    assert stage.aws.states()[instance_id] == "running"


async def test_the_dead_man_rule_ends_a_node_that_never_joined(stage):
    stage.aws.post("habits", joins=False)
    lost, fine = stage.launch(told(dead_man_seconds=900), count=2)
    await stage.after(1200)
    assert stage.aws.states() == {lost: "terminated", fine: "running"}
    assert stage.aws.instance(lost)["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"


async def test_an_instance_that_ends_takes_its_node_along(stage):
    ids = stage.launch(count=2)
    assert len(await stage.after(120)) == 2
    stage.aws.ec2.terminate_instances(InstanceIds=ids[:1])
    assert len(await stage.after(10)) == 2
    [left] = await stage.after(120)
    assert left["spec"]["providerID"].endswith(ids[1])


async def test_the_feed_tells_only_what_changed_and_survives_a_reset(stage):
    feed = WorldFeed(stage.aws.world.control)
    stage.launch(count=2)
    first = await feed.changes()
    assert [instance_of(row).state for row in first] == ["pending", "pending"]
    assert await feed.changes() == []
    stage.aws.post("reset", seed=7)
    assert await feed.changes() == []
    stage.aws.template()
    (instance_id,) = stage.aws.launched(ONE)
    assert [row["id"] for row in await feed.changes()] == [instance_id]


def test_labels_and_taints_by_kubelet_flags_are_read_too():
    flags = ["--node-labels=a=b,c=d", "--register-with-taints=k=v:NoSchedule"]
    cluster = {"name": "lab", "apiServerEndpoint": "https://api.example"}
    spec = json.dumps({"spec": {"cluster": cluster, "kubelet": {"flags": flags}}})
    text = "\n".join([
        "MIME-Version: 1.0",
        'Content-Type: multipart/mixed; boundary="b"',
        "",
        "--b",
        "Content-Type: application/node.eks.aws",
        "",
        spec,
        "--b--",
    ])  # fmt: skip
    found = read(base64.b64encode(text.encode()).decode())
    assert found.labels == {"a": "b", "c": "d"}
    assert found.taints == ({"key": "k", "value": "v", "effect": "NoSchedule"},)


async def test_on_a_real_control_plane_kwok_keeps_the_node_and_its_gpus(aws, control_plane):
    async with connected(
        control_plane.server, control_plane.admin_token, str(control_plane.ca_file)
    ) as cluster:
        stage = Stage(aws, cluster)
        (instance_id,) = stage.launch()
        aws.post("advance", seconds=200)
        await stage.nodes.step()
        name = aws.instance(instance_id)["PrivateDnsName"]

        async def usable():
            status = (await cluster.get(NODES, name))["status"]
            up = any(c["type"] == "Ready" and c["status"] == "True" for c in status["conditions"])
            return up and status["allocatable"].get(wire.GPU_RESOURCE) == "1"

        await eventually(usable, seconds=30.0)
        aws.ec2.terminate_instances(InstanceIds=[instance_id])
        aws.post("advance", seconds=200)
        await stage.nodes.step()
        left = [node["metadata"]["name"] for node in (await cluster.list(NODES)).items]
        assert name not in left


async def test_hooks_of_a_simulated_cloud_are_called_for_instances_of_a_world(aws):
    ran, ended = [], []

    async def on_running(instance):
        ran.append(instance)

    async def on_ended(instance):
        ended.append(instance.id)

    hooks = Hooks(on_running=on_running, on_ended=on_ended)
    following = asyncio.create_task(follow(aws.world.control, hooks, SystemClock()))
    aws.template()
    (instance_id,) = aws.launched(ONE)
    aws.post("advance", seconds=60)
    await eventually(lambda: holds(ran))
    aws.ec2.terminate_instances(InstanceIds=[instance_id])
    aws.post("advance", seconds=120)
    await eventually(lambda: holds(ended))
    following.cancel()
    assert [(i.id, i.capacity_type, i.state) for i in ran] == [(instance_id, "spot", "running")]
    assert ended == [instance_id]


async def holds(found):
    return bool(found)


async def test_an_address_given_again_waits_for_the_old_node_to_go(stage):
    (old,) = stage.launch()
    await stage.after(200)
    # As if nobody had noticed the end of the old machine.
    name = stage.nodes.names.pop(old)
    stage.aws.ec2.terminate_instances(InstanceIds=[old])
    await stage.after(200)
    new = launched_as(stage.aws, name)
    await stage.after(200)
    assert new not in stage.nodes.names
    await stage.cluster.delete(NODES, name)
    [node] = await stage.after(1)
    assert node["spec"]["providerID"].endswith(new)


def launched_as(aws, name):
    """An instance that was given the address of that name."""
    for _ in range(20):
        (instance_id,) = aws.launched(ONE)
        if aws.instance(instance_id)["PrivateDnsName"] == name:
            return instance_id
        aws.ec2.terminate_instances(InstanceIds=[instance_id])
    raise AssertionError(f"{name} was never given again.")
