"""What must be true of an account before a node can come up; run by ``gpu-jit doctor``.

Each check gives one sentence: what is there, or what is missing and what to do about it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from ...core.quotas import vcpu_class
from ...core.requirements import CapacityType
from ...errors import GpuJitError, NotFound, UserError
from .calls import AwsCalls
from .errors import class_name
from .facts import FactSource
from .quotas import read_quotas
from .sqs import no_queue

FEW_ADDRESSES = 32
_SPOT_ROLE = "AWSServiceRoleForEC2Spot"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found, in one sentence."""

    name: str
    holds: bool
    says: str


class Checks:
    """All checks, in the order in which they make sense."""

    def __init__(self, calls: AwsCalls) -> None:
        self._calls = calls
        self._settings = calls.settings
        self._facts = FactSource(calls)
        self._all: dict[str, Callable[[], Awaitable[str]]] = {
            "region": self._region,
            "credentials": self._credentials,
            "cluster": self._cluster,
            "subnets": self._subnets,
            "instance types": self._types,
            "quotas": self._quotas,
            "Spot role": self._spot_role,
            "images": self._images,
            "instance profile": self._profile,
            "access entry": self._access_entry,
            "launch templates": self._templates,
            "queue": self._queue,
        }

    async def run(self) -> AsyncIterator[Finding]:
        """One finding for each check; a check that fails stops none of the others."""
        for name, check in self._all.items():
            try:
                yield Finding(name, True, await check())
            except GpuJitError as error:
                yield Finding(name, False, error.user_message)
                if name in ("region", "credentials"):
                    # Everything else would say the same again.
                    return

    # --- the account -------------------------------------------------------------------------

    async def _region(self) -> str:
        region = self._settings.region
        if region not in self._calls.regions():
            raise UserError(f"There is no AWS region {region}: name one such as us-east-1.")
        return f"The region is {region}."

    async def _credentials(self) -> str:
        who = await self._calls.call("sts", "GetCallerIdentity")
        return f"AWS knows this process as {who['Arn']}."

    async def _types(self) -> str:
        for family in self._settings.families:
            filters = [{"Name": "instance-type", "Values": [f"{family}.*"]}]
            found = await self._calls.pages(
                "ec2", "DescribeInstanceTypes", "InstanceTypes", Filters=filters
            )
            if not found:
                raise UserError(
                    f"There is no instance type of the family {family} in "
                    f"{self._settings.region}: take it out of the families."
                )
        return "All families named exist here."

    async def _quotas(self) -> str:
        limits = await read_quotas(self._calls)
        none = [
            f"no {_sold(kind)} quota for {class_name(name)} instances"
            for (name, kind), vcpus in limits.items()
            if vcpus == 0 and self._wants(name, kind)
        ]
        if none:
            raise UserError(f"The account has {', '.join(none)}: ask AWS to raise it.")
        return "Every class of instances has a quota."

    def _wants(self, name: str, kind: CapacityType) -> bool:
        families = self._settings.families
        return not families or name in {vcpu_class(f"{f}.x", kind) for f in families}

    async def _spot_role(self) -> str:
        try:
            await self._calls.call("iam", "GetRole", RoleName=_SPOT_ROLE)
        except NotFound as error:
            raise UserError(
                "Spot was never used in this account: create its role with "
                "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com."
            ) from error
        return "Spot may be used."

    # --- the cluster -------------------------------------------------------------------------

    async def _cluster(self) -> str:
        facts = await self._facts.facts()
        for what in ("endpoint", "certificate_authority", "service_cidr", "kubernetes_version"):
            if not getattr(facts, what):
                raise UserError(f"The cluster's {what.replace('_', ' ')} is not known: name it.")
        return f"Nodes will join {facts.name} at {facts.endpoint}."

    async def _subnets(self) -> str:
        subnets = (await self._facts.facts()).subnets
        tight = [s for s in subnets if s.free_addresses < FEW_ADDRESSES]
        if tight:
            said = ", ".join(f"{s.id} in {s.zone} has {s.free_addresses}" for s in tight)
            raise UserError(f"Too few free addresses: {said}; nodes and pods need more.")
        return f"{len(subnets)} subnets in {len({s.zone for s in subnets})} zones have room."

    async def _images(self) -> str:
        ids = [await self._facts.image("amd64", gpu) for gpu in (True, False)]
        for image in dict.fromkeys(ids):
            try:
                await self._calls.call("ec2", "DescribeImages", ImageIds=[image])
            except NotFound as error:
                raise UserError(
                    f"The image {image} is not in {self._settings.region}, or not shared with "
                    "this account."
                ) from error
        return f"Nodes with GPUs start from {ids[0]}, others from {ids[1]}."

    async def _profile(self) -> str:
        return f"Nodes run as {await self._node_role()}."

    async def _node_role(self) -> str:
        name = self._settings.instance_profile
        if not name:
            raise UserError("No instance profile is named: nodes could not join without a role.")
        try:
            answer = await self._calls.call("iam", "GetInstanceProfile", InstanceProfileName=name)
        except NotFound as error:
            raise UserError(f"There is no instance profile {name}.") from error
        roles = answer["InstanceProfile"].get("Roles") or ()
        if not roles:
            raise UserError(f"The instance profile {name} has no role: add the nodes' role to it.")
        return str(roles[0]["Arn"])

    async def _access_entry(self) -> str:
        role = await self._node_role()
        cluster = self._settings.eks_cluster
        try:
            await self._calls.call(
                "eks", "DescribeAccessEntry", clusterName=cluster, principalArn=role
            )
        except NotFound as error:
            raise UserError(
                f"The cluster {cluster} does not let nodes with {role} join: create an access "
                "entry of type EC2_LINUX for it."
            ) from error
        return f"The cluster lets nodes with {role} join."

    # --- ours --------------------------------------------------------------------------------

    async def _templates(self) -> str:
        filters = self._settings.owned_filters
        rows = await self._calls.pages(
            "ec2", "DescribeLaunchTemplates", "LaunchTemplates", Filters=filters
        )
        return f"{len(rows)} launch templates are ours."

    async def _queue(self) -> str:
        name = self._settings.queue
        if not name:
            raise UserError("No queue is named: interruptions would come as a surprise.")
        try:
            url = (await self._calls.call("sqs", "GetQueueUrl", QueueName=name))["QueueUrl"]
        except NotFound as error:
            raise no_queue(self._settings) from error
        asked = ["QueueArn", "RedrivePolicy"]
        answer = await self._calls.call(
            "sqs", "GetQueueAttributes", QueueUrl=url, AttributeNames=asked
        )
        if "RedrivePolicy" not in (answer.get("Attributes") or {}):
            raise UserError(
                f"The queue {name} has no dead-letter queue: a message that cannot be read would "
                "come again and again."
            )
        return f"Notices come by the queue {name}."


def _sold(kind: CapacityType) -> str:
    return "Spot" if kind is CapacityType.SPOT else "on-demand"
