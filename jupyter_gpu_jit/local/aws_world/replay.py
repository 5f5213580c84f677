"""Plays a recorded history again in a fresh world: ``python -m ...aws_world.replay LOG``.

``LOG`` is what ``GET /_world/log`` gave (of a world that is still as it began: same parameters).
Calls and control posts are made again at their own moments, by a clock that stands in between;
what differs from then is printed. S3 is not recorded with its bodies and is passed over.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPConnection, RemoteDisconnected
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from .handle import AwsWorld, WorldControl

Json = dict[str, Any]
LEFT_OUT = frozenset({"s3"})
_TARGETS = {
    "events": "AWSEvents",
    "pricing": "AWSPriceListService",
    "sqs": "AmazonSQS",
    "ssm": "AmazonSSM",
    "servicequotas": "ServiceQuotasV20190624",
}
VERSIONS = {"ec2": "2016-11-15", "sts": "2011-06-15", "iam": "2010-05-08"}
_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")
CALL_SECONDS = 60.0


def replay(lines: Sequence[Json], control: WorldControl) -> list[str]:
    """Do it all again; a sentence for each line that is not as it was."""
    began = next(line for line in lines if line["kind"] == "began")
    control.post("speed", speed=0.0)
    control.post("reset", seed=began["seed"], start=began["t"])
    for line in lines:
        _again(line, control)
    control.post("to", moment=lines[-1]["t"])
    return list(differences(lines, control.get("log")["lines"]))


def differences(before: Sequence[Json], after: Sequence[Json]) -> Iterator[str]:
    """Where two logs part; moments to the millisecond, so that text and float agree."""
    old, new = [_essence(line) for line in before], [_essence(line) for line in after]
    for number, (one, other) in enumerate(zip(old, new, strict=False)):
        if one != other:
            yield f"Line {number}: {json.dumps(one)[:300]} became {json.dumps(other)[:300]}"
    if len(old) != len(new):
        yield f"{len(old)} lines became {len(new)}."


def _essence(line: Json) -> Json:
    kept = {k: v for k, v in line.items() if k not in ("seq", "began")}
    # Where the world listened is in the URLs of its queues.
    found: Json = json.loads(_ADDRESS.sub("", json.dumps({**kept, "t": round(line["t"], 3)})))
    return found


def _again(line: Json, control: WorldControl) -> None:
    if line["kind"] not in ("call", "control"):
        return
    moment = line.get("began", line["t"])
    control.post("to", moment=moment)
    if line["kind"] == "control":
        control.post(line["name"], **line["body"])
    elif line["service"] not in LEFT_OUT:
        _call(line, control)


def _call(line: Json, control: WorldControl) -> None:
    where = urlsplit(control.url)
    connection = HTTPConnection(str(where.hostname), where.port, timeout=CALL_SECONDS)
    headers, body = _message(line)
    with contextlib.closing(connection), contextlib.suppress(RemoteDisconnected, ConnectionError):
        connection.request(line["method"], line["path"], body=body, headers=headers)
        connection.getresponse().read()


def _message(line: Json) -> tuple[dict[str, str], bytes]:
    """Headers and body as that service's clients send them; the signature is made up."""
    service = line["service"]
    scope = f"{line['principal'] or 'nobody'}/20270101/{line['region']}/{service}/aws4_request"
    headers = {"Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host"}
    if service in _TARGETS:
        headers["X-Amz-Target"] = f"{_TARGETS[service]}.{line['action']}"
        headers["Content-Type"] = "application/x-amz-json-1.0"
        return headers, json.dumps(line["params"]).encode()
    if service not in VERSIONS:
        return headers, b""
    headers["Content-Type"] = "application/x-www-form-urlencoded"
    form = {"Action": line["action"], "Version": VERSIONS[service], **flat(line["params"])}
    return headers, urlencode(form).encode()


def flat(node: Any, prefix: str = "") -> dict[str, str]:
    """The reverse of ``call.nested``."""
    if isinstance(node, Mapping):
        items = [(str(key), value) for key, value in node.items()]
    elif isinstance(node, list):
        items = [(str(number), value) for number, value in enumerate(node, start=1)]
    else:
        return {prefix: str(node)}
    pairs: dict[str, str] = {}
    for key, value in items:
        pairs |= flat(value, f"{prefix}.{key}" if prefix else key)
    return pairs


def main(path: str) -> int:
    """Replay a file; 1 when something came out otherwise."""
    lines = json.loads(Path(path).read_text(encoding="utf-8"))["lines"]
    with AwsWorld(speed=0.0) as world:
        found = replay(lines, world.control)
    print("\n".join(found) or "Everything came out as it did then.")  # noqa: T201
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
