"""The service: quotes for the hub, and each user's own session for the notebook side.

Its own process (or a task of the demo's), reached through the hub's proxy; ``cli`` starts it.
It only reads the cluster.
"""

from __future__ import annotations

from .app import ServiceSettings, make_app, serve

__all__ = ["ServiceSettings", "make_app", "serve"]
