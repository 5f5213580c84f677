"""Status objects, the Kubernetes way of saying yes and no over HTTP; used by ``local.http_api``."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ..errors import (
    AlreadyExists,
    Conflict,
    Expired,
    GpuJitError,
    NotFound,
    Rejected,
    Unavailable,
)

_REJECTED = {"BadRequest": 400, "Forbidden": 403, "MethodNotAllowed": 405, "Invalid": 422}
_UNAVAILABLE = {"TooManyRequests": 429, "Timeout": 504, "InternalError": 500}


def status_of(error: GpuJitError) -> web.Response:
    """The answer for an error of the in-memory cluster."""
    match error:
        case NotFound():
            return failure(404, "NotFound", error.user_message)
        case AlreadyExists():
            return failure(409, "AlreadyExists", error.user_message)
        case Conflict():
            return failure(409, "Conflict", error.user_message)
        case Expired():
            return failure(410, "Expired", error.user_message)
        case Unavailable():
            return _come_back(error)
        case Rejected():
            return failure(_REJECTED.get(error.reason, 422), error.reason, error.user_message)
    return failure(500, "InternalError", error.user_message)


def _come_back(error: Unavailable) -> web.Response:
    code = _UNAVAILABLE.get(error.reason, 503)
    reason = error.reason if error.reason in _UNAVAILABLE else "ServiceUnavailable"
    response = failure(code, reason, error.user_message)
    if error.retry_after_seconds:
        response.headers["Retry-After"] = str(max(1, round(error.retry_after_seconds)))
    return response


def failure(code: int, reason: str, message: str) -> web.Response:
    """A failed call."""
    return _answer(code, {"status": "Failure", "message": message, "reason": reason, "code": code})


def success(details: dict[str, str]) -> web.Response:
    """A call that worked and has no object to show."""
    return _answer(200, {"status": "Success", "details": details})


def _answer(code: int, rest: dict[str, Any]) -> web.Response:
    body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, **rest}
    return web.json_response(body, status=code)
