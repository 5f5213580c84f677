"""What a node needs to know of its cluster: given by the admin, or found by tag and from EKS.

Read by ec2.py before a launch and by the checks of ``gpu-jit doctor``; kept for a while, because
it hardly ever changes and every launch needs it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ...errors import NotFound, Rejected
from .calls import AwsCalls, Json
from .settings import AwsSettings, ImageFamily

KEPT_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """Where instances get their addresses."""

    id: str
    zone: str
    zone_id: str = ""
    free_addresses: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The cluster as its nodes must know it; ``certificate_authority`` is base64."""

    name: str
    endpoint: str
    certificate_authority: str
    service_cidr: str
    kubernetes_version: str
    instance_profile: str
    security_group_ids: tuple[str, ...]
    subnets: tuple[Subnet, ...]

    @property
    def zones(self) -> tuple[str, ...]:
        """Zones that have a subnet, sorted."""
        return tuple(sorted({subnet.zone for subnet in self.subnets}))

    def subnet_in(self, zone: str, token: str) -> Subnet | None:
        """One of the zone's subnets: always the same for a token, another for the next."""
        choices = [subnet for subnet in self.subnets if subnet.zone == zone]
        return max(choices, key=lambda subnet: _lot(subnet.id, token), default=None)


def _lot(subnet_id: str, token: str) -> str:
    return hashlib.sha256(f"{subnet_id}/{token}".encode()).hexdigest()


class FactSource:
    """Facts and image ids, asked at most every ten minutes; old ones do when AWS is silent."""

    def __init__(self, calls: AwsCalls) -> None:
        self._calls = calls
        self._facts: Facts | None = None
        self._images: dict[str, tuple[float, str]] = {}
        self._until = 0.0
        self._one_at_a_time = asyncio.Lock()

    async def facts(self) -> Facts:
        """As they are, or lately were. Raises Rejected or TransientError when never known."""
        async with self._one_at_a_time:
            now = self._calls.clock.now()
            if self._facts is None or now >= self._until:
                try:
                    self._facts = await read_facts(self._calls)
                except Exception:
                    if self._facts is None:
                        raise
                # After a failure too: a launch must not wait for AWS's silence each time.
                self._until = now + KEPT_SECONDS
            return self._facts

    def doubt(self) -> None:
        """Something of it is not there any more: ask again before the next use."""
        self._until = 0.0
        self._images.clear()

    async def image(self, architecture: str, gpu: bool) -> str:
        """The image id for nodes of that kind. Raises Rejected, NotFound, Unavailable."""
        settings = self._calls.settings.image
        given = _of_kind(settings.ids, architecture, gpu)
        if given:
            return given
        version = (await self.facts()).kubernetes_version
        name = _of_kind(settings.parameters, architecture, gpu) or public_parameter(
            settings.family, version, architecture, gpu
        )
        until, image = self._images.get(name, (0.0, ""))
        now = self._calls.clock.now()
        if now >= until:
            try:
                image = await _parameter(self._calls, name)
            except Exception:
                if not image:
                    raise
            self._images[name] = (now + KEPT_SECONDS, image)
        return image


def _of_kind(table: Any, architecture: str, gpu: bool) -> str:
    found = (table.get(f"{architecture}-gpu") if gpu else None) or table.get(architecture)
    return str(found or "")


def public_parameter(family: ImageFamily, version: str, architecture: str, gpu: bool) -> str:
    """Where AWS publishes the newest image id.

    Sources: EKS user guide, "Retrieve recommended Amazon Linux AMI IDs" and "Retrieve recommended
    Bottlerocket AMI IDs".
    """
    cpu = "arm64" if architecture == "arm64" else "x86_64"
    if family is ImageFamily.BOTTLEROCKET:
        variant = f"aws-k8s-{version}" + ("-nvidia" if gpu else "")
        return f"/aws/service/bottlerocket/{variant}/{cpu}/latest/image_id"
    variant = "nvidia" if gpu else "standard"
    return (
        f"/aws/service/eks/optimized-ami/{version}/amazon-linux-2023/{cpu}/{variant}"
        "/recommended/image_id"
    )


async def _parameter(calls: AwsCalls, name: str) -> str:
    try:
        answer = await calls.call("ssm", "GetParameter", Name=name)
    except NotFound as error:
        raise Rejected(
            f"There is no image at the SSM parameter {name}: name an image id for these nodes.",
            reason="NoImage",
        ) from error
    return str(answer["Parameter"]["Value"])


async def read_facts(calls: AwsCalls) -> Facts:
    """Ask AWS now. Raises Rejected with what to set, NotFound, Unavailable."""
    settings = calls.settings
    cluster = await _cluster(calls)
    network = cluster.get("resourcesVpcConfig") or {}
    subnets, groups = await asyncio.gather(
        subnets_of(calls, network.get("subnetIds") or ()), _groups(calls, network)
    )
    return Facts(
        name=settings.eks_cluster,
        endpoint=settings.endpoint or cluster.get("endpoint", ""),
        certificate_authority=settings.certificate_authority
        or (cluster.get("certificateAuthority") or {}).get("data", ""),
        service_cidr=settings.service_cidr
        or (cluster.get("kubernetesNetworkConfig") or {}).get("serviceIpv4Cidr", ""),
        kubernetes_version=settings.kubernetes_version or cluster.get("version", ""),
        instance_profile=settings.instance_profile,
        security_group_ids=groups,
        subnets=subnets,
    )


async def _cluster(calls: AwsCalls) -> Json:
    """The cluster as EKS has it; nothing when the admin said everything that it could tell."""
    settings = calls.settings
    said = (settings.endpoint, settings.certificate_authority, settings.service_cidr)
    if all((*said, settings.kubernetes_version, settings.subnet_ids, settings.security_group_ids)):
        return {}
    try:
        answer = await calls.call("eks", "DescribeCluster", name=settings.eks_cluster)
    except NotFound as error:
        raise Rejected(
            f"There is no EKS cluster {settings.eks_cluster} in {settings.region}.",
            reason="NoCluster",
        ) from error
    found: Json = answer["cluster"]
    return found


async def subnets_of(calls: AwsCalls, of_cluster: Iterable[str]) -> tuple[Subnet, ...]:
    """By id, by tag, or those of the cluster; sorted by id. Raises Rejected when there are none."""
    settings = calls.settings
    if settings.subnet_ids:
        found = await _describe_subnets(calls, SubnetIds=list(settings.subnet_ids))
    else:
        found = await _describe_subnets(calls, Filters=_discovery(settings))
        if not found and (ids := list(of_cluster)):
            found = await _describe_subnets(calls, SubnetIds=ids)
    if not found:
        raise Rejected(
            f"No subnet is known: tag some with {settings.discovery_tag}={settings.eks_cluster}, "
            "or name their ids.",
            reason="NoSubnets",
        )
    return tuple(sorted(found, key=lambda subnet: subnet.id))


async def _describe_subnets(calls: AwsCalls, **which: Any) -> list[Subnet]:
    rows = await calls.pages("ec2", "DescribeSubnets", "Subnets", **which)
    return [
        Subnet(
            id=row["SubnetId"],
            zone=row["AvailabilityZone"],
            zone_id=row.get("AvailabilityZoneId", ""),
            free_addresses=row.get("AvailableIpAddressCount", 0),
        )
        for row in rows
    ]


async def _groups(calls: AwsCalls, network: Json) -> tuple[str, ...]:
    settings = calls.settings
    if settings.security_group_ids:
        return tuple(sorted(settings.security_group_ids))
    rows = await calls.pages(
        "ec2", "DescribeSecurityGroups", "SecurityGroups", Filters=_discovery(settings)
    )
    found = {row["GroupId"] for row in rows} or {network.get("clusterSecurityGroupId")} - {None}
    if not found:
        raise Rejected(
            f"No security group is known: tag one with {settings.discovery_tag}="
            f"{settings.eks_cluster}, or name its id.",
            reason="NoSecurityGroups",
        )
    return tuple(sorted(found))


def _discovery(settings: AwsSettings) -> list[Json]:
    return [{"Name": f"tag:{settings.discovery_tag}", "Values": [settings.eks_cluster]}]
