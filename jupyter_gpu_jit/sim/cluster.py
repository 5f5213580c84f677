"""An in-memory Kubernetes API: the simulator's cluster, and what the demo serves over HTTP.

Implements ``ports.Cluster`` with the API server's own semantics (versions, watches, conflicts,
gates, bindings, graceful deletion); the contract suite holds it against a real server. It
schedules nothing and runs nothing: see ``sim.binder`` and ``sim.kubelet``.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import AlreadyExists, Expired, NotFound, Rejected, Unavailable
from ..ports import PODS, Clock, Ids, Kind, Listing, WatchEvent
from . import pods
from .objects import (
    KNOWN,
    NAMESPACES,
    Rules,
    after_delete,
    check_body,
    check_name,
    check_preconditions,
    copy,
    is_done,
    updated,
    without_nulls,
    without_server_fields,
)
from .selectors import Predicate, field_predicate, label_predicate

Json = dict[str, Any]
Key = tuple[str, str]

_FIRST_VERSION = 100
"""So that a watch from "1" is too old, as it is on any real server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One write: ``type`` is ADDED, MODIFIED or DELETED; ``old`` is what was there before.

    The objects are the stored ones: look, do not touch.
    """

    type: str
    kind: Kind
    version: int
    object: Json
    old: Json | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchLimits:
    """When the server speaks up or hangs up: bookmarks, and a length drawn from a range."""

    bookmark_seconds: float = 60.0
    shortest_seconds: float = 1800.0
    longest_seconds: float = 3600.0
    history: int = 10_000


class MemoryCluster:
    """The API server and its store. ``on_change`` callables see every change, synchronously."""

    def __init__(
        self,
        clock: Clock,
        ids: Ids,
        *,
        seed: int = 0,
        namespaces: Sequence[str] = ("gpu-jit",),
        limits: WatchLimits | None = None,
    ) -> None:
        self.on_change: list[Callable[[Change], None]] = []
        self._clock, self._ids, self._rng = clock, ids, random.Random(seed)
        self._limits = limits or WatchLimits()
        self._rules: dict[Kind, Rules] = {}
        self._objects: dict[Kind, dict[Key, Json]] = {}
        self._version = self._compacted = _FIRST_VERSION
        self._history: list[Change] = []
        self._wakers: dict[int, asyncio.Event] = {}
        for rules in KNOWN:
            self.register(rules)
        for name in ("default", "kube-system", "kube-node-lease", *namespaces):
            self._create(self._rules[NAMESPACES], {"metadata": {"name": name}}, "")

    # --- what the simulator and the HTTP face need besides the port -----------------------------

    def register(self, rules: Rules) -> None:
        """Serve one more kind."""
        self._rules[rules.kind] = rules
        self._objects.setdefault(rules.kind, {})

    @property
    def kinds(self) -> tuple[Rules, ...]:
        """Everything that is served."""
        return tuple(self._rules.values())

    def peek(self, kind: Kind) -> list[Json]:
        """Stored objects in order of namespace and name, for invariant checkers: do not touch."""
        objects = self._objects[kind]
        return [objects[key] for key in sorted(objects)]

    def compact(self) -> None:
        """Forget the history: watches from older versions get Expired."""
        self._history.clear()
        self._compacted = self._version

    # --- ports.Cluster --------------------------------------------------------------------------

    async def list(
        self, kind: Kind, *, namespace: str = "", label_selector: str = "", field_selector: str = ""
    ) -> Listing:
        """See ports.Cluster."""
        rules = self._rules_of(kind)
        matches = self._matcher(rules, namespace, label_selector, field_selector)
        await asyncio.sleep(0)
        return self._listing(rules, self._version, matches)

    async def list_as_of(
        self, kind: Kind, version: int, *, namespace: str = "", label_selector: str = ""
    ) -> Listing:
        """A list from history, as a cache that is behind gives it. Raises Expired."""
        rules = self._rules_of(kind)
        matches = self._matcher(rules, namespace, label_selector, "")
        await asyncio.sleep(0)
        return self._listing(rules, version, matches)

    async def get(self, kind: Kind, name: str, *, namespace: str = "") -> Json:
        """See ports.Cluster."""
        rules = self._rules_of(kind)
        await asyncio.sleep(0)
        return _copied(self._find(rules, name, namespace))

    async def create(
        self, kind: Kind, body: Json, *, namespace: str = "", name: str = "", subresource: str = ""
    ) -> Json:
        """See ports.Cluster."""
        rules = self._rules_of(kind)
        await asyncio.sleep(0)
        if subresource:
            self._bind(rules, name, namespace, body, subresource)
            stored: Json = {"kind": "Status", "apiVersion": "v1", "metadata": {}}
            stored |= {"status": "Success", "code": 201}
        else:
            stored = _copied(self._create(rules, without_nulls(body), namespace))
        await asyncio.sleep(0)
        return stored

    async def patch(
        self, kind: Kind, name: str, patch: Json, *, namespace: str = "", subresource: str = ""
    ) -> Json:
        """See ports.Cluster."""
        rules = self._rules_of(kind)
        if subresource not in ("", "status") or (subresource and not rules.has_status):
            raise _no_resource(kind, subresource)
        await asyncio.sleep(0)
        old = self._find(rules, name, namespace)
        new = updated(rules, old, copy(patch), status=subresource == "status")
        stored = _copied(self._store(rules, old, new))
        await asyncio.sleep(0)
        return stored

    async def delete(
        self,
        kind: Kind,
        name: str,
        *,
        namespace: str = "",
        uid: str = "",
        resource_version: str = "",
        grace_seconds: int | None = None,
    ) -> None:
        """See ports.Cluster."""
        await self.remove(
            kind,
            name,
            namespace=namespace,
            uid=uid,
            resource_version=resource_version,
            grace_seconds=grace_seconds,
        )

    async def remove(
        self,
        kind: Kind,
        name: str,
        *,
        namespace: str = "",
        uid: str = "",
        resource_version: str = "",
        grace_seconds: int | None = None,
    ) -> Json:
        """As ``delete``, but answers what the HTTP face has to show: the object as it was left."""
        rules = self._rules_of(kind)
        await asyncio.sleep(0)
        old = self._find(rules, name, namespace)
        check_preconditions(old, uid=uid, resource_version=resource_version)
        marked, goes = after_delete(rules, old, grace_seconds, self._clock.now())
        stored = old if marked is old else self._apply("MODIFIED", kind, marked, old)
        if goes:
            stored = self._remove(rules, stored)
        await asyncio.sleep(0)
        return _copied(stored)

    def watch(
        self,
        kind: Kind,
        *,
        resource_version: str,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        timeout_seconds: float | None = None,
    ) -> AsyncIterator[WatchEvent]:
        """See ports.Cluster; without ``timeout_seconds`` it ends after half an hour to an hour."""
        rules = self._rules_of(kind)
        matches = self._matcher(rules, namespace, label_selector, field_selector)
        return self._watch(rules, resource_version, matches, timeout_seconds)

    # --- reading --------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """The resource version of now."""
        return self._version

    @property
    def oldest_version(self) -> int:
        """The oldest version that history reaches back to."""
        return self._compacted

    def _listing(self, rules: Rules, version: int, matches: Predicate) -> Listing:
        items = [copy(obj) for obj in self._at(rules.kind, version) if matches(obj)]
        if not rules.custom:
            for item in items:
                del item["apiVersion"], item["kind"]
        return Listing(items=tuple(items), resource_version=str(version))

    def _at(self, kind: Kind, version: int) -> Sequence[Json]:
        """Objects as they were at that version, in order of namespace and name."""
        objects = dict(self._objects[kind])
        for change in reversed(self._since(version)):
            if change.kind == kind:
                meta = change.object["metadata"]
                key = (meta.get("namespace", ""), meta["name"])
                objects.pop(key, None)
                if change.old is not None:
                    objects[key] = change.old
        return [objects[key] for key in sorted(objects)]

    def _rules_of(self, kind: Kind) -> Rules:
        if kind not in self._rules:
            raise _no_resource(kind, "")
        return self._rules[kind]

    def _find(self, rules: Rules, name: str, namespace: str) -> Json:
        found = self._objects[rules.kind].get((namespace, name))
        if found is None:
            raise NotFound(f'{rules.kind.plural} "{name}" not found')
        return found

    def _matcher(self, rules: Rules, namespace: str, labels: str, fields: str) -> Predicate:
        by_label = label_predicate(labels)
        by_field = field_predicate(fields, rules.selectable)

        def matches(obj: Any) -> bool:
            here = not namespace or obj["metadata"].get("namespace") == namespace
            return here and by_label(obj) and by_field(obj)

        return matches

    # --- writing --------------------------------------------------------------------------------

    def _create(self, rules: Rules, body: Json, namespace: str) -> Json:
        check_body(rules, body, namespace)
        self._check_namespace(rules.kind, namespace)
        meta = without_server_fields(body.get("metadata") or {})
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = self._ids.new(meta["generateName"])
        check_name(meta.get("name", ""))
        if (namespace, meta["name"]) in self._objects[rules.kind]:
            raise AlreadyExists(f'{rules.kind.plural} "{meta["name"]}" already exists')
        obj = {**body, "apiVersion": rules.kind.api_version, "kind": rules.kind.kind}
        obj["metadata"] = self._stamped(rules, meta, namespace)
        if rules.has_status and not rules.keeps_status_at_create:
            obj.pop("status", None)
        rules.prepare(obj)
        return self._apply("ADDED", rules.kind, obj, None)

    def _check_namespace(self, kind: Kind, namespace: str) -> None:
        if kind.namespaced and not namespace:
            raise Rejected("A namespace is required to create this object.", reason="BadRequest")
        if kind.namespaced and ("", namespace) not in self._objects[NAMESPACES]:
            raise NotFound(f'namespaces "{namespace}" not found')

    def _stamped(self, rules: Rules, meta: Json, namespace: str) -> Json:
        meta["uid"] = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        meta["creationTimestamp"] = pods.stamp(self._clock.now())
        if rules.kind.namespaced:
            meta["namespace"] = namespace
        if rules.counts_generation:
            meta["generation"] = 1
        return meta

    def _bind(self, rules: Rules, name: str, namespace: str, body: Json, subresource: str) -> None:
        if rules.kind != PODS or subresource != "binding":
            raise _no_resource(rules.kind, subresource)
        old = self._find(rules, name, namespace)
        uid = (body.get("metadata") or {}).get("uid", "")
        check_preconditions(old, uid=uid, resource_version="")
        self._store(rules, old, pods.bind(old, body, self._clock.now()))

    def _store(self, rules: Rules, old: Json, new: Json) -> Json:
        """Write a changed object; an unchanged one keeps its version, as in etcd."""
        if new == old:
            return old
        if is_done(new):
            return self._remove(rules, new)
        return self._apply("MODIFIED", rules.kind, new, old)

    def _remove(self, rules: Rules, obj: Json) -> Json:
        old = self._find(rules, obj["metadata"]["name"], obj["metadata"].get("namespace", ""))
        return self._apply("DELETED", rules.kind, obj, old)

    def _apply(self, type: str, kind: Kind, obj: Json, old: Json | None) -> Json:
        """The one place where anything changes."""
        self._version += 1
        stored = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self._version)}}
        key = (stored["metadata"].get("namespace", ""), stored["metadata"]["name"])
        if type == "DELETED":
            del self._objects[kind][key]
        else:
            self._objects[kind][key] = stored
        change = Change(type=type, kind=kind, version=self._version, object=stored, old=old)
        self._remember(change)
        for hook in self.on_change:
            hook(change)
        return stored

    def _remember(self, change: Change) -> None:
        self._history.append(change)
        # Cut in halves, so that the cost per change stays constant.
        if len(self._history) > 2 * self._limits.history:
            cut = len(self._history) - self._limits.history
            self._compacted = self._history[cut - 1].version
            del self._history[:cut]
        for waker in self._wakers.values():
            waker.set()

    # --- watching -------------------------------------------------------------------------------

    async def _watch(
        self, rules: Rules, start: str, matches: Predicate, timeout_seconds: float | None
    ) -> AsyncIterator[WatchEvent]:
        now = self._clock.now()
        length = self._limits.shortest_seconds + self._rng.random() * (
            self._limits.longest_seconds - self._limits.shortest_seconds
        )
        end = now + (length if timeout_seconds is None else timeout_seconds)
        position = self._version
        if start in ("", "0"):
            for obj in self.peek(rules.kind):
                if matches(obj):
                    yield WatchEvent("ADDED", _copied(obj))
        else:
            position = _parsed_version(start)
        waker = asyncio.Event()
        self._wakers[id(waker)] = waker
        try:
            async for event in self._follow(rules.kind, position, matches, waker, end):
                yield event
        finally:
            del self._wakers[id(waker)]

    async def _follow(
        self, kind: Kind, position: int, matches: Predicate, waker: asyncio.Event, end: float
    ) -> AsyncIterator[WatchEvent]:
        while True:
            waker.clear()
            for change in self._since(position):
                position = change.version
                event = _seen_through(change, kind, matches)
                if event is not None:
                    yield event
            if waker.is_set():
                continue  # Something was written while the consumer held the last event.
            position = self._version
            left = end - self._clock.now()
            if left <= 0:
                return
            if not await _woken(waker, min(left, self._limits.bookmark_seconds)):
                yield _bookmark(kind, position)

    def _since(self, position: int) -> Sequence[Change]:
        if position < self._compacted:
            raise Expired(f"too old resource version: {position} ({self._version})")
        if position > self._version:
            raise Unavailable(
                f"Too large resource version: {position}, current: {self._version}",
                reason="Timeout",
                retry_after_seconds=1.0,
            )
        return self._history[bisect_right(self._history, position, key=lambda c: c.version) :]


async def _woken(waker: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await waker.wait()
    except TimeoutError:
        return False
    return True


def _parsed_version(text: str) -> int:
    if not text.isdigit():
        raise Rejected(f"resourceVersion {text!r} is not a number.", reason="Invalid")
    return int(text)


def _seen_through(change: Change, kind: Kind, matches: Predicate) -> WatchEvent | None:
    """A change as a watch with a selector sees it: leaving the selection is a deletion."""
    if change.kind != kind:
        return None
    before = change.old is not None and matches(change.old)
    after = change.type != "DELETED" and matches(change.object)
    if after:
        return WatchEvent("MODIFIED" if before else "ADDED", _copied(change.object))
    if not before:
        return None
    if change.type == "DELETED" or change.old is None:
        return WatchEvent("DELETED", _copied(change.object))
    last = _copied(change.old)
    last["metadata"]["resourceVersion"] = str(change.version)
    return WatchEvent("DELETED", last)


def _bookmark(kind: Kind, position: int) -> WatchEvent:
    body = {"apiVersion": kind.api_version, "kind": kind.kind}
    return WatchEvent("BOOKMARK", {**body, "metadata": {"resourceVersion": str(position)}})


def _copied(obj: Json) -> Json:
    result: Json = copy(obj)
    return result


def _no_resource(kind: Kind, subresource: str) -> NotFound:
    path = f"{kind.plural}/{subresource}" if subresource else kind.plural
    return NotFound(f"the server could not find the requested resource ({path})")
