"""``setup(c)``: everything a hub needs to be told, in one call from jupyterhub_config.py.

Each value is the one that the facts in docs/architecture ask for; an admin may set any of them
otherwise after the call, and what was set before is kept where both can hold.
"""

from __future__ import annotations

from typing import Any

from jupyterhub.app import JupyterHub
from traitlets.config.loader import LazyConfigValue

from . import form, guard, profile_list, redaction
from .handlers import extra_handlers

SCOPE = "custom:gpu-jit:control"
READ_SCOPE = "custom:gpu-jit:read"
SERVICE = "gpu-jit"
START_TIMEOUT_SECONDS = 2100
HTTP_TIMEOUT_SECONDS = 120

SERVER_SCOPES = [
    "users:activity!user",
    "access:servers!server",
    f"access:services!service={SERVICE}",
    f"{SCOPE}!server",
]
# With what KubeSpawner sets already (no escalation of privileges), the "restricted" level of the
# Pod Security Standards.
SECURITY_CONTEXT = {
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
USER_SCOPES = ["self", f"access:services!service={SERVICE}", f"{SCOPE}!user"]


def setup(c: Any) -> None:
    """Make GPU sessions of a hub's config object ``c``. Say it before what you set otherwise."""
    guard.install()
    redaction.install()
    _hub(c)
    _spawner(c)
    _pages(c)
    _scopes(c)
    _check_when_read()


def _check_when_read() -> None:
    """Look at the spawner's settings when the hub has read all of its configuration.

    Traitlets has no event for that: the method that takes the configuration is wrapped, once. An
    error there is what the hub itself makes of a bad setting: it shows it and ends.
    """
    if not JupyterHub.initialized():
        return  # somebody reads the file without a hub
    app = JupyterHub.instance()
    if "update_config" in vars(app):
        return
    take = app.update_config

    def take_and_check(config: Any) -> None:
        del app.update_config
        take(config)
        profile_list.check_at_start(app)

    app.update_config = take_and_check


def _hub(c: Any) -> None:
    c.JupyterHub.spawner_class = "jupyter_gpu_jit.hub.spawner.GpuJitSpawner"
    # A start that waits for capacity is pending: with limits it would keep everybody else out.
    c.JupyterHub.concurrent_spawn_limit = 0
    c.JupyterHub.active_server_limit = 0
    c.JupyterHub.allow_named_servers = True
    c.JupyterHub.cleanup_servers = False


def _spawner(c: Any) -> None:
    # Failed starts in a row must not end the hub: anybody could make them.
    c.Spawner.consecutive_failure_limit = 0
    c.Spawner.start_timeout = START_TIMEOUT_SECONDS
    c.Spawner.http_timeout = HTTP_TIMEOUT_SECONDS
    c.Spawner.server_token_scopes = list(SERVER_SCOPES)
    c.KubeSpawner.automount_service_account_token = False
    if "container_security_context" not in c.KubeSpawner:
        c.KubeSpawner.container_security_context = dict(SECURITY_CONTEXT)
    # Our own progress reads the pod itself, so nobody needs all events of the namespace.
    c.KubeSpawner.events_enabled = False


def _pages(c: Any) -> None:
    ours = form.template_folder()
    others = [path for path in _before(c, "template_paths") if path != ours]
    c.JupyterHub.template_paths = [ours, *others]
    routes = {row[0] for row in extra_handlers()}
    kept = [row for row in _before(c, "extra_handlers") if row[0] not in routes]
    c.JupyterHub.extra_handlers = [*kept, *extra_handlers()]


def _scopes(c: Any) -> None:
    described = {
        SCOPE: {"description": "See and control one's own GPU session."},
        READ_SCOPE: {"description": "See all GPU nodes and sessions on the status page."},
    }
    c.JupyterHub.custom_scopes = {**_mapping(c, "custom_scopes"), **described}
    roles = _before(c, "load_roles")
    if not any(role.get("name") == "user" for role in roles):
        roles = [*roles, {"name": "user", "scopes": []}]
    c.JupyterHub.load_roles = [_with_scopes(role) for role in roles]


def _with_scopes(role: dict[str, Any]) -> dict[str, Any]:
    """The role every user has, with what our tokens ask for; other roles as they are."""
    if role.get("name") != "user":
        return role
    scopes = role.get("scopes") or ["self"]
    return {**role, "scopes": [*scopes, *(s for s in USER_SCOPES if s not in scopes)]}


def _before(c: Any, name: str) -> list[Any]:
    """A list that was configured before us, also one built by ``append``."""
    value = c.JupyterHub.get(name, [])
    if isinstance(value, LazyConfigValue):
        return list(value.get_value([]))
    return list(value)


def _mapping(c: Any, name: str) -> dict[str, Any]:
    value = c.JupyterHub.get(name, {})
    return dict(value.get_value({}) if isinstance(value, LazyConfigValue) else value)
