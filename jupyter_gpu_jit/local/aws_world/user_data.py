"""What a node makes of its user data: does it join, as what, and does it give up by itself.

Reads the two forms that EKS images take: nodeadm's NodeConfig in a MIME message (AL2023) and
Bottlerocket's TOML. Pure; called by ``nodes`` and ``instances``.
"""

from __future__ import annotations

import base64
import binascii
import email
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

Json = dict[str, Any]
_NODE_CONFIG = "application/node.eks.aws"
_DEAD_MAN = re.compile(r"--on-active=(\d+)s?\b.*poweroff", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Joining:
    """``problem`` says why no kubelet could join with this; "" when one can."""

    cluster: str = ""
    endpoint: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Json, ...] = ()
    dead_man_seconds: float | None = None
    problem: str = ""


def read(encoded: str) -> Joining:
    """From base64, as EC2 hands it over; never raises."""
    try:
        text = base64.b64decode(encoded, validate=True).decode()
        found = _read_mime(text) if "MIME-Version" in text else _read_toml(text)
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error, yaml.YAMLError):
        return Joining(problem="The user data cannot be read.")
    if found.cluster and found.endpoint:
        return found
    return Joining(
        problem="The user data names no cluster or no endpoint.",
        dead_man_seconds=found.dead_man_seconds,
    )


def _read_mime(text: str) -> Joining:
    message = email.message_from_string(text)
    parts = {part.get_content_type(): str(part.get_payload()) for part in message.walk()}
    spec = (yaml.safe_load(parts.get(_NODE_CONFIG, "{}")) or {}).get("spec") or {}
    cluster, kubelet = spec.get("cluster") or {}, spec.get("kubelet") or {}
    flags = [str(flag) for flag in kubelet.get("flags") or ()]
    dead_man = _DEAD_MAN.search(text)
    return Joining(
        cluster=str(cluster.get("name") or ""),
        endpoint=str(cluster.get("apiServerEndpoint") or ""),
        labels=dict(_flag_labels(flags)),
        taints=(
            *((kubelet.get("config") or {}).get("registerWithTaints") or ()),
            *_flag_taints(flags),
        ),
        dead_man_seconds=float(dead_man[1]) if dead_man else None,
    )


def _values(flags: list[str], name: str) -> Iterator[str]:
    for flag in flags:
        key, _, value = flag.partition("=")
        if key == name:
            yield from filter(None, value.split(","))


def _flag_labels(flags: list[str]) -> Iterator[tuple[str, str]]:
    for one in _values(flags, "--node-labels"):
        key, _, value = one.partition("=")
        yield key, value


def _flag_taints(flags: list[str]) -> Iterator[Json]:
    for one in _values(flags, "--register-with-taints"):
        key, _, rest = one.partition("=")
        value, _, effect = rest.partition(":")
        yield {"key": key, "value": value, "effect": effect}


def _read_toml(text: str) -> Joining:
    settings = tomllib.loads(text)["settings"]["kubernetes"]
    taints = [
        {"key": key, "value": value, "effect": effect}
        for key, given in (settings.get("node-taints") or {}).items()
        for one in ([given] if isinstance(given, str) else given)
        for value, _, effect in [one.partition(":")]
    ]
    return Joining(
        cluster=str(settings.get("cluster-name") or ""),
        endpoint=str(settings.get("api-server") or ""),
        labels={key: str(value) for key, value in (settings.get("node-labels") or {}).items()},
        taints=tuple(taints),
    )
