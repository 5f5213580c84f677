"""The JSON Schemas of the files of ``gpu-jit plan``, with what each key means.

planfile.py and planfile_market.py take their known keys from here; docs/wire/plan-*.json are
copies for editors (a test keeps them equal). JSON Schema draft 2020-12.
"""

from __future__ import annotations

from typing import Any

from .gpus import MODELS
from .profile_schema import PROFILE
from .sizes import MAX_GPUS, MAX_USD_PER_HOUR_MICRO

Schema = dict[str, Any]
MAX_COUNT = MAX_SESSIONS = 100_000
MAX_USER = 255
MAX_PODS, MAX_VOLUMES, MAX_INTERFACES = 10_000, 1_000, 64
# A GPU has at most eight parts in any layout.
MAX_UNITS = 8 * MAX_GPUS
DRAFT = "https://json-schema.org/draft/2020-12/schema"

_QUANTITY: Schema = {"type": ["string", "number"], "maxLength": 32}
_NAME: Schema = {"type": "string", "pattern": "^[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?$"}
_ZONE: Schema = {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"}
_CAPACITY: Schema = {"enum": ["spot", "on-demand"]}
_GPUS: Schema = {"type": "integer", "minimum": 0, "maximum": MAX_UNITS}
_USD: Schema = {
    "type": "number",
    "exclusiveMinimum": 0,
    "maximum": MAX_USD_PER_HOUR_MICRO // 1_000_000,
}
_RATE: Schema = {
    "type": "number",
    "minimum": 0,
    "maximum": 60,
    "description": "How often the cloud takes such a node back, on average per hour.",
}
_AVAILABLE: Schema = {"type": "boolean", "default": True, "description": "Whether it is on sale."}


def _object(properties: Schema, *required: str) -> Schema:
    body: Schema = {"type": "object", "additionalProperties": False, "properties": properties}
    return {**body, "required": list(required)} if required else body


REQUEST: Schema = _object(
    {
        "count": {"type": "integer", "minimum": 1, "maximum": MAX_COUNT, "default": 1},
        "user": {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_USER,
            "description": "Whose sessions they all are; left out: each is somebody else's.",
        },
        **PROFILE["properties"],
        "capacity": {
            **PROFILE["properties"]["capacity"],
            "default": "spot-then-on-demand",
            "description": "Left out: whatever the catalogue sells.",
        },
    }
)
ALLOCATABLE: Schema = _object(
    {
        "cpu": {**_QUANTITY, "description": "CPU that pods can have (7910m), not nameplate."},
        "memory": {**_QUANTITY, "description": "Memory that pods can have (14162Mi)."},
        "pods": {"type": "integer", "minimum": 1, "maximum": MAX_PODS, "default": 110},
        "volumes": {
            "type": "integer",
            "minimum": 0,
            "maximum": MAX_VOLUMES,
            "description": "Volumes that sessions can attach; no limit when not known.",
        },
        "local_disk": {**_QUANTITY, "description": "The instance's own disk for sessions."},
        "nvidia.com/gpu": {**_GPUS, "description": "The same as gpus beside it."},
    }
)
OFFERING: Schema = _object(
    {
        "zone": _ZONE,
        "capacity_type": _CAPACITY,
        "usd_per_hour": _USD,
        "interruptions_per_hour": _RATE,
        "available": _AVAILABLE,
    },
    *("zone", "capacity_type", "usd_per_hour"),
)
TYPE: Schema = _object(
    {
        "type": {
            **_NAME,
            "description": "What is left out below is that of the packaged type of this name.",
        },
        "allocatable": ALLOCATABLE,
        "gpus": {**_GPUS, "description": "Whole GPUs."},
        "gpu_model": {"type": "string", "examples": list(MODELS)},
        "gpu_memory_mib": {
            "type": "integer",
            "minimum": 1,
            "maximum": 1 << 20,
            "description": "Memory of one GPU as it reports it.",
        },
        "architecture": {"enum": ["amd64", "arm64"]},
        "interconnect": {"enum": ["single", "fraction", "pcie", "nvlink2-mesh", "nvswitch"]},
        "efa_interfaces": {"type": "integer", "minimum": 0, "maximum": MAX_INTERFACES},
        "driver_family": {
            "enum": ["nvidia", "nvidia-grid"],
            "description": "What the node's image must bring for its GPUs.",
        },
        "offerings": {"type": "array", "items": OFFERING},
    },
    *("type", "allocatable", "offerings"),
)
SPOT: Schema = _object(
    {
        "type": _NAME,
        "zone": _ZONE,
        "usd_per_hour": {**_USD, "description": "Left out: as the catalogue has it."},
        "interruptions_per_hour": _RATE,
        "available": _AVAILABLE,
    },
    *("type", "zone"),
)
NODE: Schema = _object(
    {
        "name": _NAME,
        "type": _NAME,
        "zone": _ZONE,
        "capacity_type": {**_CAPACITY, "default": "on-demand"},
        "usd_per_hour": {**_USD, "description": "Left out: as the catalogue has it now."},
        "ready": {"type": "boolean", "default": True, "description": "false: still starting."},
        "allocatable": ALLOCATABLE,
        "gpus": {**_GPUS, "description": "As the node counts them: parts, in a layout."},
        "layout": {
            "type": "string",
            "examples": ["mig-1g.10gb", "time-sliced-4"],
            "description": "What its GPUs are divided into; left out: nothing.",
        },
        "sessions": {"type": "array", "items": {"$ref": "#/$defs/request"}},
    },
    *("name", "type", "zone"),
)
_ABOUT = {
    "requests": "Sessions to plan: how many of which profile. Or all parts in one file.",
    "catalogue": "Instance types and what they cost where.",
    "spot": "Spot prices and interruption rates over a catalogue, by type and zone.",
    "nodes": "Nodes that run already, with the sessions on them.",
}
_ITEMS = {"requests": REQUEST, "catalogue": TYPE, "spot": SPOT, "nodes": NODE}


def plan_schema(part: str) -> Schema:
    """JSON Schema of a file: a list, or a mapping with the list under the part's name."""
    several: dict[str, Schema] = {
        name: {"type": "array", "items": {"$ref": f"#/$defs/{_def(name)}"}} for name in _ITEMS
    }
    names = list(_ITEMS) if part == "requests" else [part]
    needed = ["nodes", "requests"] if part == "nodes" else names
    for least in ("requests", "catalogue"):
        several[least]["minItems"] = 1
    return {
        "$schema": DRAFT,
        "title": f"{part.capitalize()} of gpu-jit plan",
        "description": _ABOUT[part],
        "anyOf": [several[part], _object({name: several[name] for name in names}, part)],
        "$defs": {_def(name): _ITEMS[name] for name in _ITEMS if name in needed},
    }


def _def(part: str) -> str:
    return {"requests": "request", "catalogue": "type", "nodes": "node"}.get(part, part)
