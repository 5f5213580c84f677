"""What the demo's hub is told beyond the shipped ``setup(c)``, as plain values.

``demo`` writes a ``HubSettings`` as JSON beside a configuration of a few lines
(hub_config/jupyterhub_config_local.py shows it), whose ``apply`` runs in the hub's process.
Imports nothing of the hub: traits are set by name.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SETTINGS_VARIABLE = "GPU_JIT_DEMO_SETTINGS"
SERVICE_NAME = "gpu-jit"
CONFIG = '''"""The demo's hub: what every hub with GPU profiles has, and its own addresses."""

from jupyter_gpu_jit.hub import setup
from jupyter_gpu_jit.local.hub_settings import apply

c = get_config()  # noqa: F821  (JupyterHub defines it)
setup(c)
apply(c)
'''
SIMULATED = "Nodes, GPUs, prices and boot times are simulated."
REAL = "JupyterHub, the spawner, the provisioner and JupyterLab are real and run on this machine."
ADMIN = "admin"
LOGIN = 'Any name, no password ("admin" is the administrator); only this machine can reach it.'


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSettings:
    """Addresses and secrets of one demo; all addresses are loopback."""

    port: int
    hub_port: int
    proxy_api_port: int
    proxy_command: tuple[str, ...]
    proxy_token: str
    service_url: str
    service_token: str
    profiles_file: str
    namespace: str
    folder: str

    @property
    def hub_api_url(self) -> str:
        """The hub's API as sessions and the service reach it."""
        return f"http://127.0.0.1:{self.hub_port}/hub/api"

    @property
    def public_url(self) -> str:
        """What is opened in a browser."""
        return f"http://127.0.0.1:{self.port}/"

    @property
    def service_api_url(self) -> str:
        """The service's API through the proxy."""
        return f"{self.public_url}services/{SERVICE_NAME}/api/v1/"

    def write(self, path: Path) -> None:
        """Store for ``apply``; only we may read it."""
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> HubSettings:
        """What ``write`` stored."""
        body = json.loads(path.read_text())
        return cls(**{**body, "proxy_command": tuple(body["proxy_command"])})


def apply(c: Any) -> None:
    """Set the traits, from the file that the environment names."""
    settings = HubSettings.read(Path(os.environ[SETTINGS_VARIABLE]))
    _addresses(c, settings)
    _people(c)
    _service(c, settings)
    _sessions(c, settings)


def _addresses(c: Any, settings: HubSettings) -> None:
    c.JupyterHub.bind_url = settings.public_url
    c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{settings.hub_port}"
    c.JupyterHub.db_url = f"sqlite:///{settings.folder}/hub.sqlite"
    c.JupyterHub.cookie_secret_file = f"{settings.folder}/cookie_secret"
    c.JupyterHub.cleanup_servers = False  # the demo ends the sessions, and faster
    # Otherwise the first ten seconds of a start are spent without a page.
    c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}
    c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{settings.proxy_api_port}"
    c.ConfigurableHTTPProxy.auth_token = settings.proxy_token
    c.ConfigurableHTTPProxy.command = list(settings.proxy_command)
    c.ConfigurableHTTPProxy.pid_file = f"{settings.folder}/proxy.pid"


def _people(c: Any) -> None:
    c.JupyterHub.authenticator_class = "dummy"
    c.Authenticator.allow_all = True
    c.Authenticator.admin_users = {ADMIN}
    c.JupyterHub.template_vars = {
        "gpu_jit_demo": {"simulated": SIMULATED, "real": REAL, "login": LOGIN},
    }


def _service(c: Any, settings: HubSettings) -> None:
    service = {
        "name": SERVICE_NAME,
        "url": settings.service_url,
        "api_token": settings.service_token,
        "oauth_no_confirm": True,
        # The status page shows everything to whoever has one of these, and may use no other.
        "oauth_client_allowed_scopes": ["admin-ui", "custom:gpu-jit:read"],
        "display": True,
    }
    c.JupyterHub.services = [service]


def _sessions(c: Any, settings: HubSettings) -> None:
    c.KubeSpawner.namespace = settings.namespace
    c.GpuJitSpawner.profiles_file = settings.profiles_file
    c.GpuJitSpawner.service_api_url = settings.service_api_url
    c.GpuJitSpawner.quotes_url = f"{settings.service_url}/services/{SERVICE_NAME}/api/v1/quotes"
    c.GpuJitSpawner.quotes_token = settings.service_token
