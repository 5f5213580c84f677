"""The part of a profile's definition that is about the machine: GPUs, drivers, CPU, disks.

profiles.py reads and writes profiles; the keys of these fields are handled here, both ways.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from .gpus import model_named, most_compute_tenths, most_memory_gib
from .model import Profile
from .quantity import format_bytes
from .requirements import NVIDIA, NVIDIA_GRID, GpuShare
from .sections import Section
from .sizes import (
    MAX_GPUS,
    MAX_RATE,
    bad,
    read_flag,
    read_memory,
    read_number,
    read_one_of,
    read_text,
    read_whole,
)

Data = dict[str, Any]
ARCHITECTURES = ("amd64", "arm64")
DRIVER_FAMILIES = (NVIDIA, NVIDIA_GRID)
_KEYS = ("count", "models", "memory_gib", "compute_capability", "nvlink", "share")


class Hardware(TypedDict, total=False):
    """Fields of Profile, by name."""

    gpus: int
    gpu_models: tuple[str, ...]
    gpu_memory_gib: int
    gpu_share: GpuShare | None
    min_compute_capability_tenths: int
    nvlink: bool
    efa: bool
    driver_families: tuple[str, ...]
    architectures: tuple[str, ...]
    local_disk_bytes: int
    max_interruptions_per_hour: float | None


def read_hardware(at: Section) -> Hardware:
    """The fields that a profile's mapping gives; whatever is wrong is noted there."""
    return Hardware(
        **_read_gpus(at),
        efa=at.get("efa", read_flag, False),
        driver_families=at.list("drivers", lambda v: read_one_of(v, DRIVER_FAMILIES)) or (NVIDIA,),
        architectures=at.list("architectures", lambda v: read_one_of(v, ARCHITECTURES))
        or ARCHITECTURES[:1],
        local_disk_bytes=at.get("local_disk", read_memory, 0),
        max_interruptions_per_hour=at.get("interruptions_per_hour_cap", _read_rate, None),
    )


def _read_rate(value: object) -> float | None:
    return float(read_number(value, most=MAX_RATE))


def _read_count(value: object) -> int:
    return read_whole(value, least=1, most=MAX_GPUS)


def _read_memory_gib(value: object) -> int:
    return read_whole(value, least=1, most=1024)


def read_model(value: object) -> str:
    """The catalogue's name of a GPU model, however it is written."""
    return model_named(read_text(value))


def _read_capability(value: object) -> int:
    """Tenths of a compute capability such as 8.9."""
    number = read_number(value, most=99)
    tenths = round(number * 10)
    if abs(tenths - number * 10) > 1e-6:
        raise bad(f"must be a compute capability such as 8.9, not {number}.")
    return tenths


def _read_gpus(at: Section) -> Hardware:
    if not isinstance(at.body.get("gpus"), Mapping):
        return Hardware(gpus=at.get("gpus", lambda v: read_whole(v, least=0, most=MAX_GPUS), 0))
    inner = at.section("gpus")
    inner.only(dict.fromkeys(_KEYS))
    found = Hardware(
        gpus=inner.get("count", _read_count, 1),
        gpu_models=inner.list("models", read_model),
        gpu_memory_gib=inner.get("memory_gib", _read_memory_gib, 0),
        gpu_share=_read_share(inner),
        min_compute_capability_tenths=inner.get("compute_capability", _read_capability, 0),
        nvlink=inner.get("nvlink", read_flag, False),
    )
    _check_gpus(inner, found)
    return found


def _read_share(inner: Section) -> GpuShare | None:
    if "share" not in inner.body:
        return None
    if not isinstance(inner.body["share"], Mapping):
        inner.note("share", "must be a mapping with memory_gib, such as {memory_gib: 10}.")
        return None
    share = inner.section("share")
    share.only({"memory_gib": None, "time_sliced": None})
    if "memory_gib" not in share.body:
        share.note("memory_gib", "is missing.")
    return GpuShare(
        memory_gib=share.get("memory_gib", _read_memory_gib, 1),
        time_sliced=share.get("time_sliced", read_flag, False),
    )


def _check_gpus(inner: Section, found: Hardware) -> None:
    """What can only be judged with all of it at hand."""
    models, share = found["gpu_models"], found["gpu_share"]
    most = most_memory_gib(models)
    if found["gpu_memory_gib"] > most:
        inner.note("memory_gib", f"no such GPU has more than {most} GiB.")
    if found["min_compute_capability_tenths"] > most_compute_tenths(models):
        best = most_compute_tenths(models) / 10
        inner.note("compute_capability", f"no such GPU has more than {best:.1f}.")
    if share is None:
        return
    if share.memory_gib > most:
        inner.note("share.memory_gib", f"no such GPU has more than {most} GiB.")
    if found["gpus"] > 1:
        inner.note("share", "a session has one share; leave the count out.")
    if found["gpu_memory_gib"]:
        inner.note("memory_gib", "belongs inside the share, when there is one.")


# --- and back --------------------------------------------------------------------------------


def hardware_data(profile: Profile) -> Data:
    """The keys for these fields, as a file would have them; empty ones are default."""
    drivers, architectures = profile.driver_families, profile.architectures
    return {
        "gpus": _gpus_data(profile),
        "efa": profile.efa,
        "drivers": list(drivers) if drivers != (NVIDIA,) else [],
        "architectures": list(architectures) if architectures != ARCHITECTURES[:1] else [],
        "local_disk": format_bytes(profile.local_disk_bytes) if profile.local_disk_bytes else "",
        "interruptions_per_hour_cap": profile.max_interruptions_per_hour,
    }


def _gpus_data(profile: Profile) -> int | Data:
    share, tenths = profile.gpu_share, profile.min_compute_capability_tenths
    picky: Data = {
        "models": list(profile.gpu_models),
        "memory_gib": profile.gpu_memory_gib,
        "compute_capability": tenths / 10,
        "nvlink": profile.nvlink,
        "share": _share_data(share) if share else None,
    }
    said = {key: value for key, value in picky.items() if value}
    return {"count": profile.gpus, **said} if said else profile.gpus


def _share_data(share: GpuShare) -> Data:
    more = {"time_sliced": True} if share.time_sliced else {}
    return {"memory_gib": share.memory_gib, **more}
