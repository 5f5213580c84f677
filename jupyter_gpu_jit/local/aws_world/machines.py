"""What an instance is made from: template, override and request put together. For ``launch``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import store
from .fleet import Candidate
from .services import image_id
from .tags import tags_in

if TYPE_CHECKING:
    from .world import World

Json = dict[str, Any]
FROM_SSM = "resolve:ssm:"


def machine_of(world: World, candidate: Candidate, params: Json) -> store.Machine:
    """Everything the instance is made from; tags of the request win over the template's."""
    launch = candidate.launch
    own_tags = _own_tags(launch.get("_template") or {}, params)
    return store.Machine(
        instance_type=candidate.pool[1],
        image_id=image_of(world, launch),
        subnet_id=candidate.subnet_id,
        capacity_type=candidate.pool[2],
        user_data=launch.get("UserData"),
        key_name=launch.get("KeyName"),
        security_group_ids=tuple(_groups(launch)) or _default_group(world),
        profile=launch.get("IamInstanceProfile") or {},
        disks=tuple(launch.get("BlockDeviceMappings") or ()),
        metadata=launch.get("MetadataOptions") or {},
        placement=launch.get("Placement") or {},
        interfaces=tuple(launch.get("NetworkInterfaces") or ()),
        shutdown_behaviour=str(launch.get("InstanceInitiatedShutdownBehavior") or "stop"),
        ebs_optimized=bool(launch.get("EbsOptimized")),
        tags={**_tags(launch, params, "instance"), **own_tags},
        volume_tags=_tags(launch, params, "volume"),
        client_token=str(params.get("ClientToken") or ""),
    )


def _own_tags(used: Json, params: Json) -> dict[str, str]:
    """What EC2 puts on instances by itself."""
    of_template = {
        "aws:ec2launchtemplate:id": used.get("LaunchTemplateId"),
        "aws:ec2launchtemplate:version": used.get("Version"),
        "aws:ec2:fleet-id": params.get("_fleet"),
    }
    return {key: str(value) for key, value in of_template.items() if value}


def image_of(world: World, launch: Json) -> str:
    """The image that settings name, themselves or by a public parameter; "" when there is none."""
    given = str(launch.get("ImageId") or "")
    return image_id(world, given.removeprefix(FROM_SSM)) if given.startswith(FROM_SSM) else given


def _default_group(world: World) -> tuple[str, ...]:
    return (store.default_network(world.region)[2],)


def _groups(launch: Json) -> list[str]:
    interfaces = launch.get("NetworkInterfaces") or ()
    of_interfaces = [group for nic in interfaces for group in nic.get("Groups") or ()]
    return [str(g) for g in launch.get("SecurityGroupIds") or of_interfaces]


def _tags(launch: Json, params: Json, kind: str) -> dict[str, str]:
    return {**tags_in(launch, kind), **tags_in(params, kind)}
