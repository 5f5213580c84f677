"""Fleet requests say the same whenever they are made again; answers are read whole."""

from dataclasses import replace

import pytest
from aws_parts import SETTINGS, offering, request

from jupyter_gpu_jit.adapters.aws.fleet import (
    MOST_OVERRIDES,
    Seatable,
    capacity_order,
    fleet_request,
    read_answer,
    token_of,
)
from jupyter_gpu_jit.core.requirements import CapacityType
from jupyter_gpu_jit.ports import PlacementGroup

A, B = offering(), offering(zone="us-east-1b")
PLAIN = offering(capacity_type="on-demand")
ROWS = [Seatable(A, "subnet-a1", "t-spot"), Seatable(B, "subnet-b1", "t-spot")]


def fleet(asked, rows=ROWS, *, token="tok", count=1, at_least=1):
    return fleet_request(asked, rows, SETTINGS, token=token, count=count, at_least=at_least)


def tags_of(parameters, kind):
    (found,) = [s for s in parameters["TagSpecifications"] if s["ResourceType"] == kind]
    return {tag["Key"]: tag["Value"] for tag in found["Tags"]}


def test_the_same_launch_is_the_same_request():
    assert fleet(request(A, B)) == fleet(request(A, B))


def test_spot_is_asked_by_price_and_depth_and_on_demand_by_price():
    spot = fleet(request(A, B))
    assert spot["SpotOptions"] == {"AllocationStrategy": "price-capacity-optimized"}
    assert spot["TargetCapacitySpecification"]["DefaultTargetCapacityType"] == "spot"
    plain = fleet(request(PLAIN), [Seatable(PLAIN, "subnet-a1", "t")], count=3)
    assert plain["OnDemandOptions"] == {"AllocationStrategy": "lowest-price"}
    assert "SpotOptions" not in plain
    assert plain["TargetCapacitySpecification"] == {
        "TotalTargetCapacity": 3,
        "DefaultTargetCapacityType": "on-demand",
    }


def test_overrides_are_types_in_subnets_by_template_and_at_most_sixty():
    rows = [Seatable(A, f"subnet-{n}", f"t-{n % 2}") for n in range(80)]
    configs = fleet(request(A), rows)["LaunchTemplateConfigs"]
    assert [c["LaunchTemplateSpecification"]["LaunchTemplateName"] for c in configs] == [
        "t-0",
        "t-1",
    ]
    assert sum(len(c["Overrides"]) for c in configs) == MOST_OVERRIDES
    assert configs[0]["Overrides"][0] == {"InstanceType": "g6.xlarge", "SubnetId": "subnet-0"}


def test_a_least_number_is_asked_within_one_zone_and_a_group_of_one_type():
    least = fleet(request(A, at_least=3), count=4, at_least=3)["SpotOptions"]
    assert least["MinTargetCapacity"] == 3
    assert least["SingleAvailabilityZone"]
    assert "SingleInstanceType" not in least
    grouped = fleet(request(A, placement_group=PlacementGroup(name="pg")))
    assert grouped["SpotOptions"]["SingleInstanceType"]
    assert "MinTargetCapacity" not in grouped["SpotOptions"]
    (config,) = grouped["LaunchTemplateConfigs"]
    assert {o["Placement"]["GroupName"] for o in config["Overrides"]} == {"pg"}


def test_instances_carry_what_was_asked_who_owns_them_and_the_token():
    parameters = fleet(request(A), token="tok-9")
    assert tags_of(parameters, "instance") == {
        "Name": "gpu-jit c1",
        "team": "physics",
        "kubernetes.io/cluster/lab": "owned",
        "gpu-jit.io/cluster": "c1",
        "gpu-jit.io/hub": "h1",
        "gpu-jit.io/batch": "batch-1",
        "gpu-jit.io/launch": "tok-9",
    }
    assert tags_of(parameters, "volume")["gpu-jit.io/cluster"] == "c1"
    assert {s["ResourceType"] for s in parameters["TagSpecifications"]} == {
        "fleet",
        "instance",
        "volume",
    }


def test_tokens_follow_from_the_launch_and_stay_within_what_aws_takes():
    assert token_of("batch-1-1", 0) == "batch-1-1"
    assert token_of("batch-1-1", 1) == "batch-1-1.1"
    assert token_of("batch-1-1", 1, 2) == "batch-1-1.1.r2"
    long = token_of("x" * 64, 1)
    assert len(long) == 64
    assert long == token_of("x" * 64, 1) != token_of("x" * 64, 0)


def test_capacity_types_are_asked_in_the_order_wanted():
    assert capacity_order([A, PLAIN, B]) == [CapacityType.SPOT, CapacityType.ON_DEMAND]
    assert capacity_order([PLAIN, A]) == [CapacityType.ON_DEMAND, CapacityType.SPOT]


# --- answers --------------------------------------------------------------------------------------


def given(*ids, subnet="subnet-a1"):
    overrides = {"InstanceType": "g6.xlarge", "SubnetId": subnet}
    return {
        "InstanceIds": list(ids),
        "InstanceType": "g6.xlarge",
        "LaunchTemplateAndOverrides": {"Overrides": overrides},
    }


def refused(code, **overrides):
    said = {"LaunchTemplateAndOverrides": {"Overrides": overrides}} if overrides else {}
    return {"ErrorCode": code, "ErrorMessage": "Said so.", **said}


def read(body, wanted=2):
    return read_answer(body, ROWS, request(A, B, count=wanted), now=5.0, wanted=wanted)


def test_instances_and_failures_may_come_together():
    answer = read(
        {
            "Instances": [given("i-2", "i-1")],
            "Errors": [
                refused(
                    "InsufficientInstanceCapacity",
                    InstanceType="g6.xlarge",
                    AvailabilityZone="us-east-1b",
                )
            ],
        }
    )
    assert [i.id for i in answer.instances] == ["i-1", "i-2"]
    assert answer.instances[0].provider_id == "aws:///us-east-1a/i-1"
    assert answer.instances[0].tags == request(A).tags
    assert [(f.offering, f.code) for f in answer.failures] == [(B, "InsufficientInstanceCapacity")]
    assert not answer.again


def test_an_error_without_an_offering_is_about_all_of_them():
    answer = read({"Errors": [refused("MaxSpotInstanceCountExceeded")]})
    assert [f.offering for f in answer.failures] == [A, B]
    assert "no Spot quota left for G and VT instances" in answer.failures[0].message
    assert "ask your admin" in answer.failures[0].message


def test_an_error_about_something_that_was_not_asked_is_about_nothing():
    body = {"Errors": [refused("Unsupported", InstanceType="p5.48xlarge", SubnetId="subnet-x")]}
    assert read(body).failures == ()


def test_a_throttle_is_no_failure_of_an_offering_and_asks_again_only_if_any_are_missing():
    throttle = refused("RequestLimitExceeded", InstanceType="g6.xlarge", SubnetId="subnet-a1")
    short = read({"Instances": [given("i-1")], "Errors": [throttle]})
    assert (short.failures, short.again, short.gone) == ((), True, False)
    assert not read({"Instances": [given("i-1", "i-2")], "Errors": [throttle]}).again


@pytest.mark.parametrize(
    "code",
    ["InvalidLaunchTemplateName.NotFoundException", "InvalidPlacementGroup.Unknown"],
)
def test_what_a_request_refers_to_may_be_gone(code):
    answer = read({"Errors": [refused(code)]})
    assert (answer.failures, answer.again, answer.gone) == ((), True, True)


def test_subnets_are_chosen_by_the_token_alone():
    from aws_parts import FACTS

    tokens = [f"batch-{n}" for n in range(40)]
    chosen = [FACTS.subnet_in("us-east-1a", token).id for token in tokens]
    assert set(chosen) == {"subnet-a1", "subnet-a2"}
    turned = replace(FACTS, subnets=FACTS.subnets[::-1])
    assert chosen == [turned.subnet_in("us-east-1a", token).id for token in tokens]
    assert FACTS.subnet_in("us-east-1f", "t") is None
