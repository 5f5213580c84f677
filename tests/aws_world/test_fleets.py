"""CreateFleet as unmodified boto3 sees it: pools, reasons, tokens, strategies, least counts."""

import pytest
from aws_kit import codes_of, ids_of
from botocore.exceptions import ClientError


@pytest.fixture(autouse=True)
def template(aws):
    aws.template()


def dry(aws, zone, instance_type, **more):
    aws.post("pool", zone=zone, type=instance_type, **{"free": 0, **more})


def test_a_dry_pool_says_so_with_its_zone_and_gives_nothing(aws):
    dry(aws, "us-east-1a", "g6.xlarge")
    answer = aws.fleet("us-east-1a/g6.xlarge")
    assert answer["Instances"] == []
    assert codes_of(answer) == {("us-east-1a", "g6.xlarge"): "InsufficientInstanceCapacity"}
    assert "us-east-1a" in answer["Errors"][0]["ErrorMessage"]
    assert aws.states() == {}


def test_an_answer_may_hold_instances_and_errors(aws):
    dry(aws, "us-east-1a", "g6.xlarge", free=2)
    answer = aws.fleet("us-east-1a/g6.xlarge", count=5)
    assert len(ids_of(answer)) == 2
    assert codes_of(answer) == {("us-east-1a", "g6.xlarge"): "InsufficientInstanceCapacity"}


def test_capacity_comes_back_when_an_instance_ends(aws):
    dry(aws, "us-east-1a", "g6.xlarge", free=1)
    first = aws.launched("us-east-1a/g6.xlarge")
    assert aws.launched("us-east-1a/g6.xlarge") == []
    aws.ec2.terminate_instances(InstanceIds=first)
    assert len(aws.launched("us-east-1a/g6.xlarge")) == 1


def test_a_token_launches_once_and_repeats_its_answer(aws):
    first = aws.fleet("us-east-1a/g6.xlarge", count=3, token="once")
    again = aws.fleet("us-east-1a/g6.xlarge", count=3, token="once")
    assert (first["FleetId"], ids_of(first)) == (again["FleetId"], ids_of(again))
    assert aws.get("launches") == {"by_token": {"once": 3}, "ever": 3, "live": 3}


def test_a_token_with_another_request_is_refused(aws):
    aws.fleet("us-east-1a/g6.xlarge", token="once")
    with pytest.raises(ClientError, match="IdempotentParameterMismatch"):
        aws.fleet("us-east-1b/g6.xlarge", token="once")


def test_a_token_is_not_used_up_by_a_refused_request(aws):
    with pytest.raises(ClientError, match=r"InvalidLaunchTemplateName\.NotFoundException"):
        aws.fleet("us-east-1a/g6.xlarge", token="once", template="absent")
    assert len(aws.launched("us-east-1a/g6.xlarge", token="once")) == 1


def test_a_type_not_sold_in_the_zone_is_unsupported(aws):
    dry(aws, "us-east-1a", "g5.xlarge", free=3)
    answer = aws.fleet("us-east-1e/g5.xlarge", "us-east-1a/g5.xlarge", count=4)
    assert codes_of(answer)[("us-east-1e", "g5.xlarge")] == "Unsupported"
    assert len(ids_of(answer)) == 3


def test_price_capacity_prefers_deep_pools_then_the_cheapest(aws):
    dry(aws, "us-east-1a", "g6.xlarge", free=5, capacity_type="spot", price_usd=0.1)
    dry(aws, "us-east-1b", "g6.xlarge", free=50, capacity_type="spot", price_usd=0.3)
    dry(aws, "us-east-1c", "g6.xlarge", free=60, capacity_type="spot", price_usd=0.2)
    zones = [f"us-east-1{z}/g6.xlarge" for z in "abc"]
    assert zone_of(aws.fleet(*zones)) == "us-east-1c"
    lowest = aws.fleet(*zones, options={"AllocationStrategy": "lowest-price"})
    assert zone_of(lowest) == "us-east-1a"
    deepest = aws.fleet(*zones, options={"AllocationStrategy": "capacity-optimized"})
    assert zone_of(deepest) == "us-east-1c"


def zone_of(answer):
    (row,) = answer["Instances"]
    return row["LaunchTemplateAndOverrides"]["Overrides"]["AvailabilityZone"]


def test_prioritized_goes_by_priority(aws):
    overrides = [
        {"InstanceType": kind, "SubnetId": aws.subnet("us-east-1a"), "Priority": priority}
        for kind, priority in (("g5.xlarge", 2.0), ("g6e.48xlarge", 1.0))
    ]
    options = {"AllocationStrategy": "prioritized"}
    answer = aws.fleet(*overrides, capacity="on-demand", options=options)
    assert answer["Instances"][0]["InstanceType"] == "g6e.48xlarge"


def test_diversified_spreads(aws):
    zones = [f"us-east-1{z}/g6.xlarge" for z in "abcd"]
    answer = aws.fleet(*zones, count=8, options={"AllocationStrategy": "diversified"})
    assert sorted(len(row["InstanceIds"]) for row in answer["Instances"]) == [2, 2, 2, 2]


def test_an_unknown_strategy_is_refused(aws):
    # boto3 knows the names itself; prioritized exists, but not for Spot.
    with pytest.raises(ClientError, match="InvalidParameterValue"):
        aws.fleet("us-east-1a/g6.xlarge", options={"AllocationStrategy": "prioritized"})


def test_fewer_than_the_least_are_not_launched_at_all(aws):
    dry(aws, "us-east-1a", "g6.xlarge", free=2)
    dry(aws, "us-east-1b", "g6.xlarge", free=4)
    both = ("us-east-1a/g6.xlarge", "us-east-1b/g6.xlarge")
    options = {"SingleAvailabilityZone": True, "MinTargetCapacity": 5}
    assert ids_of(aws.fleet(*both, count=5, options=options)) == []
    options["MinTargetCapacity"] = 3
    answer = aws.fleet(*both, count=5, options=options)
    assert zone_of(answer) == "us-east-1b"
    assert len(ids_of(answer)) == 4
    assert len(aws.launched("us-east-1a/g6.xlarge", count=2)) == 2


def test_a_single_zone_that_holds_all_is_found_behind_one_that_does_not(aws):
    dry(aws, "us-east-1a", "g6.xlarge", free=2, capacity_type="spot", price_usd=0.1)
    both = ("us-east-1a/g6.xlarge", "us-east-1b/g6.xlarge")
    options = {"SingleAvailabilityZone": True, "AllocationStrategy": "lowest-price"}
    answer = aws.fleet(*both, count=4, options=options)
    assert zone_of(answer) == "us-east-1b"
    assert len(ids_of(answer)) == 4


def test_a_least_count_needs_a_single_something(aws):
    with pytest.raises(ClientError, match="MinTargetCapacity"):
        aws.fleet("us-east-1a/g6.xlarge", count=2, options={"MinTargetCapacity": 2})


def test_a_price_limit_below_the_market_gives_nothing(aws):
    override = {"InstanceType": "g6.xlarge", "SubnetId": aws.subnet("us-east-1a")}
    answer = aws.fleet({**override, "MaxPrice": "0.0001"})
    assert set(codes_of(answer).values()) == {"SpotMaxPriceTooLow"}


def test_weights_count_towards_the_target(aws):
    override = {"InstanceType": "g5.12xlarge", "SubnetId": aws.subnet("us-east-1a")}
    assert len(aws.launched({**override, "WeightedCapacity": 4}, count=7)) == 2


def test_spot_tags_on_an_on_demand_fleet_are_refused(aws):
    spec = [{"ResourceType": "spot-instances-request", "Tags": [{"Key": "a", "Value": "b"}]}]
    with pytest.raises(ClientError, match="spot-instances-request"):
        aws.fleet("us-east-1a/g6.xlarge", capacity="on-demand", TagSpecifications=spec)


def test_a_missing_spot_role_blocks_spot_as_a_whole(aws):
    aws.post("parameters", spot_role=False)
    code = "AuthFailure.ServiceLinkedRoleCreationNotPermitted"
    answer = aws.fleet("us-east-1a/g6.xlarge", "us-east-1b/g5.xlarge")
    assert set(codes_of(answer).values()) == {code}
    assert len(aws.launched("us-east-1a/g6.xlarge", capacity="on-demand")) == 1


def test_a_refusal_of_a_pool_has_the_code_it_was_given(aws):
    aws.post("pool", zone="us-east-1a", type="g6.xlarge", refusal="MaxFleetCountExceeded")
    answer = aws.fleet("us-east-1a/g6.xlarge")
    assert set(codes_of(answer).values()) == {"MaxFleetCountExceeded"}


def test_a_dry_run_launches_nothing(aws):
    with pytest.raises(ClientError, match="DryRunOperation"):
        aws.fleet("us-east-1a/g6.xlarge", DryRun=True)
    assert aws.get("launches")["ever"] == 0
