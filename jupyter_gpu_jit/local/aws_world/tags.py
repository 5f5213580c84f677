"""Tags that requests and launch templates ask for."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def tags_in(params: Json, kind: str) -> dict[str, str]:
    """The tags that a request or a template puts on one kind of resource."""
    return {
        str(tag["Key"]): str(tag.get("Value") or "")
        for spec in params.get("TagSpecifications") or ()
        if spec.get("ResourceType") == kind
        for tag in spec.get("Tags") or ()
    }
