"""What a data scientist has inside a session: ``session()``, a live panel about it.

Runs in the user's kernel, so it needs neither a Kubernetes nor a cloud client; talks only to
the service, through the hub's proxy.
"""

from __future__ import annotations

from .client import SessionInfo
from .widgets import SessionPanel, session

__all__ = ["SessionInfo", "SessionPanel", "session"]
