"""Calls that go wrong: throttling, errors, lost answers, outages, and what boto3 makes of them."""

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError

ONE = "us-east-1a/g6.xlarge"
RETRYING = Config(retries={"total_max_attempts": 4, "mode": "standard"})


def test_reads_are_throttled_with_503_and_refill_with_the_clock(aws):
    for _ in range(100):
        aws.ec2.describe_placement_groups()
    with pytest.raises(ClientError) as caught:
        aws.ec2.describe_placement_groups()
    assert caught.value.response["Error"]["Code"] == "RequestLimitExceeded"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    aws.post("advance", seconds=1)
    aws.ec2.describe_placement_groups()
    assert aws.get("throttled") == {"DescribePlacementGroups": 1}


def test_other_actions_have_their_own_buckets(aws):
    aws.template()
    for _ in range(5):
        run(aws)
    with pytest.raises(ClientError, match="RequestLimitExceeded"):
        run(aws)
    assert len(aws.launched(ONE)) == 1


def run(aws):
    aws.ec2.run_instances(
        ImageId="ami-12345678",
        InstanceType="g6.xlarge",
        SubnetId=aws.subnet("us-east-1a"),
        MinCount=1,
        MaxCount=1,
    )


def test_throttling_can_be_switched_off(aws):
    aws.post("parameters", throttle=False)
    for _ in range(105):
        aws.ec2.describe_placement_groups()


def test_an_injected_error_comes_as_often_as_asked(aws):
    aws.post("fault", kind="error", service="ec2", action="CreateFleet", count=2,
             code="UnauthorizedOperation", message="You may not.", status=403)  # fmt: skip
    aws.template()
    for _ in range(2):
        with pytest.raises(ClientError, match="UnauthorizedOperation"):
            aws.launched(ONE)
    assert len(aws.launched(ONE)) == 1


def test_a_lost_answer_has_launched_and_the_token_finds_it(aws):
    aws.template()
    aws.post("fault", kind="lost_answer", action="CreateFleet")
    with pytest.raises(ConnectionClosedError):
        aws.fleet(ONE, count=2, token="once")
    assert aws.get("launches") == {"by_token": {"once": 2}, "ever": 2, "live": 2}
    assert len(aws.launched(ONE, count=2, token="once")) == 2
    assert aws.get("launches")["ever"] == 2


def test_a_dropped_call_did_nothing(aws):
    aws.template()
    aws.post("fault", kind="drop", action="CreateFleet")
    with pytest.raises(ConnectionClosedError):
        aws.fleet(ONE)
    assert aws.get("launches")["ever"] == 0


def test_boto3_retries_what_it_should(aws):
    for kind in ("drop", "error"):
        aws.post("fault", kind=kind, action="DescribeInstances", status=503, code="Unavailable")
    answer = aws.client("ec2", RETRYING).describe_instances()
    assert answer["Reservations"] == []
    assert answer["ResponseMetadata"]["RetryAttempts"] == 2


def test_an_outage_of_one_service_leaves_the_others(aws):
    url = aws.queue()
    aws.post("fault", kind="error", service="ec2", count=None, code="Unavailable", status=503)
    for _ in range(3):
        with pytest.raises(ClientError, match="Unavailable"):
            aws.ec2.describe_instances()
    assert aws.received(url) == []
    assert aws.sts.get_caller_identity()["Account"] == "123456789012"
    aws.post("fault", clear=True)
    assert aws.states() == {}


@pytest.mark.parametrize(
    ("service", "call"),
    [
        ("sqs", lambda c: c.list_queues()),
        ("ssm", lambda c: c.get_parameter(Name="/a")),
        ("sts", lambda c: c.get_caller_identity()),
        ("eks", lambda c: c.list_clusters()),
        ("s3", lambda c: c.list_buckets()),
        ("iam", lambda c: c.list_roles()),
    ],
)
def test_every_protocol_carries_the_code(aws, service, call):
    aws.post("fault", kind="error", service=service, code="AccessDenied", status=403)
    with pytest.raises(ClientError) as caught:
        call(aws.client(service))
    assert caught.value.response["Error"]["Code"] == "AccessDenied"


def test_what_neither_has_is_an_error_that_clients_can_read(aws):
    with pytest.raises(ClientError, match="This world has no DescribeCapacityBlockOfferings"):
        aws.ec2.describe_capacity_block_offerings(CapacityDurationHours=24)


def test_the_recorder_has_outcome_and_code(aws):
    with pytest.raises(ClientError):
        aws.instance("i-0123456789abcdef0")
    line = aws.get("log")["lines"][-1]
    assert (line["status"], line["code"]) == ("400", "InvalidInstanceID.NotFound")


def test_an_unknown_kind_of_fault_and_a_wrong_token_are_refused(aws):
    with pytest.raises(Exception, match="A fault is of kind"):
        aws.post("fault", kind="absent")
    with pytest.raises(Exception, match="There is no parameter absent"):
        aws.post("parameters", absent=1)
    with pytest.raises(Exception, match="token is not this world's"):
        type(aws.world.control)(aws.world.url, "wrong").get("clock")


def test_racing_writers_of_s3_meet_the_conflict_that_aws_documents(aws):
    aws.s3.create_bucket(Bucket="saves")
    aws.post(
        "fault",
        kind="error",
        service="s3",
        action="PUT /",
        code="ConditionalRequestConflict",
        status=409,
    )
    put = {"Bucket": "saves", "Key": "head", "Body": b"x" * 3_000_000, "IfNoneMatch": "*"}
    with pytest.raises(ClientError) as caught:
        aws.s3.put_object(**put)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 409
    aws.s3.put_object(**put)
    with pytest.raises(ClientError, match="PreconditionFailed"):
        aws.s3.put_object(**put)
    assert len(aws.s3.get_object(Bucket="saves", Key="head")["Body"].read()) == 3_000_000


def test_a_role_for_a_service_account_is_assumed_without_a_signature(aws):
    asked = {"RoleArn": "arn:aws:iam::123456789012:role/gpu-jit", "RoleSessionName": "hub"}
    aws.post("fault", kind="error", service="sts", code="ServiceUnavailable", status=503)
    with pytest.raises(ClientError, match="ServiceUnavailable"):
        aws.sts.assume_role_with_web_identity(**asked, WebIdentityToken="not-a-token")
    answer = aws.sts.assume_role_with_web_identity(**asked, WebIdentityToken="not-a-token")
    assert answer["AssumedRoleUser"]["Arn"].endswith("assumed-role/gpu-jit/hub")
    line = aws.get("log")["lines"][-1]
    assert (line["service"], line["action"]) == ("sts", "AssumeRoleWithWebIdentity")
