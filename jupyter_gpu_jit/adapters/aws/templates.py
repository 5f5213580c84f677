"""Launch templates: what all nodes of a kind have in common, named by a hash of their content.

Templates never change: other content is another name. fleet.py refers to them by name, so that a
fleet request says the same after a restart; ec2.py has them made when they are first needed.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from ...core.layouts import layout_named
from ...core.model import InstanceType
from ...errors import Rejected
from .calls import AwsCalls, Json
from .facts import Facts
from .settings import AwsSettings, ImageFamily
from .user_data import DATA_DEVICE, Boot, user_data

ROOT_DEVICE = "/dev/xvda"
PREFIX = "gpu-jit-"
_EXISTS = "InvalidLaunchTemplateName.AlreadyExistsException"
# Bottlerocket keeps its system on the first disk and everything that grows on the second.
_BOTTLEROCKET_ROOT_GIB = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A launch template before it exists."""

    name: str
    data: Json


def boot_of(kind: InstanceType, settings: AwsSettings, layout: str, capacity_type: str) -> Boot:
    """How a node of that type comes up with that layout."""
    divided = layout_named(kind, layout)
    return Boot(
        family=settings.image.family,
        capacity_type=capacity_type,
        gpu_model=kind.gpu_model if layout else "",
        gpu_memory_gib=_whole_gib(kind) if layout else 0,
        layout=layout,
        units_per_gpu=divided.units_per_gpu if divided and layout else 1,
        data_volume=bool(settings.disk.snapshot_id),
        dead_man_seconds=settings.dead_man_seconds,
    )


def _whole_gib(kind: InstanceType) -> int:
    plain = layout_named(kind, "")
    return plain.unit_memory_gib if plain else 0


def template(
    facts: Facts, settings: AwsSettings, boot: Boot, *, image: str, efa_interfaces: int = 0
) -> Template:
    """The template for nodes that come up like that; Spot's has one tag specification more."""
    data: Json = {
        "ImageId": image,
        "UserData": user_data(facts, boot),
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {
            "HttpEndpoint": "enabled",
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 1,
        },
        "BlockDeviceMappings": _disks(settings),
        "TagSpecifications": _tags(settings, boot),
        **_network(facts, efa_interfaces),
    }
    if facts.instance_profile:
        data["IamInstanceProfile"] = {"Name": facts.instance_profile}
    content = json.dumps([data, settings.standing_tags], sort_keys=True)
    return Template(
        name=PREFIX + hashlib.sha256(content.encode()).hexdigest()[:32],
        data=data,
    )


def _tags(settings: AwsSettings, boot: Boot) -> list[Json]:
    """Of what a fleet cannot tag itself. A Spot request's tags are refused on demand."""
    kinds = ["network-interface"]
    if boot.capacity_type == "spot":
        kinds.append("spot-instances-request")
    return [{"ResourceType": kind, "Tags": tag_list(settings.standing_tags)} for kind in kinds]


def _network(facts: Facts, efa_interfaces: int) -> Json:
    groups = list(facts.security_group_ids)
    if not efa_interfaces:
        return {"SecurityGroupIds": groups}
    cards = [
        {
            "NetworkCardIndex": card,
            "DeviceIndex": 0 if card == 0 else 1,
            "InterfaceType": "efa",
            "Groups": groups,
            "DeleteOnTermination": True,
        }
        for card in range(efa_interfaces)
    ]
    return {"NetworkInterfaces": cards}


def _disks(settings: AwsSettings) -> list[Json]:
    disk = settings.disk
    two = settings.image.family is ImageFamily.BOTTLEROCKET
    root = _gp3(settings, _BOTTLEROCKET_ROOT_GIB if two else disk.root_gib)
    mappings = [{"DeviceName": ROOT_DEVICE, "Ebs": root}]
    if two or disk.snapshot_id:
        data = _gp3(settings, disk.root_gib if two and not disk.snapshot_id else disk.data_gib)
        if disk.snapshot_id:
            data["SnapshotId"] = disk.snapshot_id
            if disk.initialise_mib_per_second:
                data["VolumeInitializationRate"] = disk.initialise_mib_per_second
        mappings.append({"DeviceName": DATA_DEVICE, "Ebs": data})
    return mappings


def _gp3(settings: AwsSettings, gib: int) -> Json:
    disk = settings.disk
    small = gib == _BOTTLEROCKET_ROOT_GIB
    found: Json = {
        "VolumeType": "gp3",
        "VolumeSize": gib,
        "Encrypted": True,
        "DeleteOnTermination": True,
    }
    if not small:
        found |= {"Iops": disk.iops, "Throughput": disk.mib_per_second}
    if disk.kms_key_id:
        found["KmsKeyId"] = disk.kms_key_id
    return found


def tag_list(tags: Any) -> list[Json]:
    """Tags as AWS takes them, sorted."""
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]


class Templates:
    """The templates that exist, as far as we know; made when first needed."""

    def __init__(self, calls: AwsCalls) -> None:
        self._calls = calls
        self._there: set[str] = set()
        self._making: dict[str, asyncio.Lock] = {}
        self.used_at: dict[str, float] = {}

    async def ensure(self, wanted: Template) -> None:
        """Make it unless it is there. Raises Rejected, Unavailable."""
        self.used_at[wanted.name] = self._calls.clock.now()
        async with self._making.setdefault(wanted.name, asyncio.Lock()):
            if wanted.name not in self._there:
                await self._make(wanted)
                self._there.add(wanted.name)

    def forget(self, name: str) -> None:
        """Somebody says that it is not there."""
        self._there.discard(name)

    async def _make(self, wanted: Template) -> None:
        tags = tag_list(self._calls.settings.standing_tags)
        try:
            await self._calls.call(
                "ec2",
                "CreateLaunchTemplate",
                LaunchTemplateName=wanted.name,
                LaunchTemplateData=wanted.data,
                TagSpecifications=[{"ResourceType": "launch-template", "Tags": tags}],
            )
        except Rejected as error:
            # The name says what is in it: whoever made it made the same.
            if error.reason != _EXISTS:
                raise
