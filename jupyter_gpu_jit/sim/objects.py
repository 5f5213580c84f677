"""What the API server knows about each kind: defaults, what an update may change, deletion.

Used by ``sim.cluster`` only. Semantics follow Kubernetes 1.36 as the contract suite
(tests/contract) sees them on a real server; pods and storage
have their own modules, ``sim.pods`` and ``sim.storage``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..core.quantity import parse_time
from ..errors import Conflict, Rejected
from ..ports import (
    CLAIMS,
    EVENTS,
    LEASES,
    NODES,
    PODS,
    STORAGE_CLASSES,
    VOLUME_ATTACHMENTS,
    VOLUME_CLAIMS,
    VOLUMES,
    Kind,
)
from . import pods, storage

Json = dict[str, Any]

NAMESPACES = Kind("", "v1", "namespaces", "Namespace", False)
SERVICES = Kind("", "v1", "services", "Service", True)
SECRETS = Kind("", "v1", "secrets", "Secret", True)

NOT_READY_TAINT = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
"""Admission puts it on every new node; the node lifecycle controller takes it away when Ready."""

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAME_LIMIT = 253
_SERVER_OWNED = (
    "uid",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
    "namespace",
)


def _nothing(_: Json) -> None:
    """No defaults."""


def _anything(_old: Json, _new: Json) -> None:
    """No limits to an update."""


def _at_once(_: Json, _grace_seconds: int | None) -> int:
    """No grace period: only finalizers hold the object back."""
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """One kind's behaviour; ``fields`` are those a field selector may name besides metadata's.

    ``keeps_status_at_create`` and ``status_writes_labels`` differ between kinds on the real
    server; ``custom`` objects carry apiVersion and kind inside lists, built-in ones do not.
    """

    kind: Kind
    fields: tuple[str, ...] = ()
    has_status: bool = False
    keeps_status_at_create: bool = False
    status_writes_labels: bool = False
    counts_generation: bool = False
    custom: bool = False
    prepare: Callable[[Json], None] = _nothing
    check: Callable[[Json, Json], None] = _anything
    check_status: Callable[[Json, Json], None] = _anything
    grace: Callable[[Json, int | None], int] = _at_once

    @property
    def selectable(self) -> tuple[str, ...]:
        """Every field a selector may name."""
        return ("metadata.name", "metadata.namespace", *self.fields)


def _prepare_node(node: Json) -> None:
    node.setdefault("spec", {})
    node.setdefault("status", {})
    if _ready(node) != "True":
        _taint(node["spec"], present=True)


def _ready(node: Json) -> str:
    rows = node.get("status", {}).get("conditions") or ()
    return next((row["status"] for row in rows if row["type"] == "Ready"), "")


def _taint(spec: Json, *, present: bool) -> None:
    kept = [taint for taint in spec.get("taints") or () if taint != NOT_READY_TAINT]
    spec["taints"] = [*kept, dict(NOT_READY_TAINT)] if present else kept
    if not spec["taints"]:
        del spec["taints"]


def _check_node_status(old: Json, new: Json) -> None:
    """What the node lifecycle controller does a moment later: a taint while not Ready."""
    if _ready(old) != _ready(new):
        new["spec"] = dict(new["spec"])
        _taint(new["spec"], present=_ready(new) != "True")


def _check_node(old: Json, new: Json) -> None:
    before = old["spec"].get("providerID")
    if before and new.get("spec", {}).get("providerID") != before:
        raise Rejected(
            "Forbidden: node updates may only change labels, taints, or capacity; "
            "spec.providerID is set already.",
            reason="Invalid",
        )


def _prepare_lease(lease: Json) -> None:
    lease.setdefault("spec", {})


def _prepare_claim(claim: Json) -> None:
    """The rules of the custom resource's definition (hub_config/crd.yaml) a bug would break."""
    spec = claim.get("spec") or {}
    missing = [key for key in ("clusterID", "hubID", "batch", "offerings") if not spec.get(key)]
    if missing:
        raise Rejected(f"spec.{missing[0]}: Required value", reason="Invalid")
    if claim["metadata"]["name"] not in (spec["batch"].get("claims") or ()):
        raise Rejected("spec.batch.claims must contain metadata.name", reason="Invalid")


def _check_claim(old: Json, new: Json) -> None:
    if old["spec"] != new.get("spec"):
        raise Rejected("spec: Invalid value: spec is immutable", reason="Invalid")


def _check_claim_status(old: Json, new: Json) -> None:
    before = (old.get("status") or {}).get("providerID")
    if before and (new.get("status") or {}).get("providerID") != before:
        raise Rejected("status.providerID is set once and stays", reason="Invalid")


def _prepare_event(event: Json) -> None:
    namespace = event.get("involvedObject", {}).get("namespace", "")
    # Events about cluster-scoped objects live in "default".
    if event["metadata"]["namespace"] != (namespace or "default"):
        raise Rejected("involvedObject.namespace: does not match event.namespace", reason="Invalid")
    for key in ("eventTime", "firstTimestamp", "lastTimestamp"):
        event.setdefault(key, None)
    event.setdefault("source", {})
    event.setdefault("reportingComponent", "")
    event.setdefault("reportingInstance", "")


def _prepare_namespace(namespace: Json) -> None:
    namespace["spec"] = {"finalizers": ["kubernetes"]}
    namespace["status"] = {"phase": "Active"}
    labels = namespace["metadata"].setdefault("labels", {})
    labels["kubernetes.io/metadata.name"] = namespace["metadata"]["name"]


def _prepare_secret(secret: Json) -> None:
    secret.setdefault("type", "Opaque")


_EVENT_FIELDS = (
    *(f"involvedObject.{f}" for f in ("kind", "namespace", "name", "uid", "apiVersion")),
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
)

KNOWN = (
    Rules(
        kind=PODS,
        fields=pods.FIELDS,
        has_status=True,
        status_writes_labels=True,
        counts_generation=True,
        prepare=pods.prepare,
        check=pods.check,
        grace=pods.grace,
    ),
    Rules(
        kind=NODES,
        fields=("spec.unschedulable",),
        has_status=True,
        keeps_status_at_create=True,
        status_writes_labels=True,
        prepare=_prepare_node,
        check=_check_node,
        check_status=_check_node_status,
    ),
    Rules(kind=EVENTS, fields=_EVENT_FIELDS, prepare=_prepare_event),
    Rules(kind=LEASES, prepare=_prepare_lease),
    Rules(
        kind=CLAIMS,
        has_status=True,
        counts_generation=True,
        custom=True,
        prepare=_prepare_claim,
        check=_check_claim,
        check_status=_check_claim_status,
    ),
    Rules(kind=NAMESPACES, fields=("status.phase",), prepare=_prepare_namespace),
    Rules(kind=SERVICES),
    Rules(kind=SECRETS, fields=("type",), prepare=_prepare_secret),
    Rules(
        kind=VOLUME_CLAIMS,
        has_status=True,
        prepare=storage.prepare_claim,
        check=storage.check_claim,
    ),
    Rules(
        kind=VOLUMES,
        has_status=True,
        prepare=storage.prepare_volume,
        check=storage.check_volume,
    ),
    Rules(kind=STORAGE_CLASSES, prepare=storage.prepare_class, check=storage.check_class),
    Rules(kind=VOLUME_ATTACHMENTS, has_status=True),
)
"""The kinds a new cluster serves."""


def merge(target: Any, patch: Any) -> Any:
    """RFC 7386 merge patch; neither argument is changed."""
    if not isinstance(patch, dict):
        return copy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def copy(value: Any) -> Any:
    """A deep copy of JSON (copy.deepcopy takes ten times as long)."""
    if isinstance(value, dict):
        return {key: copy(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [copy(item) for item in value]
    return value


def without_nulls(value: Any) -> Any:
    """A deep copy without the keys that are null: to the server those were never sent."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [without_nulls(item) for item in value]
    return value


def check_body(rules: Rules, body: Json, namespace: str) -> None:
    """Whether a create's body fits its address. Raises Rejected."""
    kind = rules.kind
    expected = {"apiVersion": kind.api_version, "kind": kind.kind}
    for key, value in expected.items():
        if body.get(key, value) != value:
            raise Rejected(f"The object's {key} must be {value}.", reason="BadRequest")
    meta = body.get("metadata") or {}
    if meta.get("resourceVersion"):
        raise Rejected(
            "resourceVersion should not be set on objects to be created", reason="BadRequest"
        )
    if meta.get("namespace", namespace) not in ("", namespace):
        raise Rejected(
            "The namespace of the object does not match the namespace of the request.",
            reason="BadRequest",
        )


def check_name(name: str) -> None:
    """Whether the name is a DNS subdomain. Raises Rejected."""
    if not name:
        raise Rejected("name or generateName is required", reason="Invalid")
    if len(name) > _NAME_LIMIT or _NAME.fullmatch(name) is None:
        raise Rejected(f"metadata.name: {name!r} is not a DNS subdomain.", reason="Invalid")


def without_server_fields(meta: Json) -> Json:
    """Metadata of a new object as the client may set it."""
    return {key: copy(value) for key, value in meta.items() if key not in _SERVER_OWNED}


def updated(rules: Rules, old: Json, patch: Json, *, status: bool) -> Json:
    """The object after a merge patch through the main door or the status door.

    Raises Conflict for a stale resourceVersion or another uid, Rejected for what may not change.
    """
    new: Json = merge(old, patch)
    _check_identity(old, new)
    _keep_server_fields(rules, old, new)
    if status:
        _keep_all_but_status(rules, old, new)
    elif rules.has_status:
        _keep_status(old, new)
    if status:
        rules.check_status(old, new)
    else:
        _check_finalizers(old["metadata"], new["metadata"])
        rules.check(old, new)
        if rules.counts_generation and _rest(old) != _rest(new):
            new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
    return new


def _check_identity(old: Json, new: Json) -> None:
    before, after = old["metadata"], new.get("metadata") or {}
    if after.get("name") != before["name"]:
        raise Rejected("The name of the object does not match the URL.", reason="BadRequest")
    if after.get("namespace") != before.get("namespace"):
        raise Rejected("The namespace of the object does not match the URL.", reason="BadRequest")
    if after.get("uid") != before["uid"]:
        raise Rejected("metadata.uid: Invalid value: field is immutable", reason="Invalid")
    if after.get("resourceVersion") != before["resourceVersion"]:
        raise Conflict(f"{before['name']} has been modified; read it again and repeat the change.")


def _keep_server_fields(rules: Rules, old: Json, new: Json) -> None:
    for key in _SERVER_OWNED:
        if key in old["metadata"]:
            new["metadata"][key] = old["metadata"][key]
        else:
            new["metadata"].pop(key, None)
    new["apiVersion"], new["kind"] = rules.kind.api_version, rules.kind.kind


def _keep_status(old: Json, new: Json) -> None:
    new.pop("status", None)
    if "status" in old:
        new["status"] = old["status"]


def _keep_all_but_status(rules: Rules, old: Json, new: Json) -> None:
    kept = dict(old["metadata"])
    if rules.status_writes_labels:
        for key in ("labels", "annotations"):
            kept.pop(key, None)
            if key in new["metadata"]:
                kept[key] = new["metadata"][key]
    status = new.get("status")
    new.clear()
    new.update({key: value for key, value in old.items() if key != "status"}, metadata=kept)
    if status is not None:
        new["status"] = status


def _check_finalizers(before: Json, after: Json) -> None:
    added = set(after.get("finalizers") or ()) - set(before.get("finalizers") or ())
    if added and "deletionTimestamp" in before:
        raise Rejected(
            "metadata.finalizers: Forbidden: no new finalizers can be added "
            "if the object is being deleted",
            reason="Invalid",
        )


def _rest(obj: Json) -> Json:
    return {key: value for key, value in obj.items() if key not in ("metadata", "status")}


def check_preconditions(obj: Json, *, uid: str, resource_version: str) -> None:
    """Whether a delete meant this very object. Raises Conflict."""
    meta = obj["metadata"]
    for key, wanted in (("uid", uid), ("resourceVersion", resource_version)):
        if wanted and meta[key] != wanted:
            raise Conflict(f"{meta['name']}: the {key} in the precondition is not the object's.")


def after_delete(
    rules: Rules, obj: Json, grace_seconds: int | None, now: float
) -> tuple[Json, bool]:
    """What a delete writes first (maybe the same object), and whether the object then goes.

    A pod is always marked first, so that its watchers see why it goes; others only when a
    finalizer holds them.
    """
    meta = obj["metadata"]
    held = bool(meta.get("finalizers"))
    if "deletionTimestamp" not in meta:
        grace = rules.grace(obj, grace_seconds)
        mark = held or rules.kind == PODS
        return (_marked(obj, grace=grace, at=now) if mark else obj), not held and not grace
    pending = meta.get("deletionGracePeriodSeconds", 0)
    if pending and (grace_seconds is None or grace_seconds >= pending):
        return obj, False
    if not pending:
        return obj, not held
    asked_at = parse_time(meta["deletionTimestamp"]) - pending
    return _marked(obj, grace=grace_seconds or 0, at=asked_at), not held and not grace_seconds


def _marked(obj: Json, *, grace: int, at: float) -> Json:
    meta = dict(obj["metadata"])
    meta["deletionTimestamp"] = pods.stamp(at + grace)
    meta["deletionGracePeriodSeconds"] = grace
    if "generation" in meta and "deletionTimestamp" not in obj["metadata"]:
        meta["generation"] += 1
    return {**obj, "metadata": meta}


def is_done(obj: Json) -> bool:
    """Whether nothing holds a deleted object any more."""
    meta = obj["metadata"]
    return (
        "deletionTimestamp" in meta
        and not meta.get("finalizers")
        and not meta.get("deletionGracePeriodSeconds")
    )
