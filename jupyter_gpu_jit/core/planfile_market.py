"""The market files of ``gpu-jit plan``: a catalogue of instance types, and Spot prices over it.

Pure readers of parsed JSON, called by the command; errors as in planfile.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from .gpus import MODELS
from .model import UNTOLD, InstanceType, Offering, Resources
from .planfile_schema import (
    ALLOCATABLE,
    MAX_INTERFACES,
    MAX_PODS,
    MAX_UNITS,
    MAX_VOLUMES,
    OFFERING,
    SPOT,
    TYPE,
)
from .profile_hardware import ARCHITECTURES, DRIVER_FAMILIES, read_model
from .quantity import GIB, MIB
from .requirements import CapacityType
from .sections import Section, complain, rows, sections
from .sizes import (
    bad,
    read_cpu,
    read_flag,
    read_memory,
    read_number,
    read_one_of,
    read_text,
    read_usd_per_hour,
    read_whole,
    read_zone,
)
from .texts import quote, suggest

Key = tuple[str, str, str]
INTERCONNECTS = ("single", "fraction", "pcie", "nvlink2-mesh", "nvswitch")
# What Kubernetes recommends as the most pods of a node.
_USUAL_PODS = 110
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")


Types = tuple[InstanceType, ...]


def on_demand_only(types: Types) -> Types:
    """The types without Spot: what the packaged catalogue knows a published price of."""
    return tuple(kind.on_demand_only() for kind in types)


# --- a catalogue -----------------------------------------------------------------------------


def read_catalogue(data: object, known: Mapping[str, InstanceType]) -> Types:
    """The types of a catalogue file; facts it leaves out are those of the known type so named.

    Only bare metal is not taken over: whatever is in the file may be bought. Raises UserError.
    """
    problems: list[str] = []
    types: dict[str, InstanceType] = {}
    for at in rows(data, "catalogue", problems):
        kind = _read_type(at, known)
        if kind.name and kind.name in types:
            at.note("type", f"{quote(kind.name)} is there twice.")
        types[kind.name] = kind
    if not problems and not types:
        problems.append("catalogue: must have at least one entry.")
    complain(problems)
    return tuple(types[name] for name in sorted(types))


def _read_type(at: Section, known: Mapping[str, InstanceType]) -> InstanceType:
    at.only(TYPE["properties"])
    at.needs("type", "allocatable", "offerings")
    name = at.get("type", read_name, "")
    like = known.get(name, _unknown(name))
    size = read_allocatable(at, like.allocatable)
    model = at.get("gpu_model", read_model, like.gpu_model)
    return InstanceType(
        name=name,
        vcpu=like.vcpu or size.cpu_millicpu // 1000,
        memory_mib=like.memory_mib or size.memory_bytes // MIB,
        allocatable=size,
        architecture=at.get("architecture", one_of(ARCHITECTURES), like.architecture),
        gpu_model=model if size.gpus else "",
        gpu_memory_mib=_gpu_memory(at, model, like) if size.gpus else 0,
        gpu_interconnect=at.get("interconnect", one_of(INTERCONNECTS), like.gpu_interconnect),
        efa_interfaces=at.get("efa_interfaces", _read_interfaces, like.efa_interfaces),
        driver_family=at.get("driver_family", one_of(DRIVER_FAMILIES), like.driver_family),
        offerings=tuple(_read_offerings(at, name)),
    )


def _unknown(name: str) -> InstanceType:
    """A type of which nothing is known; then volumes are no limit."""
    size = Resources(volumes=UNTOLD)
    return InstanceType(name=name, vcpu=0, memory_mib=0, allocatable=size)


def read_allocatable(at: Section, like: Resources) -> Resources:
    """What sessions can have of a node: ``allocatable`` and ``gpus``; left out: as ``like``."""
    inner = at.section("allocatable") if isinstance(at.body.get("allocatable"), Mapping) else None
    if inner is None:
        if "allocatable" in at.body:
            at.note("allocatable", f"must be a mapping, not {quote(at.body['allocatable'])}.")
        inner = Section(f"{at.path}.allocatable", {}, at.problems)
    inner.only(ALLOCATABLE["properties"])
    gpus = inner.get("nvidia.com/gpu", _read_gpus, like.gpus)
    return Resources(
        cpu_millicpu=inner.get("cpu", read_cpu, like.cpu_millicpu),
        memory_bytes=inner.get("memory", read_memory, like.memory_bytes),
        gpus=at.get("gpus", _read_gpus, gpus),
        pods=inner.get("pods", _read_pods, like.pods or _USUAL_PODS),
        volumes=inner.get("volumes", _read_volumes, like.volumes),
        local_disk_bytes=inner.get("local_disk", read_memory, like.local_disk_bytes),
    )


def _gpu_memory(at: Section, model: str, like: InstanceType) -> int:
    """Memory of one GPU in MiB: as the file says, as known, else the model's least."""
    usual = like.gpu_memory_mib if model == like.gpu_model else 0
    usual = usual or min(MODELS.get(model, (0,))) * GIB // MIB
    return at.get("gpu_memory_mib", lambda v: read_whole(v, least=1, most=1 << 20), usual)


def _read_offerings(at: Section, name: str) -> Iterator[Offering]:
    seen: set[Key] = set()
    for row in sections(at, "offerings"):
        row.only(OFFERING["properties"])
        row.needs("zone", "capacity_type", "usd_per_hour")
        offering = Offering(
            instance_type=name,
            zone=row.get("zone", read_zone, ""),
            capacity_type=row.get("capacity_type", read_capacity_type, CapacityType.ON_DEMAND),
            usd_per_hour_micro=row.get("usd_per_hour", read_usd_per_hour, 0),
            available=row.get("available", read_flag, True),
            interruptions_per_hour=_rate(row, None),
        )
        if offering.key in seen:
            row.note("", "this zone and capacity type are there twice.")
        seen.add(offering.key)
        yield offering


def _rate(at: Section, was: float | None) -> float | None:
    return at.get("interruptions_per_hour", _read_per_hour, was)


# --- Spot prices over it ---------------------------------------------------------------------


def overlay_spot(types: Types, data: object) -> Types:
    """The types with the Spot offerings of a file: each new, or in place of the one there was.

    Raises UserError.
    """
    problems: list[str] = []
    offerings = {kind.name: {o.key: o for o in kind.offerings} for kind in types}
    seen: set[Key] = set()
    for at in rows(data, "spot", problems):
        offering = _read_spot(at, offerings)
        if offering is None:
            continue
        if offering.key in seen:
            at.note("", "this type and zone are there twice.")
        seen.add(offering.key)
        offerings[offering.instance_type][offering.key] = offering
    complain(problems)
    return tuple(replace(k, offerings=tuple(offerings[k.name].values())) for k in types)


def _read_spot(at: Section, offerings: Mapping[str, Mapping[Key, Offering]]) -> Offering | None:
    at.only(SPOT["properties"])
    at.needs("type", "zone")
    name = at.body.get("type")
    if not isinstance(name, str) or name not in offerings:
        if "type" in at.body:
            at.note("type", no_such_type(name, offerings))
        return None
    zone = at.get("zone", read_zone, "")
    was = offerings[name].get((name, zone, CapacityType.SPOT.value))
    price = was.usd_per_hour_micro if was else 0
    if was is None:
        at.needs("usd_per_hour")
    return Offering(
        instance_type=name,
        zone=zone,
        capacity_type=CapacityType.SPOT,
        usd_per_hour_micro=at.get("usd_per_hour", read_usd_per_hour, price),
        available=at.get("available", read_flag, was.available if was else True),
        interruptions_per_hour=_rate(at, was.interruptions_per_hour if was else None),
    )


# --- single values ---------------------------------------------------------------------------


def no_such_type(value: object, names: Mapping[str, object]) -> str:
    """A sentence with the nearest name only: hundreds would help nobody."""
    hint = suggest(value, names)
    near = hint if hint.startswith("did") else "the catalogue has none like it."
    return f"there is no instance type {quote(value)}; {near}"


def read_name(value: object) -> str:
    """The name of an instance type or a node: letters, digits, dots and dashes."""
    text = read_text(value)
    if not _NAME.fullmatch(text):
        raise bad(f"must be a name such as g6.xlarge, not {quote(value)}.")
    return text


def read_capacity_type(value: object) -> CapacityType:
    """Spot or on-demand. Raises UserError with the nearest."""
    return CapacityType(read_one_of(value, [kind.value for kind in CapacityType]))


def one_of(known: Sequence[str]) -> Callable[[object], str]:
    """A reader of a text out of a few."""
    return lambda value: read_one_of(value, known)


def _read_gpus(value: object) -> int:
    return read_whole(value, least=0, most=MAX_UNITS)


def _read_volumes(value: object) -> int:
    return read_whole(value, least=0, most=MAX_VOLUMES)


def _read_interfaces(value: object) -> int:
    return read_whole(value, least=0, most=MAX_INTERFACES)


def _read_pods(value: object) -> int:
    return read_whole(value, least=1, most=MAX_PODS)


def _read_per_hour(value: object) -> float | None:
    return 0.0 if value == 0 and not isinstance(value, bool) else read_number(value, most=60)
