"""Label and field selectors, parsed as the API server parses them, for the in-memory cluster.

https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/ gives the grammar.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ..errors import Rejected

Json = Mapping[str, Any]
Predicate = Callable[[Json], bool]

_SET = re.compile(r"(\S+)\s+(in|notin)\s*\(([^()]*)\)")
_EQUAL = re.compile(r"([^\s=!]+)\s*(==|=|!=)\s*([^\s=!,]*)")
_EXISTS = re.compile(r"(!?)\s*([^\s=!()]+)")


def everything(_: Json) -> bool:
    """The empty selector."""
    return True


def label_predicate(selector: str) -> Predicate:
    """Whether an object's labels match. Raises Rejected when the selector cannot be parsed."""
    if not selector:
        return everything
    rows = [_label_row(part.strip()) for part in _split(selector)]
    return lambda obj: all(row(obj["metadata"].get("labels") or {}) for row in rows)


def _split(selector: str) -> list[str]:
    """At commas that are not inside a set's parentheses."""
    return re.split(r",(?![^(]*\))", selector)


def _label_row(text: str) -> Predicate:
    if match := _SET.fullmatch(text):
        key, operator, listed = match.groups()
        values = {value.strip() for value in listed.split(",")}
        return _member(key, values, wanted=operator == "in")
    if match := _EQUAL.fullmatch(text):
        key, operator, value = match.groups()
        return _member(key, {value}, wanted=operator != "!=")
    if match := _EXISTS.fullmatch(text):
        absent, key = match.groups()
        return lambda labels: (key in labels) is not bool(absent)
    raise Rejected(f"The label selector {text!r} cannot be parsed.", reason="BadRequest")


def _member(key: str, values: Collection[str], *, wanted: bool) -> Predicate:
    # A label that is absent satisfies != and notin, as on the real server.
    return lambda labels: (key in labels and labels[key] in values) is wanted


def field_predicate(selector: str, allowed: Collection[str]) -> Predicate:
    """Whether an object's fields match. Raises Rejected for fields the server does not index."""
    if not selector:
        return everything
    rows = [_field_row(part.strip(), allowed) for part in selector.split(",")]
    return lambda obj: all(row(obj) for row in rows)


def _field_row(text: str, allowed: Collection[str]) -> Predicate:
    match = _EQUAL.fullmatch(text)
    if match is None:
        raise Rejected(f"The field selector {text!r} cannot be parsed.", reason="BadRequest")
    path, operator, value = match.groups()
    if path not in allowed:
        raise Rejected(f"field label not supported: {path}", reason="BadRequest")
    wanted = operator != "!="
    return lambda obj: (_field(obj, path) == value) is wanted


def _field(obj: Json, path: str) -> str:
    value: Any = obj
    for step in path.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
