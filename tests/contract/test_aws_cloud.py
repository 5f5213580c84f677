"""boto3 against an AWS: what is launched, repeated after a crash, refused, and tidied up."""

import asyncio
import base64
from dataclasses import replace

import pytest
from cloud_stages import CLUSTER_FACTS, TAGS, aws_stage
from worlds import eventually

from jupyter_gpu_jit.adapters.aws import market as market_module
from jupyter_gpu_jit.adapters.aws.calls import AwsCalls
from jupyter_gpu_jit.adapters.aws.ec2 import Ec2Cloud
from jupyter_gpu_jit.adapters.aws.facts import read_facts
from jupyter_gpu_jit.adapters.aws.settings import AwsSettings, ImageSettings
from jupyter_gpu_jit.adapters.system import SystemClock
from jupyter_gpu_jit.catalogue import instance_types
from jupyter_gpu_jit.core.model import Offering
from jupyter_gpu_jit.core.requirements import CapacityType
from jupyter_gpu_jit.errors import NotFound, Rejected, Unavailable
from jupyter_gpu_jit.ports import LaunchRequest, PlacementGroup

SPOT = Offering(
    instance_type="g6.xlarge",
    zone="us-east-1a",
    capacity_type=CapacityType.SPOT,
    usd_per_hour_micro=1,
)
PLAIN = replace(SPOT, capacity_type=CapacityType.ON_DEMAND)
BIG = replace(SPOT, instance_type="p4d.24xlarge")


def request(*offerings, token="batch-1-1", count=1, **more):
    offerings = offerings or (SPOT,)
    return LaunchRequest(client_token=token, offerings=offerings, count=count, tags=TAGS, **more)


@pytest.fixture
async def aws(aws_world):
    async with aws_stage(aws_world) as stage:
        yield stage


class Later(SystemClock):
    """The wall clock, some time ahead."""

    def __init__(self, seconds):
        self.seconds = seconds

    def now(self):
        return super().now() + self.seconds


def another(stage, *, clock=None, **changes):
    """A cloud that knows nothing of the first one, as after a crash."""
    settings = replace(stage.calls.settings, **changes)
    return Ec2Cloud(AwsCalls(settings, clock or SystemClock()), instance_types())


async def described(stage, instance_id):
    (reservation,) = await stage.calls.pages(
        "ec2", "DescribeInstances", "Reservations", InstanceIds=[instance_id]
    )
    return reservation["Instances"][0]


# --- what is launched -----------------------------------------------------------------------------


async def test_an_instance_is_guarded_encrypted_and_tagged_from_its_first_moment(aws):
    (one,) = (await aws.cloud.launch(request())).instances
    found = await described(aws, one.id)
    assert found["MetadataOptions"]["HttpTokens"] == "required"
    assert found["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    assert found["IamInstanceProfile"]["Arn"].endswith("/contract-node")
    assert found["InstanceLifecycle"] == "spot"
    tags = {tag["Key"]: tag["Value"] for tag in found["Tags"]}
    assert TAGS.items() <= tags.items()
    assert tags["gpu-jit.io/launch"] == "batch-1-1"
    (disk,) = found["BlockDeviceMappings"]
    (volume,) = await aws.calls.pages(
        "ec2", "DescribeVolumes", "Volumes", VolumeIds=[disk["Ebs"]["VolumeId"]]
    )
    assert (volume["VolumeType"], volume["Encrypted"], volume["Size"]) == ("gp3", True, 100)
    assert {"Key": "gpu-jit.io/cluster", "Value": "contract"} in volume["Tags"]


async def test_a_node_is_told_how_to_join(aws):
    await aws.cloud.launch(request())
    (row,) = aws.world.control.get("instances")["instances"]
    text = row["user_data"]
    text = text if "NodeConfig" in text else base64.b64decode(text).decode()
    assert "https://contract.eks.test" in text
    assert "gpu-jit.io/unregistered" in text


async def test_on_demand_comes_without_the_tags_of_a_spot_request(aws):
    result = await aws.cloud.launch(request(PLAIN, count=2))
    assert [i.capacity_type for i in result.instances] == ["on-demand", "on-demand"]


async def test_instances_of_another_hub_are_not_ours(aws):
    await another(aws, hub_id="other").launch(replace(request(), tags={}))
    mine = another(aws, hub_id="mine")
    await mine.launch(replace(request(token="batch-2-1"), tags={}))
    assert len(await mine.instances()) == 1
    assert len(await aws.cloud.instances()) == 2


async def test_a_placement_group_is_made_used_again_and_stood_in(aws):
    group = PlacementGroup(name="gang-1")
    for n in range(2):
        result = await aws.cloud.launch(
            request(BIG, token=f"b-{n}", count=2, at_least=2, placement_group=group)
        )
        assert len(result.instances) == 2
    (found,) = await aws.calls.pages("ec2", "DescribePlacementGroups", "PlacementGroups")
    assert (found["GroupName"], found["Strategy"]) == ("gang-1", "cluster")
    assert {"Key": "gpu-jit.io/cluster", "Value": "contract"} in found["Tags"]
    placed = (await described(aws, result.instances[0].id))["Placement"]
    assert placed["GroupName"] == "gang-1"


async def test_a_group_that_is_there_already_is_used_after_a_crash_too(aws):
    group = PlacementGroup(name="apart", strategy="partition", partitions=3)
    await aws.cloud.launch(request(BIG, placement_group=group))
    again = await another(aws).launch(request(BIG, token="batch-2-1", placement_group=group))
    assert len(again.instances) == 1
    (found,) = await aws.calls.pages("ec2", "DescribePlacementGroups", "PlacementGroups")
    assert (found["Strategy"], found["PartitionCount"]) == ("partition", 3)


async def test_efa_is_asked_for_with_as_many_interfaces_as_the_type_has(aws):
    await aws.cloud.launch(request(BIG, efa=True))
    (found,) = await aws.calls.pages("ec2", "DescribeLaunchTemplates", "LaunchTemplates")
    versions = await aws.calls.pages(
        "ec2",
        "DescribeLaunchTemplateVersions",
        "LaunchTemplateVersions",
        LaunchTemplateName=found["LaunchTemplateName"],
    )
    cards = versions[0]["LaunchTemplateData"]["NetworkInterfaces"]
    assert [card["InterfaceType"] for card in cards] == ["efa"] * 4


async def test_a_zone_without_a_subnet_and_a_type_nobody_knows_are_refused_here(aws):
    far = replace(SPOT, zone="us-east-1z")
    odd = replace(SPOT, instance_type="g99.xlarge")
    result = await aws.cloud.launch(request(far, odd, SPOT))
    assert len(result.instances) == 1
    assert [(f.offering, f.code) for f in result.failures] == [
        (far, "NoSubnetInZone"),
        (odd, "Unsupported"),
    ]


# --- repeated -------------------------------------------------------------------------------------


async def test_an_answer_that_got_lost_launches_nothing_twice(aws):
    aws.world.control.post("fault", kind="lost_answer", action="CreateFleet", count=1)
    result = await aws.cloud.launch(request(count=2))
    assert sorted(aws.ever()) == sorted(i.id for i in result.instances)


async def test_who_comes_after_a_crash_gets_the_same_instances(aws):
    aws.stock(SPOT.key, 1)
    asked = request(SPOT, PLAIN, count=3)
    first = await aws.cloud.launch(asked)
    again = await another(aws).launch(asked)
    assert [i.id for i in first.instances] == [i.id for i in again.instances]
    assert len(aws.ever()) == 3


async def test_a_newer_image_after_a_crash_launches_nothing_twice(aws):
    aws.stock(SPOT.key, 1)
    asked = request(SPOT, PLAIN, count=3)
    first = await aws.cloud.launch(asked)
    newer = another(aws, image=ImageSettings(ids={"amd64": "ami-99999999"}))
    again = await newer.launch(asked)
    assert {i.id for i in first.instances} == {i.id for i in again.instances}
    assert len(aws.ever()) == 3


async def test_a_template_that_somebody_removed_is_made_again(aws):
    await aws.cloud.launch(request())
    for row in await aws.calls.pages("ec2", "DescribeLaunchTemplates", "LaunchTemplates"):
        name = row["LaunchTemplateName"]
        await aws.calls.call("ec2", "DeleteLaunchTemplate", LaunchTemplateName=name)
    result = await aws.cloud.launch(request(token="batch-2-1"))
    assert len(result.instances) == 1
    assert result.failures == ()


async def test_a_throttle_inside_an_answer_is_asked_again_and_blames_no_offering(aws):
    aws.refuse(SPOT.key, "RequestLimitExceeded")
    launching = asyncio.create_task(aws.cloud.launch(request(count=2)))

    async def refused_once():
        return aws.world.control.get("launches")["by_token"] is not None and _asked(aws)

    await eventually(refused_once)
    aws.refuse(SPOT.key, "")
    result = await launching
    assert len(result.instances) == len(aws.ever()) == 2
    assert result.failures == ()


def _asked(aws):
    lines = aws.world.control.get("log")["lines"]
    return any("CreateFleet" in str(line) for line in lines)


# --- refused --------------------------------------------------------------------------------------


async def test_a_missing_permission_is_told_for_each_offering(aws):
    aws.world.control.post(
        "fault",
        kind="error",
        action="CreateFleet",
        code="UnauthorizedOperation",
        message="You are not authorized to perform: ec2:RunInstances on resource: x",
        status=403,
    )
    (failure,) = (await aws.cloud.launch(request())).failures
    assert failure.code == "UnauthorizedOperation"
    assert "lacks the permission ec2:RunInstances" in failure.message


async def test_another_refusal_of_the_whole_call_is_raised(aws):
    aws.world.control.post(
        "fault", kind="error", action="CreateFleet", code="InvalidParameter", status=400
    )
    with pytest.raises(Rejected, match="InvalidParameter"):
        await aws.cloud.launch(request())


async def test_what_was_removed_meanwhile_is_looked_for_again(aws):
    await aws.cloud.launch(request())
    before = await aws.cloud.facts.facts()
    aws.world.control.post(
        "fault", kind="error", action="CreateFleet", code="InvalidSubnetID.NotFound", status=400
    )
    with pytest.raises(NotFound):
        await aws.cloud.launch(request(token="batch-2-1"))
    assert await aws.cloud.facts.facts() is not before
    assert len((await aws.cloud.launch(request(token="batch-2-1"))).instances) == 1


async def test_no_quota_is_a_sentence_for_the_person_who_waits(aws):
    aws.world.control.post("quota", **{"class": "G"}, capacity_type="spot", vcpus=0)
    (failure,) = (await aws.cloud.launch(request())).failures
    assert failure.code == "MaxSpotInstanceCountExceeded"
    assert failure.message == (
        "Your cluster has no Spot quota left for G and VT instances: ask your admin to have it "
        "raised."
    )


# --- an AWS in trouble ----------------------------------------------------------------------------


async def test_connections_that_end_are_tried_again_and_every_attempt_is_counted(aws):
    told = []
    calls = AwsCalls(aws.calls.settings, SystemClock(), lambda *what: told.append(what))
    cloud = Ec2Cloud(calls, instance_types())
    post = aws.world.control.post
    post("fault", kind="drop", action="DescribeInstances", count=1)
    post(
        "fault",
        kind="error",
        action="DescribeInstances",
        code="RequestLimitExceeded",
        status=503,
        count=1,
    )
    assert await cloud.instances() == ()
    assert sorted(told) == [
        ("DescribeInstances", "failed"),
        ("DescribeInstances", "ok"),
        ("DescribeInstances", "throttled"),
    ]


async def test_an_answer_that_takes_too_long_is_given_up(aws):
    aws.world.control.post("fault", kind="latency", action="DescribeInstances", seconds=2.0)
    with pytest.raises(Unavailable, match="did not answer ec2:DescribeInstances in time"):
        await another(aws, call_seconds=0.3).instances()


# --- ended and tidied up --------------------------------------------------------------------------


async def test_long_lists_with_unknown_ids_among_them_are_ended(aws):
    result = await aws.cloud.launch(request(count=30))
    unknown = [f"i-{n:017x}" for n in range(3)]
    await aws.cloud.terminate([i.id for i in result.instances] + unknown + ["i-unknown"])
    assert aws.live() == []


async def test_many_who_end_one_each_make_few_calls(aws):
    result = await aws.cloud.launch(request(count=30))
    await asyncio.gather(*(aws.cloud.terminate([i.id]) for i in result.instances))
    lines = [str(line) for line in aws.world.control.get("log")["lines"]]
    assert aws.live() == []
    assert sum("TerminateInstances" in line for line in lines) <= 2


async def test_one_that_may_not_be_ended_keeps_none_of_the_others_alive(aws):
    result = await aws.cloud.launch(request(count=4))
    aws.world.control.post(
        "fault",
        kind="error",
        action="TerminateInstances",
        code="UnauthorizedOperation",
        status=403,
        count=1,
    )
    await aws.cloud.terminate([i.id for i in result.instances])
    assert aws.live() == []


async def test_templates_and_groups_that_nobody_uses_are_removed(aws):
    used, unused = PlacementGroup(name="used"), PlacementGroup(name="unused")
    await aws.cloud.launch(request(BIG, token="a", placement_group=used))
    (gone,) = (await aws.cloud.launch(request(BIG, token="b", placement_group=unused))).instances
    assert await aws.cloud.housekeeping.collect() == {}
    await aws.cloud.terminate([gone.id])
    aws.world.control.post("advance", seconds=600)
    a_day_later = another(aws, clock=Later(25 * 3600))
    removed = await a_day_later.housekeeping.collect()
    assert removed == {"launch-template": 1, "placement-group": 1}
    left = await aws.calls.pages("ec2", "DescribePlacementGroups", "PlacementGroups")
    assert [group["GroupName"] for group in left] == ["used"]


# --- the catalogue and the facts ------------------------------------------------------------------


async def test_prices_and_risks_are_those_of_now(aws):
    await aws.cloud.market.refresh()
    await aws.cloud.market.refresh_on_demand()
    await aws.cloud.market.refresh_risks()
    assert aws.cloud.market.age_seconds() < 60
    types = {kind.name: kind for kind in await aws.cloud.instance_types()}
    sold = {o.key: o for o in types["g6.xlarge"].offerings}
    assert sold[PLAIN.key].usd_per_hour_micro == 804_800
    assert 0 < sold[SPOT.key].usd_per_hour_micro <= 804_800
    assert sold[SPOT.key].interruptions_per_hour > 0
    assert {name.partition(".")[0] for name in types} == {"g6", "p4d"}


async def test_prices_are_kept_fresh_beside_everything_else_whatever_fails_once(aws, monkeypatch):
    monkeypatch.setattr(market_module, "RETRY_SECONDS", 0.1)
    for action in ("DescribeSpotPriceHistory", "GetProducts", "GetSpotPlacementScores"):
        aws.world.control.post(
            "fault", kind="error", action=action, code="AccessDenied", status=403, count=1
        )
    keeping = asyncio.create_task(aws.cloud.market.keep_fresh())

    async def all_is_known():
        types = {kind.name: kind for kind in await aws.cloud.instance_types()}
        sold = {o.key: o for o in types["g6.xlarge"].offerings}
        return SPOT.key in sold and sold[SPOT.key].interruptions_per_hour

    await eventually(all_is_known)
    assert not keeping.done()
    keeping.cancel()
    await asyncio.wait([keeping])


async def test_the_packaged_table_is_used_while_aws_is_silent(aws, monkeypatch):
    monkeypatch.setattr(market_module, "FIRST_ANSWER_SECONDS", 0.2)
    silent = another(aws, endpoint_url="http://127.0.0.1:9")
    types = await silent.instance_types()
    assert tuple(types) == tuple(instance_types())
    assert silent.market.age_seconds() == float("inf")


async def test_facts_are_found_by_tag_and_from_eks(aws):
    made = aws.world.control.post("provision", cluster={"name": "found", "version": "1.36"})
    settings = AwsSettings(
        region="us-east-1", eks_cluster="found", endpoint_url=aws.calls.settings.endpoint_url
    )
    calls = AwsCalls(settings, SystemClock())
    facts = await read_facts(calls)
    assert facts.endpoint == "https://found.eks.us-east-1.example"
    assert (facts.kubernetes_version, facts.service_cidr) == ("1.36", "10.100.0.0/16")
    assert facts.certificate_authority
    assert {subnet.id for subnet in facts.subnets} == set(made["subnet_ids"])
    assert facts.security_group_ids == (made["security_group_id"],)
    tags = [{"Key": "gpu-jit.io/discovery", "Value": "found"}]
    ours = made["subnet_ids"][3:5]
    await aws.calls.call("ec2", "CreateTags", Resources=ours, Tags=tags)
    assert {subnet.id for subnet in (await read_facts(calls)).subnets} == set(ours)


async def test_a_cluster_that_is_not_there_is_one_sentence(aws):
    settings = replace(aws.calls.settings, eks_cluster="absent", endpoint="")
    with pytest.raises(Rejected, match="There is no EKS cluster absent in us-east-1"):
        await read_facts(AwsCalls(settings, SystemClock()))


async def test_the_image_is_the_one_that_aws_publishes(aws):
    public = another(aws, image=ImageSettings())
    image = await public.facts.image("amd64", True)
    assert image.startswith("ami-")
    assert CLUSTER_FACTS["image"].ids["amd64"] != image
    odd = another(aws, image=ImageSettings(parameters={"amd64": "/nowhere"}))
    with pytest.raises(Rejected, match="no image at the SSM parameter /nowhere"):
        await odd.facts.image("amd64", True)
