"""A small IAM: reads the CloudFormation template, and says which statements allow a call.

Enough of IAM for our own policies: Allow with Action, Resource and the StringEquals conditions;
anything else in a statement is an error here, so that a test cannot pass by not understanding.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import yaml

ACCOUNT, REGION = "123456789012", "us-east-1"
TEMPLATE = Path(__file__).parents[2] / "hub_config/aws/provisioner.yaml"


@dataclass(frozen=True)
class Need:
    """A right that a call needs: an action on a resource, in a context of condition keys."""

    action: str
    resource: str = "*"
    context: Mapping[str, str] = field(default_factory=dict)


def template(**parameters):
    """The template with its parameters put in; ``!GetAtt`` gives the ARN that AWS would."""
    values = {
        "AWS::Partition": "aws",
        "AWS::Region": REGION,
        "AWS::AccountId": ACCOUNT,
        **parameters,
    }
    cluster = parameters["ClusterId"]
    made = {
        "NodeRole.Arn": f"arn:aws:iam::{ACCOUNT}:role/gpu-jit-{cluster}-node",
        "NodeInstanceProfile.Arn": (
            f"arn:aws:iam::{ACCOUNT}:instance-profile/gpu-jit-{cluster}-node"
        ),
        "NoticeQueue.Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:gpu-jit-{cluster}",
    }

    class Loader(yaml.SafeLoader):
        pass

    def substituted(loader, node):
        text = loader.construct_scalar(node)
        for name, value in values.items():
            text = text.replace("${" + name + "}", value)
        assert "${" not in text, text
        return text

    def referred(loader, node):
        name = loader.construct_scalar(node)
        return values.get(name, name)

    def attribute(loader, node):
        name = loader.construct_scalar(node)
        return made.get(name, name)

    Loader.add_constructor("!Sub", substituted)
    Loader.add_constructor("!Ref", referred)
    Loader.add_constructor("!GetAtt", attribute)
    return yaml.load(TEMPLATE.read_text(encoding="utf-8"), Loader)


def statements(loaded):
    """The provisioner's statements."""
    policy = loaded["Resources"]["ProvisionerPolicy"]["Properties"]["PolicyDocument"]
    return policy["Statement"]


def listed(value):
    """One or many, as IAM writes them."""
    return value if isinstance(value, list) else [value]


def grants(statement, need):
    """The (sid, action, resource) by which the statement allows it; empty when it does not."""
    assert statement.keys() <= {"Sid", "Effect", "Action", "Resource", "Condition"}
    assert statement["Effect"] == "Allow"
    if not _holds(statement.get("Condition") or {}, need.context):
        return set()
    return {
        (statement["Sid"], action, resource)
        for action in listed(statement["Action"])
        for resource in listed(statement["Resource"])
        if action == need.action and fnmatchcase(need.resource, resource)
    }


def _holds(condition, context):
    assert condition.keys() <= {"StringEquals"}
    wanted = condition.get("StringEquals") or {}
    return all(context.get(key) in listed(values) for key, values in wanted.items())


def all_grants(policy):
    """Every (sid, action, resource) that the policy has."""
    return {
        (statement["Sid"], action, resource)
        for statement in policy
        for action in listed(statement["Action"])
        for resource in listed(statement["Resource"])
    }
