"""Each thing that can be wrong with an account is one clear sentence."""

import json
from dataclasses import replace

import pytest
from cloud_stages import PROFILE, QUEUE, aws_stage

from jupyter_gpu_jit.adapters.aws.calls import AwsCalls
from jupyter_gpu_jit.adapters.aws.checks import Checks
from jupyter_gpu_jit.adapters.aws.settings import AwsSettings, ImageSettings
from jupyter_gpu_jit.adapters.system import SystemClock

CLUSTER = "lab"


@pytest.fixture
async def account(aws_world):
    """An account where everything is as it should be, and its settings."""
    async with aws_stage(aws_world) as stage:
        await stage.calls.call(
            "iam",
            "CreateRole",
            RoleName="AWSServiceRoleForEC2Spot",
            AssumeRolePolicyDocument="{}",
        )
        profile = await stage.calls.call("iam", "GetInstanceProfile", InstanceProfileName=PROFILE)
        arn = profile["InstanceProfile"]["Roles"][0]["Arn"]
        aws_world.control.post("provision", cluster={"name": CLUSTER, "node_role_arn": arn})
        await with_dead_letters(stage.calls)
        image = await stage.calls.call("ec2", "RegisterImage", Name="node")
        stage.image = image["ImageId"]
        yield stage


async def with_dead_letters(calls):
    dead = await calls.call("sqs", "CreateQueue", QueueName="dead")
    answer = await calls.call(
        "sqs", "GetQueueAttributes", QueueUrl=dead["QueueUrl"], AttributeNames=["QueueArn"]
    )
    policy = {
        "deadLetterTargetArn": answer["Attributes"]["QueueArn"],
        "maxReceiveCount": 3,
    }
    url = (await calls.call("sqs", "GetQueueUrl", QueueName=QUEUE))["QueueUrl"]
    attributes = {"RedrivePolicy": json.dumps(policy)}
    await calls.call("sqs", "SetQueueAttributes", QueueUrl=url, Attributes=attributes)


def settings(stage, **changes):
    found = AwsSettings(
        region="us-east-1",
        eks_cluster=CLUSTER,
        cluster_id="contract",
        instance_profile=PROFILE,
        queue=QUEUE,
        families=("g6",),
        image=ImageSettings(ids={"amd64": stage.image} if hasattr(stage, "image") else {}),
        endpoint_url=stage.calls.settings.endpoint_url,
    )
    return replace(found, **changes)


async def findings(stage, **changes):
    checks = Checks(AwsCalls(settings(stage, **changes), SystemClock()))
    return {finding.name: finding async for finding in checks.run()}


async def test_an_account_that_is_ready_has_nothing_to_complain_of(account):
    found = await findings(account)
    assert {name: f.says for name, f in found.items() if not f.holds} == {}
    assert len(found) == 12
    assert all(f.says.endswith(".") and "\n" not in f.says for f in found.values())


@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        ({"region": "us-moon-1"}, "region", "There is no AWS region us-moon-1"),
        ({"eks_cluster": "absent"}, "cluster", "There is no EKS cluster absent in us-east-1"),
        ({"families": ("g6", "g99")}, "instance types", "of the family g99 in us-east-1"),
        ({"queue": "absent"}, "queue", "There is no queue absent in us-east-1"),
        ({"queue": ""}, "queue", "No queue is named"),
        ({"queue": "dead"}, "queue", "has no dead-letter queue"),
        ({"instance_profile": "absent"}, "instance profile", "no instance profile absent"),
        ({"instance_profile": ""}, "instance profile", "No instance profile is named"),
        ({"image": ImageSettings(ids={"amd64": "ami-0a"})}, "images", "The image ami-0a is not"),
        (
            {"image": ImageSettings(parameters={"amd64": "/none"})},
            "images",
            "no image at the SSM parameter /none",
        ),
    ],
)
async def test_what_is_named_and_not_there(account, changes, name, words):
    finding = (await findings(account, **changes))[name]
    assert not finding.holds
    assert words in finding.says


async def test_no_quota_names_the_class_and_how_it_is_sold(account):
    account.world.control.post("quota", **{"class": "G"}, capacity_type="spot", vcpus=0)
    finding = (await findings(account))["quotas"]
    assert finding.says == (
        "The account has no Spot quota for G and VT instances: ask AWS to raise it."
    )


async def test_a_subnet_without_addresses_is_named(account):
    made = account.world.control.post("provision", cluster={"name": "other"})
    first = made["subnet_ids"][0]
    account.world.control.post("subnet", subnet_id=first, free=0)
    finding = (await findings(account))["subnets"]
    assert f"{first} in us-east-1a has 0" in finding.says


async def test_spot_that_was_never_used_and_nodes_that_may_not_join(aws_world):
    async with aws_stage(aws_world) as stage:
        aws_world.control.post("provision", cluster={"name": CLUSTER})
        found = await findings(stage)
    assert "create-service-linked-role" in found["Spot role"].says
    assert "does not let nodes with arn:aws:iam::" in found["access entry"].says


async def test_without_credentials_nothing_else_is_asked(account, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    found = await findings(account)
    assert list(found) == ["region", "credentials"]
    assert "There are no AWS credentials" in found["credentials"].says


async def test_a_missing_permission_is_named(account):
    account.world.control.post(
        "fault",
        kind="error",
        action="ListServiceQuotas",
        code="AccessDeniedException",
        status=400,
        message="no",
    )
    finding = (await findings(account))["quotas"]
    assert "lacks the permission servicequotas:ListServiceQuotas" in finding.says
