"""Whatever AWS says becomes one of our errors and one sentence."""

import pytest
from aws_parts import offering
from botocore import exceptions as boto

from jupyter_gpu_jit.adapters.aws.errors import error_of, sentence
from jupyter_gpu_jit.errors import NotFound, Rejected, Unavailable


def answered(code, message="Said so.", status=400, operation="CreateFleet"):
    body = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return boto.ClientError(body, operation)


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (answered("RequestLimitExceeded", status=503), Unavailable, "Throttled"),
        (answered("ThrottlingException"), Unavailable, "Throttled"),
        (answered("InternalError", status=500), Unavailable, "InternalError"),
        (answered("Whatever", status=502), Unavailable, "Whatever"),
        (answered("ExpiredToken"), Unavailable, "ExpiredToken"),
        (answered("UnauthorizedOperation", status=403), Rejected, "MissingPermission"),
        (answered("AuthFailure"), Rejected, "BadCredentials"),
        (answered("InvalidInstanceID.NotFound"), NotFound, "InvalidInstanceID.NotFound"),
        (answered("ResourceNotFoundException"), NotFound, "ResourceNotFoundException"),
        (answered("InvalidParameterValue"), Rejected, "InvalidParameterValue"),
        (boto.NoCredentialsError(), Rejected, "NoCredentials"),
        (boto.EndpointConnectionError(endpoint_url="https://x"), Unavailable, "NoAnswer"),
        (boto.ReadTimeoutError(endpoint_url="https://x"), Unavailable, "NoAnswer"),
        (boto.ConnectionClosedError(endpoint_url="https://x"), Unavailable, "NoAnswer"),
        (boto.ParamValidationError(report="no"), Rejected, "BadCall"),
    ],
)
def test_each_is_of_the_kind_that_says_what_to_do(error, kind, reason):
    ours = error_of(error, "ec2", "CreateFleet")
    assert type(ours) is kind
    assert ours.reason == reason
    assert ours.user_message.endswith((".", "Said so."))


def test_a_denial_names_the_permission_that_is_missing():
    plain = error_of(answered("AccessDenied"), "sqs", "ReceiveMessage")
    assert "lacks the permission sqs:ReceiveMessage" in plain.user_message
    said = "User: arn is not authorized to perform: iam:PassRole on resource: arn:x"
    inner = error_of(answered("UnauthorizedOperation", said), "ec2", "CreateFleet")
    assert "lacks the permission iam:PassRole" in inner.user_message


def test_a_role_that_may_not_be_taken_is_no_permission_of_ours():
    refused = answered("AccessDenied", operation="AssumeRoleWithWebIdentity")
    ours = error_of(refused, "ec2", "CreateFleet")
    assert ours.reason == "BadCredentials"
    assert "trust policy" in ours.user_message


@pytest.mark.parametrize(
    ("code", "sold", "words"),
    [
        ("VcpuLimitExceeded", offering(), "no Spot quota left for G and VT instances"),
        (
            "VcpuLimitExceeded",
            offering("p5.48xlarge", capacity_type="on-demand"),
            "no on-demand quota left for P instances",
        ),
        ("InsufficientInstanceCapacity", offering(), "no g6.xlarge (Spot) in us-east-1a left"),
        ("UnfulfillableCapacity", offering(), "left now"),
        ("InsufficientFreeAddressesInSubnet", offering(), "no free addresses"),
        ("AuthFailure.ServiceLinkedRoleCreationNotPermitted", offering(), "service-linked role"),
        ("NoSubnetInZone", offering(), "no subnet in us-east-1a"),
        ("Unsupported", offering(), "does not sell g6.xlarge"),
        ("UnauthorizedOperation", offering(), "lacks the permission ec2:RunInstances"),
        ("SomethingNew", offering(), "(SomethingNew): Said so."),
    ],
)
def test_every_code_of_a_fleet_is_one_sentence(code, sold, words):
    assert words in sentence(code, "Said so.", sold)
