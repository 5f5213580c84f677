"""A real JupyterHub on loopback for tests: real users, servers, tokens and scopes, no proxy.

Its servers are a few lines of http.server that write down the token the hub gave them.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jupyter_gpu_jit.local.ports import free_ports

SCOPE = "custom:gpu-jit:control"
READ_SCOPE = "custom:gpu-jit:read"
CALLBACK = "/services/gpu-jit/oauth_callback"

SERVER = """
import http.server, os, pathlib, sys, urllib.parse
name = os.environ["JUPYTERHUB_USER"] + "--" + os.environ["JUPYTERHUB_SERVER_NAME"]
pathlib.Path(sys.argv[1], name).write_text(os.environ["JUPYTERHUB_API_TOKEN"])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *args):
        pass
url = urllib.parse.urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
http.server.HTTPServer((url.hostname, url.port), Handler).serve_forever()
"""

CONFIG = """
import json, sys
from jupyterhub.proxy import Proxy
from jupyterhub.spawner import SimpleLocalProcessSpawner
given = json.load(open({given!r}))
class NoProxy(Proxy):
    should_start = False
    routes = dict()
    async def add_route(self, routespec, target, data):
        self.routes[routespec] = dict(routespec=routespec, target=target, data=data)
    async def delete_route(self, routespec):
        self.routes.pop(routespec, None)
    async def get_all_routes(self):
        return dict(self.routes)
c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.spawner_class = SimpleLocalProcessSpawner
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.Authenticator.admin_users = {{"root"}}
c.JupyterHub.allow_named_servers = True
c.JupyterHub.bind_url = "http://127.0.0.1:1/"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:%d/hub/" % given["port"]
c.JupyterHub.db_url = "sqlite:///:memory:"
c.JupyterHub.cookie_secret_file = given["folder"] + "/cookie"
c.JupyterHub.custom_scopes = {{
    "{scope}": {{"description": "See and control own GPU sessions"}},
    "{read_scope}": {{"description": "See everything"}},
}}
c.JupyterHub.load_groups = {{"class": dict(users=["ann", "gus"])}}
c.JupyterHub.services = [
    dict(name="gpu-jit", api_token=given["service_token"], oauth_redirect_uri="{callback}",
         oauth_client_id="service-gpu-jit", oauth_no_confirm=True,
         oauth_client_allowed_scopes=["admin-ui", "{read_scope}"]),
    dict(name="other", api_token=given["other_token"]),
    dict(name="driver", api_token=given["driver_token"]),
]
c.JupyterHub.load_roles = [
    dict(name="user", scopes=["self", "{scope}!user", "access:services!service=gpu-jit"]),
    # Of a group admin everything is filtered, so this page shows them their own.
    dict(name="teacher", users=["gus"], scopes=["list:users!group=class",
         "admin:servers!group=class", "{read_scope}!group=class"]),
    dict(name="reader", users=["rita"], scopes=["{read_scope}"]),
    dict(name="driver", services=["driver"], scopes=["admin:users", "admin:servers", "tokens",
         "inherit", "{scope}", "{read_scope}"]),
]
c.Spawner.server_token_scopes = [
    "users:activity!user", "access:servers!server", "access:services!service=gpu-jit",
    "{scope}!server"]
c.Spawner.cmd = [sys.executable, given["folder"] + "/server.py", given["folder"] + "/tokens"]
c.SimpleLocalProcessSpawner.home_dir_template = given["folder"] + "/home/{{username}}"
c.JupyterHub.log_level = "WARN"
"""


class Hub:
    """The running hub. ``api_url`` has no slash at its end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_ports(1)[0]
        self.api_url = f"http://127.0.0.1:{self.port}/hub/api"
        self.service_token, self.other_token, self.driver_token = (
            secrets.token_hex(32) for _ in range(3)
        )

    def call(self, method: str, path: str, body: object = None, token: str = "") -> object:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.api_url + path, data=data, method=method)
        request.add_header("Authorization", f"token {token or self.driver_token}")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=20) as response:
            return json.loads(response.read() or b"null")

    def start_server(self, user: str, server: str = "") -> str:
        """Start a server unless it runs; the token the hub gave it."""
        path = f"/users/{user}/servers/{server}" if server else f"/users/{user}/server"
        written = self.folder / "tokens" / f"{user}--{server}"
        if not written.exists():
            self.call("POST", path, {})
        return wait_for(lambda: written.exists() and written.read_text())

    def new_token(self, user: str, **wanted: object) -> str:
        answer = self.call("POST", f"/users/{user}/tokens", wanted)
        assert isinstance(answer, dict)
        return str(answer["token"])

    def knows(self, token: str) -> bool:
        try:
            self.call("GET", "/user", token=token)
        except urllib.error.HTTPError as error:
            with error:
                return False
        return True

    def write_files(self) -> Path:
        for name in ("tokens", "home"):
            (self.folder / name).mkdir()
        given = self.folder / "given.json"
        given.write_text(
            json.dumps(
                {k: v for k, v in vars(self).items() if k != "folder"}
                | {"folder": str(self.folder)}
            )
        )
        (self.folder / "server.py").write_text(SERVER)
        config = self.folder / "config.py"
        names = {"scope": SCOPE, "read_scope": READ_SCOPE, "callback": CALLBACK}
        config.write_text(CONFIG.format(given=str(given), **names))
        return config

    def answers(self, process: subprocess.Popen[bytes]) -> bool:
        assert process.poll() is None, (self.folder / "log").read_text()
        try:
            self.call("GET", "/")
        except OSError:
            return False
        return True


@contextmanager
def running_hub(folder: Path) -> Iterator[Hub]:
    """A hub with users ann, bob, gus, rita and root, ended with all its servers."""
    hub = Hub(folder)
    config = hub.write_files()
    command = [sys.executable, "-m", "jupyterhub", "-f", str(config)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        try:
            wait_for(lambda: hub.answers(process), seconds=180.0)
            hub.call("POST", "/users/bob", {})
            yield hub
        finally:
            # The hub ends its servers on SIGTERM.
            process.terminate()
            process.wait(30)


def wait_for(condition, *, seconds: float = 60.0):
    """What the condition gives, once that is true."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
