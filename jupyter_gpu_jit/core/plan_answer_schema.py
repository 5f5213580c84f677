"""The JSON Schema of what ``gpu-jit plan --json`` prints.

docs/wire/plan-answer.json is its copy for readers (a test keeps both equal).
"""

from __future__ import annotations

from .planfile_schema import DRAFT, Schema

_TEXT: Schema = {"type": "string"}
_WHOLE: Schema = {"type": "integer", "minimum": 0}
_USD: Schema = {"type": "number", "minimum": 0}


def _all(properties: Schema, **more: Schema) -> Schema:
    """A mapping with all of ``properties``, and perhaps ``more``."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(properties),
        "properties": {**properties, **more},
    }


def _several(items: Schema) -> Schema:
    return {"type": "array", "items": items}


_SIZE = _all(
    {
        "cpu": {**_TEXT, "description": "Kubernetes quantity."},
        "memory": {**_TEXT, "description": "Kubernetes quantity."},
        "gpus": {"type": "integer"},
        "pods": {"type": "integer"},
    }
)
_SOME = {"request": {**_WHOLE, "description": "Index in requests."}, "slug": _TEXT, "count": _WHOLE}
_OFFERING = {
    "type": _TEXT,
    "zone": _TEXT,
    "capacity_type": {"enum": ["spot", "on-demand"]},
    "usd_per_hour": _USD,
}
_NODE = _all(
    {
        "name": _TEXT,
        "state": {"enum": ["new", "ready", "in-flight"]},
        **_OFFERING,
        "extra_usd_per_hour": {**_USD, "description": "Root disk, expected interruptions."},
        "gpu_model": _TEXT,
        "layout": {**_TEXT, "description": "What its GPUs are divided into; empty: nothing."},
        "allocatable": _SIZE,
        "free": {**_SIZE, "description": "Allocatable less all sessions, old and new."},
        "sessions": _several(_all(_SOME)),
        "held": {
            **_several(_all({"slug": _TEXT, "count": _WHOLE, "each": _SIZE})),
            "description": "Sessions that were there already.",
        },
        "also": {
            **_several(_all(_OFFERING, interruptions_per_hour=_USD)),
            "description": "Other offerings that would hold the same sessions, cheapest first.",
        },
        "why": _TEXT,
    },
    interruptions_per_hour=_USD,
)
_REFUSED = _all(
    {
        **_SOME,
        "reason": _TEXT,
        "message": _TEXT,
        "temporary": {"type": "boolean", "description": "Whether waiting may help."},
        "excluded": {
            **_several(_all({"requirement": _TEXT, "offerings": _WHOLE})),
            "description": "How many offerings each requirement removed, in order.",
        },
    }
)


def answer_schema() -> Schema:
    """JSON Schema of the answer; money is USD per hour."""
    body = _all(
        {
            "v": {"const": 1},
            "catalogue": _TEXT,
            "bare": {"type": "boolean"},
            "usd_per_hour": {**_USD, "description": "Of the new nodes together."},
            "extra_usd_per_hour": {
                **_USD,
                "description": "Their root disks and what interruptions are expected to cost.",
            },
            "cost_usd_per_hour": {**_USD, "description": "Both together: what is bounded."},
            "lower_bound_usd_per_hour": {**_USD, "description": "No plan costs less."},
            "gap": {
                "type": ["number", "null"],
                "description": "Cost over bound, less 1; null without a bound.",
            },
            "proven": {"type": "boolean", "description": "Whether no plan is cheaper."},
            "seconds": {"type": "number", "description": "What the solve took."},
            "existing_usd_per_hour": {**_USD, "description": "Of the nodes that were there."},
            "requests": _several(_all({"slug": _TEXT, "count": _WHOLE, "each": _SIZE})),
            "nodes": _several(_NODE),
            "existing": _several(_NODE),
            "refused": _several(_REFUSED),
            "notes": _several(_TEXT),
        }
    )
    return {"$schema": DRAFT, "title": "Answer of gpu-jit plan", **body}
