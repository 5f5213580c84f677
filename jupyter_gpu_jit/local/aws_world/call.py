"""What a request is, read without moto: service, action, parameters, who. Used by ``front``."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

Json = dict[str, Any]
Environ = dict[str, Any]
MOST_RECORDED_BYTES = 256 * 1024
_SCOPE = re.compile(r"Credential=([^/]+)/\d+/([^/]+)/([^/]+)/aws4_request")
_JSON_SERVICES = {
    "AWSEvents": "events",
    "AWSPriceListService": "pricing",
    "AmazonSQS": "sqs",
    "AmazonSSM": "ssm",
    "ServiceQuotasV20190624": "servicequotas",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request. ``principal`` is the access key that signed it, "" when nobody did."""

    service: str
    action: str
    region: str
    principal: str
    method: str
    path: str
    params: Json = field(default_factory=dict)


def read(environ: Environ) -> Call:
    """What this request asks; its body can be read again afterwards."""
    principal, region, service = _scope(environ)
    target = str(environ.get("HTTP_X_AMZ_TARGET") or "")
    prefix, _, action = target.rpartition(".")
    service = _JSON_SERVICES.get(prefix, service)
    params: Json = {}
    if service != "s3":
        action, params = _body(_take_body(environ), action)
    path, method = str(environ.get("PATH_INFO", "/")), str(environ.get("REQUEST_METHOD"))
    if not service and action.startswith("AssumeRole"):
        service = "sts"
    return Call(
        service=service or "s3",
        action=action or f"{method} {'/' if service in ('s3', '') else path}",
        region=region or "us-east-1",
        principal=principal,
        method=method,
        path=path,
        params=params,
    )


def _scope(environ: Environ) -> tuple[str, str, str]:
    found = _SCOPE.search(str(environ.get("HTTP_AUTHORIZATION") or ""))
    return (found[1], found[2], found[3].lower()) if found else ("", "", "")


def _take_body(environ: Environ) -> bytes:
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body: bytes = environ["wsgi.input"].read(length) if length else b""
    environ["wsgi.input"] = io.BytesIO(body)
    return body


def _body(body: bytes, action: str) -> tuple[str, Json]:
    """Action and parameters of a form or a JSON body."""
    if not body or len(body) > MOST_RECORDED_BYTES:
        return action, {}
    text = body.decode("utf-8", "replace")
    if text.startswith("{"):
        try:
            found = json.loads(text)
        except ValueError:
            return action, {}
        return action, found if isinstance(found, dict) else {}
    pairs = dict(parse_qsl(text, keep_blank_values=True))
    action = pairs.pop("Action", action)
    pairs.pop("Version", None)
    return action, nested(pairs)


def nested(pairs: Mapping[str, str]) -> Json:
    """``{"Filter.1.Name": "x"}`` as ``{"Filter": [{"Name": "x"}]}``."""
    tree: Json = {}
    for key, value in pairs.items():
        at = tree
        *parents, last = key.split(".")
        for part in parents:
            below = at.setdefault(part, {})
            at = below if isinstance(below, dict) else at
        at[last] = value
    listed = _listed(tree)
    return listed if isinstance(listed, dict) else {}


def _listed(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if node and all(key.isdigit() for key in node):
        return [_listed(node[key]) for key in sorted(node, key=int)]
    return {key: _listed(value) for key, value in node.items()}
