"""The outer WSGI layer: records every call and does what faults say, around moto.

Order: control endpoints, an injected fault, throttling, the services that moto lacks, moto. EC2
is one at a time under the world's lock, so that a history has one order; long polls of SQS are not.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any
from xml.sax.saxutils import escape

from . import services
from .call import Call, Environ, read
from .control import Control
from .errors import AwsError
from .faults import Fault, Faults
from .world import World

_LOG = logging.getLogger(__name__)
Json = dict[str, Any]
Start = Callable[..., Any]
Answer = tuple[str, list[tuple[str, str]], bytes]
CONSTANT = ("DescribeInstanceTypes", "DescribeInstanceTypeOfferings")
XML_SERVICES = ("ec2", "sts", "iam", "s3", "cloudformation", "autoscaling")
_CODE = re.compile(rb"<Code>([^<]+)</Code>|\"__type\":\s*\"(?:[^\"#]*#)?([^\"]+)\"")


class Lost(ConnectionError):
    """The connection ends here without an answer."""


class Front:
    """The application that the server runs."""

    def __init__(self, world: World, faults: Faults, control: Control, moto: Any) -> None:
        self._world, self._faults, self._control, self._moto = world, faults, control, moto
        self._constant: dict[tuple[str, str, str], Answer] = {}

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        """WSGI."""
        if str(environ.get("PATH_INFO", "")).startswith("/_world/"):
            status, headers, body = self._control(environ)
        else:
            status, headers, body = self._answer(environ)
        start(status, headers)
        return [body]

    def _answer(self, environ: Environ) -> Answer:
        call = read(environ)
        with self._world.timeline.lock:
            fault = self._faults.draw(call)
            began = self._world.now()
        self._wait(fault)
        try:
            answer = self._act(call, environ, fault)
        except Lost:
            self._record(call, began, "lost", b"")
            _hang_up(environ)
            raise
        self._record(call, began, answer[0], answer[2])
        return answer

    def _wait(self, fault: Fault | None) -> None:
        extra = fault.seconds if fault is not None and fault.kind == "latency" else 0.0
        if self._world.parameters.latency_seconds + extra > 0:
            time.sleep(self._world.parameters.latency_seconds + extra)

    def _act(self, call: Call, environ: Environ, fault: Fault | None) -> Answer:
        kind = fault.kind if fault is not None else ""
        if fault is not None and kind == "error":
            return error(call, fault.code, fault.message, fault.status)
        if kind == "drop":
            raise Lost
        answer = self._serve(call, environ)
        if fault is not None and kind == "lost_answer":
            time.sleep(fault.seconds)
            raise Lost
        return answer

    def _serve(self, call: Call, environ: Environ) -> Answer:
        with self._world.timeline.lock:
            if self._faults.throttles(call, self._world.parameters, self._world.now()):
                return error(call, "RequestLimitExceeded", "Request limit exceeded.", 503)
            own = services.answer(self._world, call)
            if own is not None:
                return _json(own)
        messages = self._messages(call)
        if messages is not None:
            return messages
        alone = self._world.timeline.lock if call.service == "ec2" else contextlib.nullcontext()
        with alone:
            return self._ask_moto(call, environ)

    def _messages(self, call: Call) -> Answer | None:
        """Not under the lock: a long poll waits."""
        try:
            own = self._world.queues.answer(call)
        except AwsError as refused:
            return error(call, refused.code, refused.message, refused.status)
        return None if own is None else _json(own)

    def _ask_moto(self, call: Call, environ: Environ) -> Answer:
        """moto's answer; what cannot change is asked for once, as it takes seconds."""
        key = (call.action, call.region, json.dumps(call.params, sort_keys=True))
        if key in self._constant:
            return self._constant[key]
        answer = self._moto_answer(call, environ)
        if call.action in CONSTANT and answer[0].startswith("2"):
            self._constant[key] = answer
        return answer

    def _moto_answer(self, call: Call, environ: Environ) -> Answer:
        try:
            return _collect(self._moto, environ)
        except Exception:
            # What moto cannot do it says by raising; a page of HTML could be read by no client.
            _LOG.exception("The AWS world has no answer to %s %s.", call.service, call.action)
            return error(call, "InternalFailure", f"This world has no {call.action}.", 500)

    def _record(self, call: Call, began: float, status: str, body: bytes) -> None:
        number = status.partition(" ")[0]
        code = _CODE.search(body) if not number.startswith("2") else None
        line = {**asdict(call), "began": began, "status": number}
        if code is not None:
            line["code"] = next(part for part in code.groups() if part).decode()
        self._world.log("call", line)


def _collect(app: Any, environ: Environ) -> Answer:
    """Run a WSGI application to its end."""
    seen: list[tuple[str, list[tuple[str, str]]]] = []

    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        del exc_info
        seen.append((status, headers))

    chunks = app(environ, start)
    try:
        body = b"".join(chunks)
    finally:
        with contextlib.suppress(AttributeError):
            chunks.close()
    return seen[-1][0], seen[-1][1], body


def _hang_up(environ: Environ) -> None:
    connection = environ.get("werkzeug.socket")
    with contextlib.suppress(OSError, AttributeError):
        connection.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]  # suppressed above


def error(call: Call, code: str, message: str, status: int) -> Answer:
    """An error as that service's protocol writes it."""
    line = f"{status} Error"
    if call.service not in XML_SERVICES:
        body = json.dumps({"__type": code, "message": message}).encode()
        return line, [
            ("Content-Type", "application/x-amz-json-1.1"),
            ("x-amzn-ErrorType", code),
            ("Content-Length", str(len(body))),
        ], body  # fmt: skip
    inner = f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>"
    text = f"<Response><Errors>{inner}</Errors><RequestID>0</RequestID></Response>"
    if call.service in ("sts", "iam"):
        text = f"<ErrorResponse>{inner}<RequestId>0</RequestId></ErrorResponse>"
    if call.service == "s3":
        text = inner
    return line, [("Content-Type", "text/xml"), ("Content-Length", str(len(text)))], text.encode()


def _json(answer: services.Own) -> Answer:
    status, value = answer
    body = json.dumps(value).encode()
    headers = [
        ("Content-Type", "application/x-amz-json-1.1"),
        ("Content-Length", str(len(body))),
    ]
    if status >= 400:
        headers.append(("x-amzn-ErrorType", str(value.get("__type", ""))))
    return f"{status} {'OK' if status < 400 else 'Error'}", headers, body
