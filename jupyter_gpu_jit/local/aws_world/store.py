"""All contact with moto: the only module that imports it (pinned to one minor series).

The rest of the package sees plain dicts, ids and ``AwsError``. Every name of moto's that is
leaned on is used here and nowhere else; tests/aws_world/test_moto_contact.py checks each and
fails loudly when an upgrade takes one away.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

# Before moto is read: its list of public images costs seconds and nobody here asks for one.
os.environ.setdefault("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")

from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import ec2_backends
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS, INSTANCE_TYPES
from moto.ec2.models.instances import InstanceState
from moto.ec2.responses import EC2Response
from moto.ec2.utils import filter_iam_instance_profiles
from moto.events.models import events_backends
from moto.iam.models import iam_backends
from moto.moto_api._internal import mock_random
from moto.moto_api._internal.models import moto_api_backend
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from moto.sqs.models import Queue, sqs_backends

from .errors import AwsError
from .parameters import ACCOUNT

Json = dict[str, Any]
Handler = Callable[[str, Json], Json]
"""An EC2 action: (region, parameters as the client gave them) -> the answer's members."""

STATE_CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48}
RequestHandler = MotoRequestHandler


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What an instance is made from, after template and override were put together."""

    instance_type: str
    image_id: str
    subnet_id: str
    capacity_type: str
    user_data: Any = None
    key_name: str | None = None
    security_group_ids: tuple[str, ...] = ()
    profile: Mapping[str, str] = field(default_factory=dict)
    disks: tuple[Json, ...] = ()
    metadata: Json = field(default_factory=dict)
    placement: Json = field(default_factory=dict)
    interfaces: tuple[Json, ...] = ()
    shutdown_behaviour: str = "stop"
    ebs_optimized: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    volume_tags: Mapping[str, str] = field(default_factory=dict)
    client_token: str = ""


# --- the server --------------------------------------------------------------------------------


def application() -> Any:
    """moto's WSGI application for all services."""
    return DomainDispatcherApplication(create_backend_app)


def install(actions: Mapping[str, Handler]) -> None:
    """EC2 actions answered by us from now on; names in snake case."""
    for name, handler in actions.items():
        setattr(EC2Response, name, _method(handler))


def guard(checks: Mapping[str, Callable[[str, Json], None]]) -> None:
    """EC2 actions that stay moto's but are looked at first; a check raises AwsError."""
    for name, check in checks.items():
        original = _ORIGINALS.setdefault(name, getattr(EC2Response, name))
        setattr(EC2Response, name, _guarded(original, check))


_ORIGINALS: dict[str, Any] = {}


def _guarded(original: Any, check: Callable[[str, Json], None]) -> Callable[[Any], Any]:
    def answer(response: Any) -> Any:
        try:
            check(response.region, _plain(response))
        except AwsError as error:
            raise EC2ClientError(error.code, error.message) from error
        return original(response)

    return answer


def _plain(response: Any) -> Json:
    params = response.params
    return dict(params.original_dict() if hasattr(params, "original_dict") else params)


def _method(handler: Handler) -> Callable[[Any], ActionResult]:
    def answer(response: Any) -> ActionResult:
        response.error_on_dryrun()
        try:
            return ActionResult(handler(response.region, _plain(response)))
        except AwsError as error:
            raise EC2ClientError(error.code, error.message) from error

    return answer


def reset(seed: int) -> None:
    """Forget everything; ids follow from the seed from now on."""
    moto_api_backend.reset()
    mock_random.seed(seed)


# --- facts -------------------------------------------------------------------------------------


def offered(region: str) -> frozenset[tuple[str, str]]:
    """(zone name, type) of all that is sold there."""
    rows = INSTANCE_TYPE_OFFERINGS["availability-zone"].get(region, ())
    return frozenset((row["Location"], row["InstanceType"]) for row in rows)


def instance_type(name: str) -> Mapping[str, Any]:
    """AWS's own description of a type, {} when there is none."""
    found: Mapping[str, Any] = INSTANCE_TYPES.get(name, {})
    return found


def zones(region: str) -> dict[str, str]:
    """Zone names of a region and their ids."""
    return {z.name: z.zone_id for z in _ec2(region).describe_availability_zones()}


def subnets(region: str) -> dict[str, tuple[str, int]]:
    """Subnet ids: zone name and free addresses."""
    return {
        s.id: (s.availability_zone, int(s.available_ip_address_count))
        for s in _ec2(region).describe_subnets()
    }


def limit_subnet(region: str, subnet_id: str, free: int) -> None:
    """Leave so many free addresses in a subnet."""
    subnet = _ec2(region).get_subnet(subnet_id)
    subnet._available_ip_addresses += free - subnet.available_ip_address_count


def template(region: str, spec: Mapping[str, Any]) -> tuple[str, int, Json]:
    """Id, version and data of a launch template version. Raises AwsError when there is none."""
    backend = _ec2(region)
    wanted = spec.get("LaunchTemplateId") or spec.get("LaunchTemplateName") or ""
    template_id = backend.launch_template_name_to_ids.get(wanted, wanted)
    found = backend.launch_templates.get(template_id)
    if found is None:
        kind = "Id" if spec.get("LaunchTemplateId") else "Name"
        code = "NotFound" if kind == "Id" else "NotFoundException"
        raise AwsError(
            f"InvalidLaunchTemplate{kind}.{code}",
            f"The specified launch template, with template {kind.lower()} {wanted}, "
            "does not exist.",
        )
    try:
        version = found.get_version(spec.get("Version") or "$Default")
    except ServiceException as error:
        raise AwsError("InvalidLaunchTemplateId.VersionNotFound", str(error.message)) from error
    return found.id, version.number, dict(version.data)


def profile_exists(profile: Mapping[str, str]) -> bool:
    """Whether IAM knows that instance profile (by ``Name`` or ``Arn``)."""
    try:
        filter_iam_instance_profiles(
            ACCOUNT, "aws", profile.get("Arn") or None, profile.get("Name") or None
        )
    except ServiceException:
        return False
    return True


def utc(moment: datetime) -> datetime:
    """A moment without a zone is UTC in all of AWS."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


# --- instances ---------------------------------------------------------------------------------


def launch(region: str, machine: Machine, count: int, moment: float) -> list[Any]:
    """Make instances, pending; moto's objects. Raises AwsError."""
    try:
        reservation = _ec2(region).run_instances(**_arguments(region, machine, count))
    except ServiceException as error:
        raise AwsError(str(error.code), str(error.message)) from error
    for instance in reservation.instances:
        _dress(region, instance, machine, moment)
    return list(reservation.instances)


def _arguments(region: str, machine: Machine, count: int) -> Json:
    return {
        "image_id": machine.image_id,
        "count": count,
        "user_data": machine.user_data,
        "security_group_names": [],
        "security_group_ids": list(machine.security_group_ids),
        "instance_type": machine.instance_type,
        # The type was checked against the offerings already; saves a walk over all of them.
        "is_instance_type_default": True,
        "region_name": region,
        "subnet_id": machine.subnet_id,
        "nics": [
            # Of p5 many share a device index on different cards, which moto would mix up.
            {"DeviceIndex": n, "SubnetId": machine.subnet_id, "DeleteOnTermination": True}
            for n in range(max(len(machine.interfaces), 1))
        ],
        "key_name": machine.key_name,
        "block_device_mappings": [_disk(disk) for disk in machine.disks],
        "metadata_options": machine.metadata,
        "instance_initiated_shutdown_behavior": machine.shutdown_behaviour,
        "ebs_optimized": machine.ebs_optimized,
        "tags": {"instance": dict(machine.tags), "volume": dict(machine.volume_tags)},
        "client_token": machine.client_token,
        "lifecycle": "spot" if machine.capacity_type == "spot" else None,
    }


def _disk(mapping: Json) -> Json:
    disk = dict(mapping.get("Ebs") or {})
    disk.setdefault("VolumeSize", 8)
    disk.setdefault("DeleteOnTermination", True)
    return {"DeviceName": mapping["DeviceName"], "Ebs": disk, "NoDevice": None}


def _dress(region: str, instance: Any, machine: Machine, moment: float) -> None:
    """What moto's own launch leaves out."""
    instance.launch_time = datetime.fromtimestamp(moment, UTC).replace(tzinfo=None)
    instance._state = InstanceState("pending", 0)
    architectures = instance_type(machine.instance_type).get("ProcessorInfo", {})
    instance.architecture = next(iter(architectures.get("SupportedArchitectures", ())), "x86_64")
    instance.hypervisor, instance.virtualization_type = "nitro", "hvm"
    instance.placement.group_name = machine.placement.get("GroupName", "")
    instance.placement.tenancy = machine.placement.get("Tenancy", "default")
    instance.placement.partition_number = machine.placement.get("PartitionNumber")
    if machine.disks:
        instance.root_device_name = machine.disks[0]["DeviceName"]
    _dress_disks(region, instance, machine)
    for n, spec in enumerate(machine.interfaces):
        instance.nics[n].interface_type = spec.get("InterfaceType") or "interface"
    if machine.profile:
        _ec2(region).associate_iam_instance_profile(
            instance_id=instance.id,
            iam_instance_profile_name=machine.profile.get("Name"),
            iam_instance_profile_arn=machine.profile.get("Arn"),
        )
        association = _ec2(region).iam_instance_profile_associations[instance.id]
        instance.iam_instance_profile = association.iam_instance_profile


def _dress_disks(region: str, instance: Any, machine: Machine) -> None:
    speeds = {disk["DeviceName"]: disk.get("Ebs") or {} for disk in machine.disks}
    for device, block in instance.get_block_device_mapping:
        volume = _ec2(region).volumes[block.volume_id]
        for key, name in (("Iops", "iops"), ("Throughput", "throughput")):
            if key in speeds.get(device, {}):
                setattr(volume, name, int(speeds[device][key]))


def set_state(found: Any, state: str) -> None:
    """Pending, running or shutting-down, for what else moto asks of an instance."""
    found._state = InstanceState(state, STATE_CODES[state])


def end(found: Any) -> None:
    """Terminated: volumes and addresses are given back."""
    found.terminate()


def forget(region: str, instance_id: str) -> None:
    """No longer described at all."""
    backend = _ec2(region)
    for key, reservation in list(backend.reservations.items()):
        reservation.instances = [i for i in reservation.instances if i.id != instance_id]
        if not reservation.instances:
            del backend.reservations[key]


def tags_of(found: Any) -> dict[str, str]:
    """Tags of an instance as they are now."""
    # Not get_tags: it walks over the tags of everything.
    return {str(key): str(value) for key, value in found.ec2_backend.tags[found.id].items()}


# --- events, and things that are there from the start ------------------------------------------


def publish(region: str, event: Json, moment: float) -> int:
    """Hand an event of that moment to every rule of the default bus that matches it.

    How many rules there are.
    """
    rules = list(events_backends[ACCOUNT][region].describe_event_bus("default").rules.values())
    for rule in rules:
        if rule.state == "ENABLED":
            message: Any = {**event, "time": moment}
            # As it is: moto's own transformation asks for members that AWS never sends.
            rule.send_to_targets(message, transform_input=False)
    return len(rules)


def tag(region: str, resource_ids: Iterable[str], tags: Mapping[str, str]) -> None:
    """Put tags on EC2 things."""
    _ec2(region).create_tags(list(resource_ids), dict(tags))


def default_network(region: str) -> tuple[str, tuple[str, ...], str]:
    """Id of the default VPC, of its subnets, and of its security group."""
    backend = _ec2(region)
    vpc = backend.get_default_vpc()
    subnet_ids = tuple(s.id for s in backend.describe_subnets() if s.vpc_id == vpc.id)
    return vpc.id, subnet_ids, backend.get_security_group_from_name("default", vpc.id).id


def make_profile(name: str) -> None:
    """An IAM role for nodes with an instance profile of the same name; as often as you like."""
    if profile_exists({"Name": name}):
        return
    iam = iam_backends[ACCOUNT]["aws"]
    iam.create_role(name, "{}", "/", None, "", [], "3600")
    iam.create_instance_profile(name, "/", [name], [])


def make_queue(region: str, name: str, rules: Mapping[str, str]) -> str:
    """An SQS queue that the event rules (name: pattern) send to; its ARN."""
    queue = sqs_backends[ACCOUNT][region].create_queue(name, region=region)
    for rule, pattern in rules.items():
        events_backends[ACCOUNT][region].put_rule(rule, event_pattern=pattern)
        target: Sequence[Json] = [{"Id": "queue", "Arn": queue.queue_arn}]
        events_backends[ACCOUNT][region].put_targets(rule, None, list(target))
    return str(queue.queue_arn)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSettings:
    """What an SQS queue was made with; ``dead_letters`` is a queue's name or ""."""

    visibility_seconds: float
    wait_seconds: float
    retention_seconds: float
    dead_letters: str = ""
    most_receives: int = 0


def queue(region: str, name: str) -> QueueSettings | None:
    """A standard queue; None when there is none or it is a FIFO one."""
    found: Any = sqs_backends[ACCOUNT][region].queues.get(name)
    if found is None or found.fifo_queue:
        return None
    redrive = found.redrive_policy or {}
    return QueueSettings(
        visibility_seconds=float(found.visibility_timeout),
        wait_seconds=float(found.receive_message_wait_time_seconds),
        retention_seconds=float(found.message_retention_period),
        dead_letters=str(redrive.get("deadLetterTargetArn") or "").rpartition(":")[2],
        most_receives=int(redrive.get("maxReceiveCount") or 0),
    )


def take_messages(
    put: Callable[[tuple[str, str], str, str, float], None],
    counts: Callable[[tuple[str, str]], tuple[int, int]],
) -> None:
    """From now on the messages of standard queues are kept elsewhere.

    ``put`` takes (queue, message id, body, seconds of delay).
    """
    original = _ORIGINALS.setdefault("add_message", Queue.add_message)

    def add_message(self: Any, message: Any) -> None:
        if self.fifo_queue:
            original(self, message)
        else:
            delay = max(message.delayed_until / 1000 - time.time(), 0.0)
            put((self.region, self.name), message.id, message.body, delay)

    def number(which: int) -> Any:
        return property(lambda self: counts((self.region, self.name))[which])

    patched: Any = Queue
    patched.add_message = add_message
    patched.approximate_number_of_messages = number(0)
    patched.approximate_number_of_messages_not_visible = number(1)


def _ec2(region: str) -> Any:
    return ec2_backends[ACCOUNT][region]
