"""An instance as DescribeInstances shows it, built from moto's object once per change.

moto could write its own objects, at 9 ms each; a fleet of a thousand is asked for often.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import store
from .instances import REASONS, Life
from .parameters import ACCOUNT

Json = dict[str, Any]


def state(name: str) -> Json:
    """A state as answers carry it."""
    return {"Code": store.STATE_CODES[name], "Name": name}


def instance(life: Life, seen: str) -> Json:
    """The row of DescribeInstances; ``seen`` is the state to show."""
    found, machine = life.stored, life.machine
    spot = {"InstanceLifecycle": "spot"} if life.pool[2] == "spot" else {}
    reason = REASONS.get(life.reason, "") if seen in ("shutting-down", "terminated") else ""
    return {
        **spot,
        "InstanceId": life.id,
        "AmiLaunchIndex": found.ami_launch_index,
        "Architecture": found.architecture,
        "BlockDeviceMappings": _disks(life),
        "ClientToken": life.client_token,
        "EbsOptimized": machine.ebs_optimized,
        "Hypervisor": found.hypervisor,
        "IamInstanceProfile": _profile(found),
        "ImageId": machine.image_id,
        "InstanceType": life.pool[1],
        "KeyName": machine.key_name,
        "LaunchTime": found.launch_time,
        "MetadataOptions": _metadata(found),
        "Monitoring": found.monitoring,
        "Placement": _placement(life),
        "RootDeviceName": found.root_device_name,
        "RootDeviceType": found.root_device_type,
        "SecurityGroups": _groups(found.security_groups),
        "SpotInstanceRequestId": life.spot_request_id or None,
        "State": state(seen),
        "StateReason": {"Code": life.reason, "Message": reason} if reason else None,
        "StateTransitionReason": reason,
        "Tags": [{"Key": k, "Value": v} for k, v in store.tags_of(found).items()] or None,
        "VirtualizationType": found.virtualization_type,
        **(_network(life) if seen != "terminated" else {}),
    }


def _placement(life: Life) -> Json:
    placement = life.machine.placement
    number = placement.get("PartitionNumber")
    return {
        "AvailabilityZone": life.pool[0],
        "GroupName": placement.get("GroupName", ""),
        "Tenancy": placement.get("Tenancy", "default"),
        **({"PartitionNumber": int(number)} if number else {}),
    }


def _profile(found: Any) -> Json | None:
    profile = found.iam_instance_profile
    return None if profile is None else {"Arn": profile.arn, "Id": profile.id}


def _metadata(found: Any) -> Json:
    options = found.metadata_options
    return {
        "State": options.state,
        "HttpTokens": options.http_tokens,
        "HttpPutResponseHopLimit": options.http_put_response_hop_limit,
        "HttpEndpoint": options.http_endpoint,
        "HttpProtocolIpv6": options.http_protocol_ipv6,
        "InstanceMetadataTags": options.instance_metadata_tags,
    }


def _disks(life: Life) -> list[Json]:
    return [
        {
            "DeviceName": device,
            "Ebs": {
                "AttachTime": block.attach_time,
                "DeleteOnTermination": block.delete_on_termination,
                "Status": "attached",
                "VolumeId": block.volume_id,
            },
        }
        for device, block in life.stored.get_block_device_mapping
    ]


def _groups(groups: Sequence[Any]) -> list[Json]:
    return [{"GroupId": group.id, "GroupName": group.name} for group in groups]


def _network(life: Life) -> Json:
    found = life.stored
    return {
        "NetworkInterfaces": [_interface(life, n, nic) for n, nic in sorted(found.nics.items())],
        "PrivateDnsName": found.private_dns_name,
        "PrivateIpAddress": found.private_ip,
        "SourceDestCheck": found.source_dest_check,
        "SubnetId": life.machine.subnet_id,
        "VpcId": found.vpc_id,
    }


def _interface(life: Life, number: int, nic: Any) -> Json:
    specs = life.machine.interfaces
    spec = specs[number] if number < len(specs) else {}
    return {
        "NetworkInterfaceId": nic.id,
        "InterfaceType": spec.get("InterfaceType") or "interface",
        "MacAddress": nic.mac_address,
        "OwnerId": ACCOUNT,
        "PrivateIpAddress": nic.private_ip_address,
        "Status": "in-use",
        "SubnetId": life.machine.subnet_id,
        "VpcId": life.stored.vpc_id,
        "Groups": _groups(nic.group_set),
        "Attachment": {
            "DeviceIndex": int(spec.get("DeviceIndex") or 0),
            "NetworkCardIndex": int(spec.get("NetworkCardIndex") or 0),
            "Status": "attached",
            "DeleteOnTermination": True,
            "AttachTime": life.stored.launch_time,
        },
    }
