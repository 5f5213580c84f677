"""Prices, quotas, images, clusters, placement: what an adapter reads before and after a launch."""

import json
from datetime import UTC, datetime

import pytest
from aws_kit import codes_of, ids_of
from botocore.exceptions import ClientError

AMI = "/aws/service/eks/optimized-ami/1.33/amazon-linux-2023/x86_64/nvidia/recommended/image_id"
BOTTLEROCKET = "/aws/service/bottlerocket/aws-k8s-1.33-nvidia/x86_64/latest/image_id"


def test_pricing_gives_the_published_on_demand_price(aws):
    rows = aws.pricing.get_products(
        ServiceCode="AmazonEC2",
        Filters=[{"Type": "TERM_MATCH", "Field": "instanceType", "Value": "g5.xlarge"}],
    )["PriceList"]
    terms = json.loads(rows[0])["terms"]["OnDemand"]
    (dimension,) = next(iter(terms.values()))["priceDimensions"].values()
    assert float(dimension["pricePerUnit"]["USD"]) == pytest.approx(1.006)


def test_all_prices_come_in_pages(aws):
    pages = aws.pricing.get_paginator("get_products").paginate(ServiceCode="AmazonEC2")
    names = [
        json.loads(p)["product"]["attributes"]["instanceType"]
        for q in pages
        for p in q["PriceList"]
    ]
    assert len(names) == len(set(names)) > 500


def spot(aws, **params):
    pages = aws.ec2.get_paginator("describe_spot_price_history").paginate(**params)
    return [row for page in pages for row in page["SpotPriceHistory"]]


def test_spot_prices_move_stay_below_on_demand_and_repeat_by_seed(aws):
    rows = spot(aws, InstanceTypes=["g6.xlarge"], ProductDescriptions=["Linux/UNIX"])
    prices = [float(row["SpotPrice"]) for row in rows]
    assert len(set(prices)) > 20
    assert max(prices) <= 0.8048
    assert rows == spot(aws, InstanceTypes=["g6.xlarge"])
    aws.post("reset", seed=8, start=1_800_000_000.0)
    assert prices != [float(r["SpotPrice"]) for r in spot(aws, InstanceTypes=["g6.xlarge"])]


def test_asked_from_now_each_pool_has_one_spot_price(aws):
    now = datetime.fromtimestamp(1_800_000_000, UTC)
    rows = spot(aws, StartTime=now, InstanceTypes=["g6.xlarge", "g5.xlarge"])
    pools = [(row["AvailabilityZone"], row["InstanceType"]) for row in rows]
    assert len(pools) == len(set(pools)) > 4


def test_a_set_price_is_what_the_history_shows(aws):
    aws.post("pool", zone="us-east-1a", type="g6.xlarge", capacity_type="spot", price_usd=0.123)
    rows = spot(aws, InstanceTypes=["g6.xlarge"], AvailabilityZone="us-east-1a")
    assert float(rows[0]["SpotPrice"]) == 0.123


def test_quotas_are_read_and_bind_per_class(aws):
    quota = aws.client("service-quotas")
    code = "L-3819A6DF"
    aws.post("quota", **{"class": "G", "capacity_type": "spot", "vcpus": 8})
    answer = quota.get_service_quota(ServiceCode="ec2", QuotaCode=code)
    assert answer["Quota"]["Value"] == 8
    aws.template()
    fleet = aws.fleet("us-east-1a/g6.xlarge", "us-east-1b/g5.xlarge", count=3)
    assert len(ids_of(fleet)) == 2
    assert set(codes_of(fleet).values()) == {"MaxSpotInstanceCountExceeded"}
    assert len(aws.launched("us-east-1a/g6.xlarge", capacity="on-demand")) == 1


def test_a_quota_of_nothing_is_vcpu_limit_on_demand(aws):
    aws.post("quota", **{"class": "G", "capacity_type": "on-demand", "vcpus": 0})
    aws.template()
    answer = aws.fleet("us-east-1a/g6.xlarge", capacity="on-demand")
    assert set(codes_of(answer).values()) == {"VcpuLimitExceeded"}


def test_an_unknown_quota_is_an_error(aws):
    with pytest.raises(ClientError, match="NoSuchResourceException"):
        aws.client("service-quotas").get_service_quota(ServiceCode="ec2", QuotaCode="L-0")


@pytest.mark.parametrize("name", [AMI, BOTTLEROCKET])
def test_images_with_nvidia_drivers_are_public_parameters(aws, name):
    found = aws.ssm.get_parameter(Name=name)["Parameter"]["Value"]
    assert found.startswith("ami-")
    assert aws.ssm.get_parameters(Names=[name, name + "x"])["InvalidParameters"] == [name + "x"]


def test_an_image_that_does_not_exist_is_not_found(aws):
    with pytest.raises(ClientError, match="ParameterNotFound"):
        aws.ssm.get_parameter(Name=AMI.replace("nvidia", "absent"))


def test_a_template_may_name_its_image_by_parameter(aws):
    aws.template(ImageId=f"resolve:ssm:{AMI}")
    (instance_id,) = aws.launched("us-east-1a/g6.xlarge")
    expected = aws.ssm.get_parameter(Name=AMI)["Parameter"]["Value"]
    assert aws.instance(instance_id)["ImageId"] == expected


def test_a_provisioned_cluster_says_what_a_node_needs(aws):
    aws.post(
        "provision", cluster={"name": "lab", "endpoint": "https://api.example", "version": "1.34"}
    )
    cluster = aws.eks.describe_cluster(name="lab")["cluster"]
    assert cluster["endpoint"] == "https://api.example"
    assert cluster["version"] == "1.34"
    assert cluster["kubernetesNetworkConfig"]["serviceIpv4Cidr"] == "10.100.0.0/16"
    assert len(cluster["resourcesVpcConfig"]["subnetIds"]) == 6
    (role,) = aws.eks.list_access_entries(clusterName="lab")["accessEntries"]
    entry = aws.eks.describe_access_entry(clusterName="lab", principalArn=role)["accessEntry"]
    assert entry["type"] == "EC2_LINUX"


def test_what_an_admin_made_can_be_made_again(aws):
    names = {"queue": "again", "profile": "again", "cluster": {"name": "again"}}
    assert aws.post("provision", **names) == aws.post("provision", **names)


def test_a_cluster_that_is_not_there_is_not_found(aws):
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        aws.eks.describe_cluster(name="absent")


def test_placement_scores_follow_the_pools(aws):
    aws.post("pool", zone="us-east-1a", capacity_type="spot", free=0)
    rows = aws.ec2.get_spot_placement_scores(
        InstanceTypes=["g6.xlarge", "g5.xlarge", "g6e.xlarge"],
        TargetCapacity=4,
        SingleAvailabilityZone=True,
        RegionNames=["us-east-1"],
    )["SpotPlacementScores"]
    zones = aws.ec2.describe_availability_zones()["AvailabilityZones"]
    by_id = {zone["ZoneId"]: zone["ZoneName"] for zone in zones}
    score = {by_id[row["AvailabilityZoneId"]]: row["Score"] for row in rows}
    assert score["us-east-1a"] == 1
    assert score["us-east-1b"] >= 8


def test_few_types_score_low_and_questions_are_counted(aws):
    aws.post("parameters", score_configurations_per_day=1)
    ask = aws.ec2.get_spot_placement_scores
    assert (
        ask(InstanceTypes=["g6.xlarge"], TargetCapacity=1)["SpotPlacementScores"][0]["Score"] <= 3
    )
    ask(InstanceTypes=["g6.xlarge"], TargetCapacity=1)
    with pytest.raises(ClientError, match="MaxConfigLimitExceeded"):
        ask(InstanceTypes=["g5.xlarge"], TargetCapacity=1)


def test_a_cluster_group_is_in_one_zone_and_shares_its_network(aws):
    aws.ec2.create_placement_group(GroupName="near", Strategy="cluster")
    aws.template(Placement={"GroupName": "near"})
    ids = aws.launched("us-east-1a/p5.48xlarge", "us-east-1b/p5.48xlarge", count=3)
    aws.post("advance", seconds=120)
    rows = aws.ec2.describe_instance_topology(InstanceIds=ids)["Instances"]
    assert {tuple(row["NetworkNodes"]) for row in rows} == {tuple(rows[0]["NetworkNodes"])}
    assert {row["AvailabilityZone"] for row in rows} == {
        aws.instance(ids[0])["Placement"]["AvailabilityZone"]
    }
    with pytest.raises(ClientError, match="InUse"):
        aws.ec2.delete_placement_group(GroupName="near")


def test_a_cluster_group_does_not_leave_its_zone(aws):
    aws.ec2.create_placement_group(GroupName="near", Strategy="cluster")
    aws.template(Placement={"GroupName": "near"})
    assert len(aws.launched("us-east-1a/g6.xlarge")) == 1
    assert aws.launched("us-east-1b/g6.xlarge") == []


def test_partitions_fill_evenly(aws):
    aws.ec2.create_placement_group(GroupName="apart", Strategy="partition", PartitionCount=3)
    aws.template(Placement={"GroupName": "apart"})
    ids = aws.launched("us-east-1a/g6.xlarge", count=6)
    numbers = [aws.instance(i)["Placement"]["PartitionNumber"] for i in ids]
    assert sorted(numbers) == [1, 1, 2, 2, 3, 3]


def test_groups_are_found_by_tag_and_deleted_when_empty(aws):
    tags = [{"Key": "gpu-jit.io/cluster", "Value": "lab"}]
    spec = [{"ResourceType": "placement-group", "Tags": tags}]
    aws.ec2.create_placement_group(GroupName="mine", Strategy="cluster", TagSpecifications=spec)
    wanted = [{"Name": "tag:gpu-jit.io/cluster", "Values": ["lab"]}]
    groups = aws.ec2.describe_placement_groups(Filters=wanted)["PlacementGroups"]
    assert [group["GroupName"] for group in groups] == ["mine"]
    aws.ec2.delete_placement_group(GroupName="mine")
    with pytest.raises(ClientError, match=r"InvalidPlacementGroup\.Unknown"):
        aws.ec2.describe_placement_groups(GroupNames=["mine"])


def test_topology_leaves_out_small_types_and_those_not_running(aws):
    aws.template()
    (small,) = aws.launched("us-east-1a/g5.xlarge")
    (big,) = aws.launched("us-east-1a/g6e.xlarge")
    topology = aws.ec2.describe_instance_topology
    assert topology(InstanceIds=[small, big])["Instances"] == []
    aws.post("advance", seconds=120)
    rows = topology(InstanceIds=[small, big])["Instances"]
    assert [row["InstanceId"] for row in rows] == [big]
    assert len(rows[0]["NetworkNodes"]) == 3
