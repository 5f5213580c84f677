"""The JSON Schema of a profiles file: every key a profile may have, with what it means.

profiles.py takes its known keys from here, docs/wire/profiles.json is its copy for editors
(a test keeps both equal). JSON Schema draft 2020-12.
"""

from __future__ import annotations

from typing import Any

from .gpus import MODELS
from .requirements import CapacityPolicy
from .sizes import MAX_GPUS, MAX_HOURS, MAX_RATE, MAX_TEXT, MAX_USD_PER_HOUR_MICRO

Schema = dict[str, Any]
MAX_PROFILES = 200
MAX_DESCRIPTION = 1000

_QUANTITY: Schema = {"type": ["string", "number"], "maxLength": 32}
_CAPACITY: Schema = {"enum": [policy.value for policy in CapacityPolicy]}
_ZONE: Schema = {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"}
_IMAGE: Schema = {
    "type": "string",
    "maxLength": MAX_TEXT,
    "pattern": "^[A-Za-z0-9][A-Za-z0-9._/:@-]*$",
}


def _object(properties: Schema, *required: str, description: str = "") -> Schema:
    body: Schema = {"type": "object", "additionalProperties": False, "properties": properties}
    if required:
        body["required"] = list(required)
    return {**body, "description": description} if description else body


def _list(items: Schema, description: str = "") -> Schema:
    body: Schema = {"type": "array", "items": items, "uniqueItems": True, "maxItems": 50}
    return {**body, "description": description} if description else body


def _amount(what: str) -> Schema:
    both = _object({"guarantee": _QUANTITY, "limit": _QUANTITY}, "guarantee")
    return {"description": what, "anyOf": [_QUANTITY, both]}


_SHARE: Schema = _object(
    {
        "memory_gib": {
            "type": "integer",
            "minimum": 1,
            "maximum": 1024,
            "description": "Least memory of the part.",
        },
        "time_sliced": {
            "type": "boolean",
            "description": "Whether it may be a GPU that several use in turn, with no wall "
            "between their memory.",
        },
    },
    "memory_gib",
    description="A part of one GPU is enough: a MIG instance, a fraction that the cloud sells "
    "(where the drivers say nvidia-grid), a time slice, or a whole GPU if that is cheapest.",
)

_GPUS: Schema = {
    "description": "Whole GPUs: a count, or a mapping that also says which. Left out: none.",
    "anyOf": [
        {"type": "integer", "minimum": 0, "maximum": MAX_GPUS},
        _object(
            {
                "count": {"type": "integer", "minimum": 1, "maximum": MAX_GPUS, "default": 1},
                "models": _list(
                    {"type": "string", "examples": list(MODELS)},
                    "Models that will do; left out: any.",
                ),
                "memory_gib": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": 1024,
                    "description": "Least memory of one GPU as it is sold: 24 for an L4.",
                },
                "compute_capability": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "maximum": 99,
                    "description": "Least CUDA compute capability: 8.0 for an A100 or newer.",
                },
                "nvlink": {
                    "type": "boolean",
                    "description": "Whether the GPUs must reach each other by NVLink.",
                },
                "share": _SHARE,
            }
        ),
    ],
}

_HOURS: Schema = {"type": "integer", "minimum": 1, "maximum": MAX_HOURS}

_PATTERN: Schema = {
    "type": "string",
    "maxLength": MAX_TEXT,
    "description": "Regular expression (Python). Avoid repetitions inside repetitions, such as "
    "(a+)+: users could make the hub spend minutes on them.",
}

_CHOICES: Schema = _object(
    {
        "gpus": _list({"type": "integer", "minimum": 1, "maximum": MAX_GPUS}, "GPU counts."),
        "cpu": _list(_QUANTITY, "CPU guarantees."),
        "memory": _list(_QUANTITY, "Memory guarantees."),
        "capacity": _list(_CAPACITY, "Capacity policies."),
        "zone": _list(_ZONE, "Zones, out of the profile's own when it names any."),
        "hours": _object(
            {"minimum": {**_HOURS, "default": 1}, "maximum": _HOURS},
            "maximum",
            description="Whole hours after which the session ends.",
        ),
        "image": {
            "description": "Images: a list, a pattern that must match as a whole, or both.",
            "anyOf": [
                _list(_IMAGE),
                _object({"list": _list(_IMAGE), "pattern": _PATTERN}),
            ],
        },
    },
    description="What a user may vary, and within what; the profile's own value must be in it.",
)

PROFILE: Schema = _object(
    {
        "slug": {
            "type": "string",
            "maxLength": 63,
            "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$",
            "description": "Short name in URLs, API calls and labels; a DNS label, unique.",
        },
        "display_name": {
            "type": "string",
            "minLength": 1,
            "maxLength": 100,
            "description": "Name on the spawn page; the slug when left out.",
        },
        "description": {
            "type": "string",
            "maxLength": MAX_DESCRIPTION,
            "description": "What it is good for, in plain text.",
        },
        "gpus": _GPUS,
        "cpu": _amount("CPU, as a Kubernetes quantity (500m, 4). Without a limit: no limit."),
        "memory": _amount("Memory (64Gi). The limit is the guarantee unless it is given."),
        "shared_memory": {
            **_QUANTITY,
            "description": "Size of /dev/shm, counted in the memory; half of it when left out.",
        },
        "image": {**_IMAGE, "description": "Container image; the hub's default when left out."},
        "efa": {
            "type": "boolean",
            "description": "Whether the node must have an Elastic Fabric Adapter.",
        },
        "drivers": _list(
            {"enum": ["nvidia", "nvidia-grid"]},
            "GPU driver families that the image works with; nvidia when left out.",
        ),
        "architectures": _list(
            {"enum": ["amd64", "arm64"]},
            "CPU architectures that the image is built for; amd64 when left out.",
        ),
        "local_disk": {
            **_QUANTITY,
            "description": "Of the node's own NVMe disks (200G); none when left out.",
        },
        "interruptions_per_hour_cap": {
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": MAX_RATE,
            "description": "Most often that Spot may be expected to take the node back.",
        },
        "capacity": {
            **_CAPACITY,
            "default": "spot",
            "description": "spot-then-on-demand tries Spot first and pays more when it must.",
        },
        "zones": _list(_ZONE, "Zones it may run in; any when left out."),
        "most_hours": {
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": MAX_HOURS,
            "description": "Hours after which a session ends; no end when left out.",
        },
        "usd_per_hour_cap": {
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": MAX_USD_PER_HOUR_MICRO // 1_000_000,
            "description": "Most USD per hour that a session's share of its node may cost.",
        },
        "groups": _list(
            {"type": "string", "minLength": 1, "maxLength": 255},
            "Groups of the hub that may use it; everybody when left out.",
        ),
        "choices": _CHOICES,
    },
    "slug",
)


def profile_schema() -> Schema:
    """JSON Schema of a profiles file: a list of profiles, or a mapping with the key profiles."""
    several: Schema = {
        "type": "array",
        "minItems": 1,
        "maxItems": MAX_PROFILES,
        "items": {"$ref": "#/$defs/profile"},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Profiles of jupyter_gpu_jit",
        "description": "What users may start. The first one a user may use is the default.",
        "anyOf": [several, _object({"profiles": several}, "profiles")],
        "$defs": {"profile": PROFILE},
    }
