"""What AWS would refuse, or take in another way than the usual one."""

import pytest
from aws_kit import codes_of, ids_of
from botocore.exceptions import ClientError

ONE = "us-east-1a/g6.xlarge"


@pytest.fixture(autouse=True)
def template(aws):
    aws.template()


def raw_fleet(aws, **changes):
    template = {"LaunchTemplateName": "nodes", "Version": "$Latest"}
    asked = {
        "Type": "instant",
        "LaunchTemplateConfigs": [
            {
                "LaunchTemplateSpecification": template,
                "Overrides": [{"InstanceType": "g6.xlarge", "SubnetId": aws.subnet("us-east-1a")}],
            }
        ],
        "TargetCapacitySpecification": {
            "TotalTargetCapacity": 1,
            "DefaultTargetCapacityType": "spot",
        },
    }
    return aws.ec2.create_fleet(**{**asked, **changes})


def test_only_instant_fleets_are_sold(aws):
    with pytest.raises(ClientError, match="instant only"):
        raw_fleet(aws, Type="maintain")


def test_a_fleet_of_nothing_is_refused(aws):
    nothing = {"TotalTargetCapacity": 0, "DefaultTargetCapacityType": "spot"}
    with pytest.raises(ClientError, match="at least 1"):
        raw_fleet(aws, TargetCapacitySpecification=nothing)


def test_types_are_named_not_described(aws):
    wanted = {"VCpuCount": {"Min": 1}, "MemoryMiB": {"Min": 1}}
    with pytest.raises(ClientError, match="InstanceRequirements"):
        aws.fleet({"InstanceRequirements": wanted})


def test_more_overrides_than_a_fleet_can_have_are_refused(aws):
    with pytest.raises(ClientError, match="at most 300"):
        aws.fleet(*[{"InstanceType": "g6.xlarge", "AvailabilityZone": "us-east-1a"}] * 301)


def test_both_capacity_types_can_be_asked_for_at_once(aws):
    capacity = {
        "TotalTargetCapacity": 5,
        "SpotTargetCapacity": 2,
        "OnDemandTargetCapacity": 1,
        "DefaultTargetCapacityType": "on-demand",
    }
    answer = raw_fleet(aws, TargetCapacitySpecification=capacity)
    count = {row["Lifecycle"]: len(row["InstanceIds"]) for row in answer["Instances"]}
    assert count == {"on-demand": 3, "spot": 2}


def test_a_zone_will_do_instead_of_a_subnet(aws):
    answer = aws.fleet({"InstanceType": "g6.xlarge", "AvailabilityZone": "us-east-1c"})
    (instance_id,) = ids_of(answer)
    row = aws.instance(instance_id)
    assert row["Placement"]["AvailabilityZone"] == "us-east-1c"
    assert row["SubnetId"] == aws.subnet("us-east-1c")


def test_a_template_alone_is_enough(aws):
    aws.template(
        name="whole", InstanceType="g5.xlarge", Placement={"AvailabilityZone": "us-east-1b"}
    )
    spec = {"LaunchTemplateSpecification": {"LaunchTemplateName": "whole", "Version": "$Default"}}
    (instance_id,) = ids_of(raw_fleet(aws, LaunchTemplateConfigs=[spec]))
    row = aws.instance(instance_id)
    assert (row["InstanceType"], row["Placement"]["AvailabilityZone"]) == (
        "g5.xlarge",
        "us-east-1b",
    )


def test_a_subnet_or_type_that_is_not_there_is_an_error_of_its_override(aws):
    answer = aws.fleet(
        {"InstanceType": "g6.xlarge", "SubnetId": "subnet-0123456789abcdef0"},
        {"InstanceType": "zz.absent", "SubnetId": aws.subnet("us-east-1a")},
        ONE,
    )
    assert len(ids_of(answer)) == 1
    answer = aws.fleet(
        {"InstanceType": "g6.xlarge", "SubnetId": "subnet-0123456789abcdef0"},
        {"InstanceType": "zz.absent", "SubnetId": aws.subnet("us-east-1a")},
    )
    assert sorted(codes_of(answer).values()) == [
        "InvalidParameterValue",
        "InvalidSubnetID.NotFound",
    ]


def test_a_version_that_is_not_there_is_an_error(aws):
    spec = {"LaunchTemplateSpecification": {"LaunchTemplateName": "nodes", "Version": "9"}}
    with pytest.raises(ClientError, match="VersionNotFound"):
        raw_fleet(aws, LaunchTemplateConfigs=[spec])


def test_an_image_parameter_that_does_not_exist_costs_nothing(aws):
    aws.post("pool", zone="us-east-1a", type="g6.xlarge", free=1)
    aws.template(name="absent", ImageId="resolve:ssm:/aws/service/eks/absent")
    answer = aws.fleet(ONE, template="absent")
    assert set(codes_of(answer).values()) == {"InvalidParameterValue"}
    assert len(aws.launched(ONE)) == 1


def test_filters_by_tag_key_and_wildcards_work_and_unknown_ones_are_refused(aws):
    spec = [{"ResourceType": "instance", "Tags": [{"Key": "claim", "Value": "c-1"}]}]
    ids = aws.launched(ONE, TagSpecifications=spec)
    aws.launched(ONE)
    for name, value in (("tag-key", "claim"), ("tag:claim", "c-*")):
        assert list(aws.states(Filters=[{"Name": name, "Values": [value]}])) == ids
    assert len(aws.states(Filters=[{"Name": "instance-type", "Values": ["g6.xlarge"]}])) == 2
    with pytest.raises(ClientError, match="filter 'absent' is invalid"):
        aws.states(Filters=[{"Name": "absent", "Values": ["x"]}])


def test_instances_are_not_stopped_here(aws):
    ids = aws.launched(ONE)
    with pytest.raises(ClientError, match="UnsupportedOperation"):
        aws.ec2.stop_instances(InstanceIds=ids)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"GroupName": "a", "Strategy": "cluster"}, "Duplicate"),
        ({"GroupName": "b", "Strategy": "partition", "PartitionCount": 8}, "At most 7"),
        ({"Strategy": "cluster"}, "needs a name"),
    ],
)
def test_placement_groups_that_cannot_be(aws, asked, code):
    aws.ec2.create_placement_group(GroupName="a", Strategy="spread")
    with pytest.raises(ClientError, match=code):
        aws.ec2.create_placement_group(**asked)


def test_topology_takes_a_hundred_ids(aws):
    with pytest.raises(ClientError, match="At most 100"):
        aws.ec2.describe_instance_topology(InstanceIds=[f"i-{n:017x}" for n in range(101)])


def test_launches_are_limited_beside_calls(aws):
    aws.post("parameters", quota_vcpus=10**7)
    assert len(aws.launched(ONE, count=900)) == 900
    with pytest.raises(ClientError, match="RequestLimitExceeded"):
        aws.launched("us-east-1b/g6.xlarge", count=200)
    aws.post("advance", seconds=50)
    assert len(aws.launched("us-east-1b/g6.xlarge", count=200)) == 200
