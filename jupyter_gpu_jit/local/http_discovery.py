"""Discovery documents: how kubectl learns which kinds an API has; used by ``local.http_api``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..ports import PODS
from ..sim.objects import Rules

Json = dict[str, Any]

_VERBS = ["create", "delete", "get", "list", "patch", "watch"]
_SHORT_NAMES = {
    "pods": ["po"],
    "nodes": ["no"],
    "events": ["ev"],
    "namespaces": ["ns"],
    "services": ["svc"],
    "persistentvolumeclaims": ["pvc"],
    "persistentvolumes": ["pv"],
    "storageclasses": ["sc"],
    "gpunodeclaims": ["gnc"],
}
_VERSION = {"major": "1", "minor": "36", "gitVersion": "v1.36.0-gpu-jit", "platform": "memory"}


def describe(path: str, kinds: Iterable[Rules]) -> Json | None:
    """The document at this path, or None when discovery has none there."""
    served = tuple(kinds)
    parts = path.strip("/").split("/")
    match parts:
        case ["version"]:
            return _VERSION
        case ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"]}
        case ["apis"]:
            return _group_list(served)
        case ["api", version]:
            return _resources("", version, served)
        case ["apis", group]:
            return _group(group, served)
        case ["apis", group, version]:
            return _resources(group, version, served)
    return None


def _group_list(served: tuple[Rules, ...]) -> Json:
    names = sorted({rules.kind.group for rules in served} - {""})
    groups = [_group(name, served) for name in names]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def _group(name: str, served: tuple[Rules, ...]) -> Json | None:
    versions = sorted({r.kind.version for r in served if name and r.kind.group == name})
    if not versions:
        return None
    rows = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    head = {"kind": "APIGroup", "apiVersion": "v1", "name": name}
    return {**head, "versions": rows, "preferredVersion": rows[0]}


def _resources(group: str, version: str, served: tuple[Rules, ...]) -> Json | None:
    rows = [_resource(r) for r in served if (r.kind.group, r.kind.version) == (group, version)]
    if not rows:
        return None
    group_version = f"{group}/{version}" if group else version
    head = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version}
    return {**head, "resources": [row for rows_of_kind in rows for row in rows_of_kind]}


def _resource(rules: Rules) -> list[Json]:
    kind = rules.kind
    base: Json = {"name": kind.plural, "singularName": kind.kind.lower(), "kind": kind.kind}
    base |= {"namespaced": kind.namespaced, "verbs": _VERBS}
    rows = [{**base, "shortNames": _SHORT_NAMES.get(kind.plural, [])}]
    if rules.has_status:
        rows.append({**base, "name": f"{kind.plural}/status", "verbs": ["patch"]})
    if kind == PODS:
        binding = {"name": "pods/binding", "kind": "Binding", "verbs": ["create"]}
        rows.append({**base, **binding})
    return rows
