"""From AWS's errors to ours, and to one sentence for whoever meets them.

``error_of`` is for a call that failed as a whole (calls.py); ``Code`` and ``sentence`` are for
the reasons inside a fleet's answer (fleet.py).
"""

from __future__ import annotations

import re
from typing import Any

from botocore import exceptions as boto
from botocore import parsers

from ...core.model import Offering
from ...core.quotas import vcpu_class
from ...core.requirements import CapacityType
from ...errors import GpuJitError, NotFound, Rejected, Unavailable

THROTTLED = frozenset(
    {
        "RequestLimitExceeded",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "TooManyRequestsException",
        "EC2ThrottledException",
        "BandwidthLimitExceeded",
        "SlowDown",
    }
)
DENIED = frozenset({"UnauthorizedOperation", "AccessDenied", "AccessDeniedException"})
BAD_CREDENTIALS = frozenset(
    {
        "AuthFailure",
        "InvalidClientTokenId",
        "InvalidIdentityToken",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
        "OptInRequired",
    }
)
# Credentials are renewed in the background: the next call has new ones.
LATE = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
TROUBLE = frozenset(
    {
        "IDPCommunicationError",
        "InternalError",
        "InternalFailure",
        "ServiceUnavailable",
        "Unavailable",
    }
)
QUOTA = frozenset({"VcpuLimitExceeded", "MaxSpotInstanceCountExceeded", "InstanceLimitExceeded"})
NO_CAPACITY = frozenset(
    {
        "InsufficientInstanceCapacity",
        "InsufficientCapacity",
        "InsufficientHostCapacity",
        "InsufficientReservedInstanceCapacity",
        "MaxFleetCountExceeded",
        "ReservationCapacityExceeded",
        "SpotMaxPriceTooLow",
        "UnfulfillableCapacity",
    }
)
NO_ADDRESSES = "InsufficientFreeAddressesInSubnet"
NO_SPOT_ROLE = "AuthFailure.ServiceLinkedRoleCreationNotPermitted"
NO_SUBNET = "NoSubnetInZone"
MISMATCH = "IdempotentParameterMismatch"
OF_OFFERINGS = QUOTA | NO_CAPACITY | {NO_ADDRESSES, NO_SPOT_ROLE, "Unsupported"}
"""Codes that say something of what is sold, not of the call."""

_LONGEST = 1000
"""Characters of what AWS says that are kept: it may name many ids (ec2.py looks for them)."""
_PERFORM = re.compile(r"not authorized to perform:? ([a-z0-9-]+:[A-Za-z]+)")
_CLASSES = {"g-vt": "G and VT", "p": "P", "p5": "P5 and newer"}
_ABSENT = (
    "NotFound",
    "NotFoundException",
    "NonExistentQueue",
    "QueueDoesNotExist",
    "NoSuchEntity",
    "NoSuchEntityException",
)
_PREFIXES = {"service-quotas": "servicequotas"}
_RIGHTS = {
    "ChangeMessageVisibilityBatch": "ChangeMessageVisibility",
    "DeleteMessageBatch": "DeleteMessage",
}
_UNREACHABLE = (
    boto.ConnectionError,
    boto.HTTPClientError,
    boto.IncompleteReadError,
    boto.CredentialRetrievalError,
    boto.MetadataRetrievalError,
    parsers.ResponseParserError,
)


def code_of(error: BaseException) -> str:
    """The code of an answer that is an error; "" for anything else."""
    if not isinstance(error, boto.ClientError):
        return ""
    return str(_answer(error).get("Code") or "")


def error_of(error: Exception, service: str, action: str) -> GpuJitError:
    """Our error for a call that failed as a whole."""
    if isinstance(error, boto.ClientError):
        return _of_answer(error, service, action)
    if isinstance(error, (boto.NoCredentialsError, boto.PartialCredentialsError)):
        return Rejected(
            "There are no AWS credentials: give this process a role (EKS Pod Identity or IRSA).",
            reason="NoCredentials",
        )
    if isinstance(error, _UNREACHABLE):
        what = str(error).partition("\n")[0][:200]
        return Unavailable(f"AWS did not answer {service}:{action}: {what}.", reason="NoAnswer")
    return Rejected(f"{service}:{action} could not be asked: {error}."[:300], reason="BadCall")


def _of_answer(error: boto.ClientError, service: str, action: str) -> GpuJitError:
    answer = _answer(error)
    code, said = str(answer.get("Code") or ""), str(answer.get("Message") or "")
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
    if code in THROTTLED:
        return Unavailable(f"AWS asks for patience with {service}:{action}.", reason="Throttled")
    if code in LATE or code in TROUBLE or status >= 500:
        return Unavailable(f"AWS could not answer {service}:{action} ({code}).", reason=code)
    # Credentials are fetched by a call of their own, on the way to ours.
    of_credentials = error.operation_name.startswith("AssumeRole")
    if code in DENIED and not of_credentials:
        return Rejected(missing_permission(service, action, said), reason="MissingPermission")
    if code in BAD_CREDENTIALS or of_credentials:
        return Rejected(
            f"AWS does not accept the credentials for {service}:{action} ({code}): check the role "
            "of this process and its trust policy.",
            reason="BadCredentials",
        )
    if code.endswith(_ABSENT):
        return NotFound(f"{service}:{action}: {said}"[:_LONGEST], reason=code)
    return Rejected(f"AWS refused {service}:{action} ({code}): {said}"[:_LONGEST], reason=code)


def permission(service: str, action: str) -> str:
    """What IAM calls the right to that call."""
    return f"{_PREFIXES.get(service, service)}:{_RIGHTS.get(action, action)}"


def missing_permission(service: str, action: str, said: str) -> str:
    """The sentence that names the permission, which may be another than that of the call."""
    found = _PERFORM.search(said)
    name = found[1] if found else permission(service, action)
    return (
        f"The role of this process lacks the permission {name}: add it "
        "(hub_config/aws/provisioner.yaml has all that are needed)."
    )


def sentence(code: str, said: str, offering: Offering) -> str:
    """Why an offering gave nothing, for the person who waits and the admin they ask."""
    kind = "Spot" if offering.capacity_type is CapacityType.SPOT else "on-demand"
    what = f"{offering.instance_type} ({kind}) in {offering.zone}"
    if code in QUOTA:
        counted = vcpu_class(offering.instance_type, offering.capacity_type)
        return (
            f"Your cluster has no {kind} quota left for {class_name(counted)} instances:"
            " ask your admin to have it raised."
        )
    if code in NO_CAPACITY:
        return f"AWS has no {what} left now."
    if code == NO_ADDRESSES:
        return (
            f"The subnet in {offering.zone} has no free addresses: ask your admin for a larger one."
        )
    if code == NO_SPOT_ROLE:
        return (
            "Spot cannot be used in this account yet: ask your admin to create its service-linked "
            "role (aws iam create-service-linked-role --aws-service-name spot.amazonaws.com)."
        )
    if code == NO_SUBNET:
        return f"The cluster has no subnet in {offering.zone}."
    if code == "Unsupported":
        return f"AWS does not sell {what}."
    if code in DENIED:
        return missing_permission("ec2", "RunInstances", said)
    return f"AWS refused {what} ({code}): {said}"[:300]


def class_name(vcpu_class: str) -> str:
    """A class of instances as people say it."""
    return _CLASSES.get(vcpu_class, vcpu_class)


def _answer(error: boto.ClientError) -> dict[str, Any]:
    found: dict[str, Any] = error.response.get("Error", {})
    return found
