"""The rights in hub_config/aws are those that the code uses: no more, no less, each by name."""

import asyncio
import json
from dataclasses import replace

import pytest
from cloud_stages import aws_stage
from iam_calls import Reader, as_resource
from iam_policy import ACCOUNT, Need, all_grants, grants, statements, template

from jupyter_gpu_jit.adapters.aws.calls import AwsCalls
from jupyter_gpu_jit.adapters.aws.checks import Checks
from jupyter_gpu_jit.adapters.aws.ec2 import Ec2Cloud
from jupyter_gpu_jit.adapters.aws.events import HEALTH, REBALANCE, RESERVATION, SPOT, STATE
from jupyter_gpu_jit.adapters.aws.settings import AwsSettings, DiskSettings
from jupyter_gpu_jit.adapters.aws.sqs import SqsNotices
from jupyter_gpu_jit.adapters.system import SystemClock
from jupyter_gpu_jit.catalogue import instance_types
from jupyter_gpu_jit.core.model import Offering
from jupyter_gpu_jit.core.requirements import CapacityType
from jupyter_gpu_jit.errors import GpuJitError
from jupyter_gpu_jit.ports import LaunchRequest, PlacementGroup

CLUSTER = "lab"
PROFILE, QUEUE = f"gpu-jit-{CLUSTER}-node", f"gpu-jit-{CLUSTER}"
LOADED = template(
    ClusterId=CLUSTER, EksCluster=CLUSTER, Namespace="gpu-jit", ServiceAccount="provisioner"
)
POLICY = statements(LOADED)
US = "the-provisioner"
TAGS = {"gpu-jit.io/cluster": CLUSTER}
BIG = Offering(
    instance_type="p4d.24xlarge",
    zone="us-east-1a",
    capacity_type=CapacityType.SPOT,
    usd_per_hour_micro=1,
)
PLAIN = replace(BIG, capacity_type=CapacityType.ON_DEMAND)


class Later(SystemClock):
    """Two days ahead, when what was used today is idle."""

    def now(self):
        return super().now() + 48 * 3600


@pytest.fixture
async def account(aws_world, monkeypatch):
    """A world with what the stack makes; from here on the calls are the provisioner's."""
    async with aws_stage(aws_world) as stage:
        aws_world.control.post("provision", profile=PROFILE, queue=QUEUE)
        aws_world.control.post(
            "provision",
            cluster={
                "name": CLUSTER,
                "node_role_arn": f"arn:aws:iam::{ACCOUNT}:role/{PROFILE}",
            },
        )
        volume = await stage.calls.call(
            "ec2", "CreateVolume", AvailabilityZone="us-east-1a", Size=10
        )
        snapshot = await stage.calls.call("ec2", "CreateSnapshot", VolumeId=volume["VolumeId"])
        stage.snapshot = snapshot["SnapshotId"]
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", US)
        yield stage


def ours(stage, clock=None):
    settings = AwsSettings(
        region="us-east-1",
        eks_cluster=CLUSTER,
        cluster_id=CLUSTER,
        instance_profile=PROFILE,
        queue=QUEUE,
        families=("g6", "p4d"),
        disk=DiskSettings(snapshot_id=stage.snapshot),
        notice_wait_seconds=1,
        endpoint_url=stage.calls.settings.endpoint_url,
    )
    return AwsCalls(settings, clock or SystemClock())


def launch(token, offering, **more):
    return LaunchRequest(client_token=token, offerings=(offering,), count=1, tags=TAGS, **more)


async def everything(stage):
    """All that the code ever asks of AWS."""
    calls = ours(stage)
    cloud = Ec2Cloud(calls, instance_types())
    await cloud.market.refresh()
    await cloud.market.refresh_on_demand()
    await cloud.market.refresh_risks()
    group = PlacementGroup(name="gang")
    spot = await cloud.launch(launch("a", BIG, placement_group=group, efa=True))
    plain = await cloud.launch(launch("b", PLAIN))
    ids = [i.id for i in (*spot.instances, *plain.instances)]
    assert len(ids) == 2
    await cloud.instances()
    await cloud.network_nodes(ids)
    await _notices(stage, calls, ids)
    await cloud.terminate(ids)
    stage.world.control.post("advance", seconds=600)
    await Ec2Cloud(ours(stage, Later()), ()).housekeeping.collect()
    _ = [finding async for finding in Checks(ours(stage)).run()]


async def _notices(stage, calls, ids):
    stage.world.control.post("rebalance", ids=ids[:1])
    notices, found = SqsNotices(calls), ()
    async with asyncio.timeout(20):
        while not found:
            found = await notices.receive()
        await notices.settle(found)
        await _given_back(stage, calls)


async def _given_back(stage, calls):
    """A message about more than are handed on at once, with the rest of which nobody deals."""
    notices, many = SqsNotices(calls), [{"entityValue": f"i-{n}"} for n in range(12)]
    detail = {"eventTypeCategory": "scheduledChange", "service": "EC2", "affectedEntities": many}
    await _send(stage, {"detail-type": HEALTH, "detail": detail})
    while not await notices.receive():
        pass
    await notices.close()


def recorded(stage):
    lines = stage.world.control.get("log")["lines"]
    return [line for line in lines if line["kind"] == "call" and line["principal"] == US]


def reader_of(stage):
    reader = Reader(cluster=CLUSTER, queue=QUEUE)
    for row in stage.world.control.get("instances")["instances"]:
        tags = {f"aws:RequestTag/{key}": value for key, value in row["tags"].items()}
        reader.instances[row["id"]] = as_resource(tags)
    return reader


async def test_every_call_is_allowed_and_nothing_is_granted_that_is_not_used(account):
    await everything(account)
    reader, used, refused = reader_of(account), set(), []
    for call in recorded(account):
        for need in reader.needs(call):
            by = set().union(*(grants(statement, need) for statement in POLICY))
            used |= by
            if not by:
                refused.append((call["action"], need))
    assert refused == []
    assert sorted(all_grants(POLICY) - used) == []


def allowed(need):
    return any(grants(statement, need) for statement in POLICY)


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("ec2:TerminateInstances", "instance"),
        ("ec2:DeleteLaunchTemplate", "launch-template"),
        ("ec2:DeletePlacementGroup", "placement-group"),
        ("ec2:RunInstances", "launch-template"),
    ],
)
def test_what_is_not_ours_is_neither_ended_nor_used(action, kind):
    resource = f"arn:aws:ec2:us-east-1:{ACCOUNT}:{kind}/x"
    mine, foreign = ({"aws:ResourceTag/gpu-jit.io/cluster": owner} for owner in (CLUSTER, "other"))
    assert allowed(Need(action, resource, mine))
    assert not allowed(Need(action, resource, foreign))
    assert not allowed(Need(action, resource))


@pytest.mark.parametrize("kind", ["instance", "volume", "fleet", "network-interface"])
def test_nothing_is_launched_without_our_tag(kind):
    resource = f"arn:aws:ec2:us-east-1:{ACCOUNT}:{kind}/x"
    tagged = {"aws:RequestTag/gpu-jit.io/cluster": CLUSTER}
    assert allowed(Need("ec2:CreateFleet", resource, tagged))
    assert not allowed(Need("ec2:CreateFleet", resource))


def test_things_are_tagged_only_while_they_are_made():
    instance = f"arn:aws:ec2:us-east-1:{ACCOUNT}:instance/i-1"
    tagged = {"aws:RequestTag/gpu-jit.io/cluster": CLUSTER}
    assert allowed(Need("ec2:CreateTags", instance, {**tagged, "ec2:CreateAction": "RunInstances"}))
    assert not allowed(Need("ec2:CreateTags", instance, tagged))


def test_only_the_nodes_role_is_passed_and_only_to_ec2():
    role = f"arn:aws:iam::{ACCOUNT}:role/{PROFILE}"
    to_ec2 = {"iam:PassedToService": "ec2.amazonaws.com"}
    assert allowed(Need("iam:PassRole", role, to_ec2))
    assert not allowed(Need("iam:PassRole", role, {"iam:PassedToService": "lambda.amazonaws.com"}))
    assert not allowed(Need("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/admin", to_ec2))


def test_other_regions_queues_and_parameters_are_out_of_reach():
    assert not allowed(Need("ec2:DescribeInstances", "*", {"aws:RequestedRegion": "eu-west-1"}))
    assert not allowed(Need("sqs:ReceiveMessage", f"arn:aws:sqs:us-east-1:{ACCOUNT}:other"))
    assert not allowed(Need("ssm:GetParameter", "arn:aws:ssm:us-east-1::parameter/secret"))


def test_the_policy_is_as_small_as_iam_demands():
    text = json.dumps(POLICY, separators=(",", ":"))
    # IAM takes 6144 characters of a managed policy.
    assert len(text) < 6144


def test_the_rules_send_every_kind_that_the_code_reads():
    rules = [r["Properties"] for r in LOADED["Resources"].values() if r["Type"].endswith("::Rule")]
    sent = {kind for rule in rules for kind in rule["EventPattern"]["detail-type"]}
    assert sent == {SPOT, REBALANCE, STATE, HEALTH, RESERVATION}
    assert all(rule["Targets"][0]["Arn"].endswith(f":{QUEUE}") for rule in rules)


# --- each denial ----------------------------------------------------------------------------------

DENIED = {
    "ec2:CreateFleet": ("CreateFleet", "UnauthorizedOperation"),
    "ec2:CreateLaunchTemplate": ("CreateLaunchTemplate", "UnauthorizedOperation"),
    "ec2:CreatePlacementGroup": ("CreatePlacementGroup", "UnauthorizedOperation"),
    "ec2:DescribeInstances": ("DescribeInstances", "UnauthorizedOperation"),
    "ec2:DescribeInstanceTopology": ("DescribeInstanceTopology", "UnauthorizedOperation"),
    "ec2:DescribeInstanceTypes": ("DescribeInstanceTypes", "UnauthorizedOperation"),
    "ec2:DescribeInstanceTypeOfferings": (
        "DescribeInstanceTypeOfferings",
        "UnauthorizedOperation",
    ),
    "ec2:DescribeLaunchTemplates": ("DescribeLaunchTemplates", "UnauthorizedOperation"),
    "ec2:DescribePlacementGroups": ("DescribePlacementGroups", "UnauthorizedOperation"),
    "ec2:DescribeSecurityGroups": ("DescribeSecurityGroups", "UnauthorizedOperation"),
    "ec2:DescribeSpotPriceHistory": ("DescribeSpotPriceHistory", "UnauthorizedOperation"),
    "ec2:DescribeSubnets": ("DescribeSubnets", "UnauthorizedOperation"),
    "ec2:TerminateInstances": ("TerminateInstances", "UnauthorizedOperation"),
    "eks:DescribeCluster": ("GET /clusters/lab", "AccessDeniedException"),
    "pricing:GetProducts": ("GetProducts", "AccessDeniedException"),
    "sqs:GetQueueUrl": ("GetQueueUrl", "AccessDenied"),
    "sqs:ReceiveMessage": ("ReceiveMessage", "AccessDenied"),
    "sqs:DeleteMessage": ("DeleteMessageBatch", "AccessDenied"),
    "ssm:GetParameter": ("GetParameter", "AccessDeniedException"),
}


async def said_by(work):
    """The sentence with which the work failed."""
    with pytest.raises(GpuJitError) as error:
        await work
    return error.value.user_message


async def _asked(stage, permission):
    """Do what needs that permission, and return the sentence that it gives."""
    calls = ours(stage)
    cloud = Ec2Cloud(calls, instance_types())
    group = PlacementGroup(name="gang")
    match permission.partition(":")[2]:
        case "CreateFleet":
            return (await cloud.launch(launch("a", BIG))).failures[0].message
        case "DescribeInstances":
            return await said_by(cloud.instances())
        case "DescribeInstanceTopology":
            return await said_by(cloud.network_nodes(["i-1"]))
        case "DescribeInstanceTypes" | "DescribeInstanceTypeOfferings" | "DescribeSpotPriceHistory":
            return await said_by(cloud.market.refresh())
        case "DescribeLaunchTemplates" | "DescribePlacementGroups":
            return await said_by(cloud.housekeeping.collect())
        case "GetProducts":
            return await said_by(cloud.market.refresh_on_demand())
        case "TerminateInstances":
            return await said_by(cloud.terminate(["i-0123456789abcdef0"]))
        case "GetQueueUrl" | "ReceiveMessage":
            return await said_by(SqsNotices(calls).receive())
        case "DeleteMessage":
            (notice,) = await _one_notice(stage, calls)
            return await said_by(SqsNotices(calls).settle([notice]))
    return await said_by(cloud.launch(launch("a", BIG, placement_group=group)))


async def _one_notice(stage, calls):
    await _send(stage, {"detail-type": REBALANCE, "detail": {"instance-id": "i-1"}})
    return await SqsNotices(calls).receive()


async def _send(stage, body):
    """As EventBridge does: not with the rights of the provisioner."""
    url = (await stage.calls.call("sqs", "GetQueueUrl", QueueName=QUEUE))["QueueUrl"]
    await stage.calls.call("sqs", "SendMessage", QueueUrl=url, MessageBody=json.dumps(body))


@pytest.mark.parametrize("permission", sorted(DENIED))
async def test_each_denial_names_the_permission_that_is_missing(account, permission):
    action, code = DENIED[permission]
    account.world.control.post(
        "fault", kind="error", action=action, code=code, message="No.", status=403, count=None
    )
    try:
        said = await _asked(account, permission)
    finally:
        account.world.control.post("fault", clear=True)
    assert f"lacks the permission {permission}:" in said
    assert "hub_config/aws/provisioner.yaml" in said


async def test_messages_that_may_not_be_given_back_are_left_with_the_permissions_name(
    account, caplog
):
    account.world.control.post(
        "fault", kind="error", action="ChangeMessageVisibilityBatch", code="AccessDenied",
        message="No.", status=403, count=None,
    )  # fmt: skip
    await _given_back(account, ours(account))
    assert "lacks the permission sqs:ChangeMessageVisibility:" in caplog.records[-1].reason


def test_no_right_that_stops_the_provisioner_is_left_out_of_these():
    """The others: scores are optional, and the rest only the doctor's or inside CreateFleet."""
    others = {
        "ec2:CreateTags",
        "ec2:RunInstances",
        "iam:PassRole",
        "ec2:GetSpotPlacementScores",
        "ec2:DeleteLaunchTemplate",
        "ec2:DeletePlacementGroup",
        "ec2:DescribeImages",
        "eks:DescribeAccessEntry",
        "iam:GetInstanceProfile",
        "iam:GetRole",
        "servicequotas:ListServiceQuotas",
        "sqs:ChangeMessageVisibility",
        "sqs:GetQueueAttributes",
    }
    assert {action for _, action, _ in all_grants(POLICY)} - others == DENIED.keys()
