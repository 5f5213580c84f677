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
