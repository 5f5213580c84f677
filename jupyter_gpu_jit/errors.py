"""The tree of errors, importable from everywhere because it imports nothing.

    GpuJitError
    ├── UserError                 the person who asked can mend it: one sentence, a 4xx
    ├── CapacityError             nothing to sell now: wait, or ask elsewhere
    ├── TransientError            the same call may work later
    │   ├── Conflict              the object changed since it was read (409)
    │   │   └── AlreadyExists     create met an object of that name (409)
    │   ├── NotFound              the object is gone (404)
    │   ├── Expired               the watch is too old: list again (410)
    │   └── Unavailable           timeout, 429, 5xx, no connection
    └── Defect                    a bug or a broken installation: never retried, never swallowed
        └── Rejected              the API refused what we sent (400, 403, 422, 501)

Each has a stable ``reason`` for programs and a ``user_message`` for people.
"""

from __future__ import annotations


class GpuJitError(Exception):
    """Base of all errors raised on purpose; ``reason`` is CamelCase and stable."""

    default_reason = "Error"

    def __init__(self, user_message: str, *, reason: str = "") -> None:
        super().__init__(user_message)
        self.user_message = user_message
        self.reason = reason or self.default_reason


class UserError(GpuJitError):
    """The input is wrong; ``user_message`` says what happened and what to do."""

    default_reason = "BadRequest"


class CapacityError(GpuJitError):
    """No offering can serve the request now; retry elsewhere or later."""

    default_reason = "InsufficientCapacity"


class TransientError(GpuJitError):
    """The same call may succeed later."""

    default_reason = "Transient"


class Conflict(TransientError):
    """A write met an object that changed since it was read."""

    default_reason = "Conflict"


class AlreadyExists(Conflict):
    """A create met an object of the same name."""

    default_reason = "AlreadyExists"


class NotFound(TransientError):
    """The object does not exist (any more)."""

    default_reason = "NotFound"


class Expired(TransientError):
    """A watch or list position is too old; list again."""

    default_reason = "Expired"


class Unavailable(TransientError):
    """No answer, or an answer that asks to come back; the write may have taken effect.

    ``retry_after_seconds`` is 0 when the other side did not say.
    """

    default_reason = "Unavailable"

    def __init__(
        self, user_message: str, *, reason: str = "", retry_after_seconds: float = 0.0
    ) -> None:
        super().__init__(user_message, reason=reason)
        self.retry_after_seconds = retry_after_seconds


class Defect(GpuJitError):
    """Something that cannot happen in a correct installation."""

    default_reason = "Defect"


class Rejected(Defect):
    """The API refused the request itself; repeating it cannot help."""

    default_reason = "Rejected"
