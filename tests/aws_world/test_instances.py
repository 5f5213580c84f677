"""Instances as described: what the template says of them, how they live, lag, and end."""

import base64

import pytest
from botocore.exceptions import ClientError

DISKS = [
    {
        "DeviceName": "/dev/xvda",
        "Ebs": {
            "VolumeSize": 123,
            "VolumeType": "gp3",
            "Iops": 4000,
            "Throughput": 250,
            "Encrypted": True,
        },
    },
    {"DeviceName": "/dev/xvdb", "Ebs": {"VolumeSize": 50, "VolumeType": "gp3"}},
]
ONE = "us-east-1a/g6.xlarge"


def test_a_fleet_inherits_all_of_its_template(aws):
    made = aws.post("provision", profile="node")
    data = base64.b64encode(b"join the cluster").decode()
    aws.template(
        UserData=data,
        IamInstanceProfile={"Name": "node"},
        BlockDeviceMappings=DISKS,
        MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        SecurityGroupIds=[made["security_group_id"]],
        InstanceInitiatedShutdownBehavior="terminate",
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": "of", "Value": "template"}]}
        ],
    )
    (instance_id,) = aws.launched(ONE)
    row = aws.instance(instance_id)
    assert row["IamInstanceProfile"]["Arn"].endswith("instance-profile/node")
    assert row["MetadataOptions"]["HttpTokens"] == "required"
    assert row["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    assert [group["GroupId"] for group in row["SecurityGroups"]] == [made["security_group_id"]]
    assert row["InstanceLifecycle"] == "spot"
    assert row["SpotInstanceRequestId"].startswith("sir-")
    assert {"Key": "of", "Value": "template"} in row["Tags"]
    told = aws.ec2.describe_instance_attribute(InstanceId=instance_id, Attribute="userData")
    assert told["UserData"]["Value"] == data


def test_disks_are_those_of_the_template(aws):
    aws.template(BlockDeviceMappings=DISKS)
    (instance_id,) = aws.launched(ONE)
    wanted = [{"Name": "attachment.instance-id", "Values": [instance_id]}]
    volumes = aws.ec2.describe_volumes(Filters=wanted)["Volumes"]
    root = next(v for v in volumes if v["Attachments"][0]["Device"] == "/dev/xvda")
    assert (root["Size"], root["VolumeType"], root["Encrypted"]) == (123, "gp3", True)
    assert (root["Iops"], root["Throughput"]) == (4000, 250)
    assert aws.instance(instance_id)["RootDeviceName"] == "/dev/xvda"
    assert len(volumes) == 2


def test_tags_at_launch_are_on_instance_and_volumes(aws):
    aws.template(BlockDeviceMappings=DISKS)
    tags = [{"Key": "claim", "Value": "c-1"}]
    specs = [{"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume")]
    (instance_id,) = aws.launched(ONE, TagSpecifications=specs)
    assert tags[0] in aws.instance(instance_id)["Tags"]
    volumes = aws.ec2.describe_volumes(Filters=[{"Name": "tag:claim", "Values": ["c-1"]}])
    assert len(volumes["Volumes"]) == 2


def test_efa_interfaces_are_there_and_too_many_are_refused(aws):
    def interfaces(count):
        return [
            {"DeviceIndex": min(n, 1), "NetworkCardIndex": n, "InterfaceType": "efa"}
            for n in range(count)
        ]

    aws.template(NetworkInterfaces=interfaces(4))
    (instance_id,) = aws.launched("us-east-1a/p4d.24xlarge", capacity="on-demand")
    shown = aws.instance(instance_id)["NetworkInterfaces"]
    assert [nic["InterfaceType"] for nic in shown] == ["efa"] * 4
    assert [nic["Attachment"]["NetworkCardIndex"] for nic in shown] == [0, 1, 2, 3]
    aws.template(name="many", NetworkInterfaces=interfaces(5))
    answer = aws.fleet("us-east-1a/p4d.24xlarge", capacity="on-demand", template="many")
    assert answer["Errors"][0]["ErrorCode"] == "AttachmentLimitExceeded"


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"IamInstanceProfile": {"Name": "absent"}}, "InvalidParameterValue"),
        ({"Placement": {"GroupName": "absent"}}, "InvalidPlacementGroup.Unknown"),
        ({"SecurityGroupIds": ["sg-0123456789abcdef0"]}, "InvalidGroup.NotFound"),
    ],
)
def test_settings_that_name_nothing_are_an_error_and_cost_no_capacity(aws, settings, code):
    aws.template(**settings)
    aws.post("pool", zone="us-east-1a", type="g6.xlarge", free=1)
    answer = aws.fleet(ONE)
    assert [row["ErrorCode"] for row in answer["Errors"]] == [code]
    aws.template(name="good")
    assert len(aws.launched(ONE, template="good")) == 1


def test_an_instance_takes_time_to_run_and_to_end(aws):
    aws.template()
    (instance_id,) = aws.launched(ONE)
    assert aws.states() == {instance_id: "pending"}
    aws.post("advance", seconds=60)
    assert aws.states() == {instance_id: "running"}
    answer = aws.ec2.terminate_instances(InstanceIds=[instance_id])["TerminatingInstances"][0]
    assert answer["PreviousState"]["Name"] == "running"
    assert aws.states() == {instance_id: "shutting-down"}
    aws.post("advance", seconds=120)
    assert aws.states() == {instance_id: "terminated"}
    aws.post("advance", seconds=3600)
    assert aws.states() == {}


def test_what_ends_gives_its_address_and_volumes_back(aws):
    aws.template(BlockDeviceMappings=DISKS)
    free = subnet_free(aws)
    ids = aws.launched(ONE, count=3)
    assert subnet_free(aws) == free - 3
    aws.ec2.terminate_instances(InstanceIds=ids)
    aws.post("advance", seconds=120)
    assert subnet_free(aws) == free
    assert aws.ec2.describe_volumes()["Volumes"] == []


def subnet_free(aws):
    subnets = aws.ec2.describe_subnets(SubnetIds=[aws.subnet("us-east-1a")])["Subnets"]
    return subnets[0]["AvailableIpAddressCount"]


def test_a_full_subnet_is_said_so(aws):
    aws.template()
    aws.post("subnet", subnet_id=aws.subnet("us-east-1a"), free=2)
    answer = aws.fleet(ONE, count=3)
    assert len(answer["Instances"][0]["InstanceIds"]) == 2
    assert answer["Errors"][0]["ErrorCode"] == "InsufficientFreeAddressesInSubnet"


def test_a_fresh_instance_is_not_found_and_lag_shows_old_states(aws):
    aws.template()
    aws.post("parameters", describe_lag_seconds=5)
    (instance_id,) = aws.launched(ONE)
    assert aws.states() == {}
    for call in (
        lambda: aws.instance(instance_id),
        lambda: aws.ec2.create_tags(Resources=[instance_id], Tags=[{"Key": "a", "Value": "b"}]),
    ):
        with pytest.raises(ClientError, match=r"InvalidInstanceID\.NotFound"):
            call()
    aws.post("advance", seconds=60)
    aws.ec2.create_tags(Resources=[instance_id], Tags=[{"Key": "a", "Value": "b"}])
    aws.ec2.terminate_instances(InstanceIds=[instance_id])
    assert aws.states(Filters=[{"Name": "tag:a", "Values": ["b"]}]) == {instance_id: "running"}
    aws.post("advance", seconds=5)
    assert aws.states() == {instance_id: "shutting-down"}


def test_one_unknown_id_refuses_the_whole_list(aws):
    aws.template()
    (instance_id,) = aws.launched(ONE)
    with pytest.raises(ClientError, match=r"InvalidInstanceID\.NotFound"):
        aws.ec2.terminate_instances(InstanceIds=[instance_id, "i-0123456789abcdef0"])
    assert aws.states() == {instance_id: "pending"}


def test_ending_twice_is_no_error(aws):
    aws.template()
    ids = aws.launched(ONE)
    for _ in range(2):
        aws.ec2.terminate_instances(InstanceIds=ids)
    assert set(aws.states().values()) == {"shutting-down"}


def test_pages_hold_instances_in_order_of_launch(aws):
    aws.template()
    ids = [i for _ in range(3) for i in aws.launched(ONE, count=5)]
    assert list(aws.states(PaginationConfig={"PageSize": 5})) == ids
    with pytest.raises(ClientError, match="InvalidParameterCombination"):
        aws.ec2.describe_instances(InstanceIds=ids[:1], MaxResults=5)


def test_status_checks_fail_on_demand(aws):
    aws.template()
    (instance_id,) = aws.launched(ONE)
    aws.post("advance", seconds=60)
    aws.post("impair", ids=[instance_id])
    row = aws.ec2.describe_instance_status(InstanceIds=[instance_id])["InstanceStatuses"][0]
    assert row["InstanceStatus"]["Status"] == "impaired"


def test_run_instances_goes_through_the_same_market(aws):
    aws.post("pool", zone="us-east-1a", type="g6.xlarge", free=1)
    asked = {
        "ImageId": "ami-12345678",
        "InstanceType": "g6.xlarge",
        "SubnetId": aws.subnet("us-east-1a"),
        "MinCount": 1,
    }
    rows = aws.ec2.run_instances(MaxCount=3, ClientToken="run", **asked)["Instances"]
    again = aws.ec2.run_instances(MaxCount=3, ClientToken="run", **asked)["Instances"]
    assert [r["InstanceId"] for r in rows] == [r["InstanceId"] for r in again]
    assert len(rows) == 1
    with pytest.raises(ClientError, match="InsufficientInstanceCapacity"):
        aws.ec2.run_instances(MaxCount=1, **asked)
