"""A real JupyterHub process with our spawner, on the in-memory cluster behind its HTTP API.

A ``Hand`` stands in for provisioner, scheduler and kubelet: it moves pods by patches, and one
tiny HTTP server answers for all notebook servers. No proxy: tests speak to the hub itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import io
import json
import os
import secrets
import signal
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from jupyter_gpu_jit.adapters.system import RandomIds, SystemClock
from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.core.model import SessionStatus
from jupyter_gpu_jit.errors import NotFound
from jupyter_gpu_jit.local.http_api import KubernetesApi
from jupyter_gpu_jit.local.ports import free_ports
from jupyter_gpu_jit.ports import PODS
from jupyter_gpu_jit.sim.cluster import MemoryCluster

NAMESPACE = "gpu-jit"

CONFIG = """
import json, os
from jupyterhub.proxy import Proxy
from jupyter_gpu_jit import setup

given = json.load(open(os.environ["GIVEN"]))
setup(c)

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
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.bind_url = "http://127.0.0.1:%d/" % given["port"]
c.JupyterHub.hub_bind_url = "http://127.0.0.1:%d/" % given["port"]
c.JupyterHub.db_url = "sqlite:///" + given["folder"] + "/hub.sqlite"
c.JupyterHub.cookie_secret_file = given["folder"] + "/cookie"
c.JupyterHub.load_groups = {"students": {"users": []}, "staff": {"users": []}}
c.JupyterHub.cleanup_servers = False
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": given["slow_spawn_seconds"]}
c.JupyterHub.services = [
    dict(name="driver", api_token=given["token"]),
    dict(name="gpu-jit", api_token=given["service_token"]),
]
scopes = ["admin:users", "admin:servers", "tokens", "inherit", "groups", "admin:server_state"]
c.JupyterHub.load_roles = [
    *c.JupyterHub.load_roles, dict(name="driver", services=["driver"], scopes=scopes)
]
c.KubeSpawner.namespace = "gpu-jit"
c.KubeSpawner.port = given["server_port"]
c.KubeSpawner.image = "quay.io/jupyter/base-notebook:1"
c.GpuJitSpawner.profiles_file = given["folder"] + "/profiles.yaml"
c.GpuJitSpawner.service_api_url = "http://127.0.0.1:1/services/gpu-jit/api/v1/"
for section, values in given["more"].items():
    for name, value in values.items():
        c[section][name] = value
"""


def load(path: Path) -> Any:
    """A helper module of another folder of tests."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bodies = load(Path(__file__).parents[1] / "core" / "bodies.py")


async def eventually(read, condition=bool, *, seconds=15.0, what=""):
    """The first value of ``read`` that satisfies ``condition``."""
    deadline = time.monotonic() + seconds
    while True:
        value = read()
        if asyncio.iscoroutine(value):
            value = await value
        if condition(value):
            return value
        assert time.monotonic() < deadline, f"never {what or 'so'}: {value!r}"
        await asyncio.sleep(0.03)


def container(**status: Any) -> dict[str, Any]:
    """Status of the notebook container as a kubelet writes it."""
    fixed = {"name": "notebook", "image": "i", "imageID": "i", "restartCount": 0, "ready": False}
    return {**fixed, **status}


class Hand:
    """Provisioner, scheduler, kubelet and notebook servers, by hand."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self.cluster = cluster

    def pods(self) -> list[dict[str, Any]]:
        return self.cluster.peek(PODS)

    def pod_of(self, user: str, server: str = "") -> dict[str, Any] | None:
        for pod in self.pods():
            request = json.loads(pod["metadata"]["annotations"][wire.SESSION_ANNOTATION])
            if (request["user"], request["server"]) == (user, server):
                return pod
        return None

    async def has_pod(self, user: str, server: str = "") -> dict[str, Any]:
        return await eventually(lambda: self.pod_of(user, server), what="a pod")

    async def patch(
        self, pod: dict[str, Any], patch: dict[str, Any], subresource: str = ""
    ) -> None:
        name = pod["metadata"]["name"]
        await self.cluster.patch(PODS, name, patch, namespace=NAMESPACE, subresource=subresource)

    async def tell(self, pod: dict[str, Any], stage: str, **more: Any) -> None:
        status = SessionStatus(stage=stage, since=time.time(), **more)
        text = wire.encode_status(status)
        await self.patch(pod, {"metadata": {"annotations": {wire.STATUS_ANNOTATION: text}}})

    async def seat(self, pod: dict[str, Any]) -> None:
        """Gate off, bound to a node."""
        await self.patch(pod, {"spec": {"schedulingGates": None}})
        name = pod["metadata"]["name"]
        target = {"target": {"kind": "Node", "name": "n1"}}
        await self.cluster.create(
            PODS, target, namespace=NAMESPACE, name=name, subresource="binding"
        )

    async def run(
        self, pod: dict[str, Any], *, ready: bool = True, address: str = "127.0.0.1"
    ) -> None:
        """Seat it and let its container run; at another address nothing answers."""
        if not pod["spec"].get("nodeName"):
            await self.seat(pod)
        running = container(ready=ready, state={"running": {}})
        status = {
            "phase": "Running",
            "podIP": address,
            "containerStatuses": [running],
        }
        await self.patch(pod, {"status": status}, "status")

    async def delete(self, pod: dict[str, Any], *, again: bool = False) -> None:
        name = pod["metadata"]["name"]
        if again:
            await self.patch(pod, {"metadata": {"annotations": {wire.RECREATE_ANNOTATION: "x"}}})
        await self.cluster.delete(PODS, name, namespace=NAMESPACE, grace_seconds=0)

    async def reap(self) -> None:
        """The kubelet's part of a graceful deletion, for ever."""
        while True:
            for pod in self.pods():
                if "deletionTimestamp" in pod["metadata"]:
                    with contextlib.suppress(NotFound):
                        await self.cluster.delete(
                            PODS, pod["metadata"]["name"], namespace=NAMESPACE, grace_seconds=0
                        )
            await asyncio.sleep(0.05)


class World:
    """Cluster, its API, the answering server, and the hub process. ``start`` and ``stop``."""

    def __init__(self, folder: Path, more: dict[str, dict[str, Any]] | None = None) -> None:
        self.folder = folder
        self.more = more or {}
        self.port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}/hub/"
        self.token, self.service_token = secrets.token_hex(16), secrets.token_hex(16)
        self.cluster = MemoryCluster(SystemClock(), RandomIds())
        self.hand = Hand(self.cluster)
        self.api = KubernetesApi(self.cluster, secrets.token_hex(16))
        self.process: asyncio.subprocess.Process | None = None
        self.quotes_answer: tuple[int, Any] = (200, {"quotes": {}})
        self.quotes_asked: list[dict[str, Any]] = []

    async def start(self) -> World:
        self.api_url = await self.api.start()
        (self.folder / "kubeconfig").write_text(json.dumps(self.api.kubeconfig(NAMESPACE)))
        (self.folder / "profiles.yaml").write_text(json.dumps(bodies.PROFILES))
        (self.folder / "jupyterhub_config.py").write_text(CONFIG)
        self.server_port = await self._serve()
        self._reaper = asyncio.ensure_future(self.hand.reap())
        self.http = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        await self.start_hub()
        return self

    async def _serve(self) -> int:
        """The notebook servers of everybody, and the service that gives quotes."""
        app = web.Application()
        app.router.add_post("/quotes", self._quotes)
        app.router.add_route("*", "/{path:.*}", _ok)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def _quotes(self, request: web.Request) -> web.Response:
        asked = {"token": request.headers["Authorization"], **(await request.json())}
        self.quotes_asked.append(asked)
        status, body = self.quotes_answer
        return web.json_response(body, status=status)

    async def start_hub(self) -> None:
        given = {
            "folder": str(self.folder),
            "port": self.port,
            "token": self.token,
            "service_token": self.service_token,
            "server_port": self.server_port,
            "slow_spawn_seconds": 1,
            "more": self.more,
        }
        (self.folder / "given.json").write_text(json.dumps(given))
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "KUBECONFIG": str(self.folder / "kubeconfig"),
            "GIVEN": str(self.folder / "given.json"),
            "GPU_JIT_QUOTES_URL": f"http://127.0.0.1:{self.server_port}/quotes",
            "GPU_JIT_QUOTES_TOKEN": self.service_token,
        }
        if "HUB_PYTHONPATH" in os.environ:  # another release of the hub
            env["PYTHONPATH"] = os.environ["HUB_PYTHONPATH"]
        if "COVERAGE_PROCESS_CONFIG" in os.environ:  # its lines count as covered, too
            env["COVERAGE_PROCESS_CONFIG"] = os.environ["COVERAGE_PROCESS_CONFIG"]
        with (self.folder / "hub.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "jupyterhub", "-f", "jupyterhub_config.py"),
                cwd=self.folder,
                env=env,
                stdout=log,
                stderr=log,
                stdin=asyncio.subprocess.DEVNULL,
            )
        await eventually(self._is_up, seconds=60, what="a hub that answers")

    async def _is_up(self) -> bool:
        assert self.process is not None
        assert self.process.returncode is None, self.log()[-3000:]
        with contextlib.suppress(aiohttp.ClientError):
            async with self.http.get(f"{self.url}health") as answer:
                return answer.status == 200
        return False

    async def kill_hub(self, how: int = signal.SIGKILL) -> None:
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(how)
        await self.process.wait()

    async def end_hub(self) -> None:
        """Ask it to end, so that it may write down what was covered; it is not waited for long."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.process.wait(), 5)
        await self.kill_hub()

    async def stop(self) -> None:
        if self.process is not None:
            await self.end_hub()
        self._reaper.cancel()
        await asyncio.gather(self._reaper, return_exceptions=True)
        await self.http.close()
        await self._runner.cleanup()
        await self.api.stop()

    def log(self) -> str:
        return (self.folder / "hub.log").read_text(errors="replace")

    # --- the hub's API ---------------------------------------------------------------------

    async def call(
        self, method: str, path: str, body: Any = None, *, token: str = "", data: Any = None
    ) -> tuple[int, Any]:
        """Status and JSON (or text) of a call below /hub/api/."""
        headers = {"Authorization": f"token {token or self.token}"}
        if body is not None:
            data = json.dumps(body).encode()
        async with self.http.request(
            method, f"{self.url}api/{path}", data=_payload(data), headers=headers
        ) as answer:
            text = await answer.text()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text

    async def new_user(self, name: str = "", groups: tuple[str, ...] = ("students",)) -> str:
        name = name or f"u{secrets.token_hex(4)}"
        await self.call("POST", f"users/{name}")
        for group in groups:
            await self.call("POST", f"groups/{group}/users", {"users": [name]})
        return name

    async def token_of(self, user: str) -> str:
        _, answer = await self.call("POST", f"users/{user}/tokens", {})
        return str(answer["token"])

    async def server(self, user: str, server: str = "") -> dict[str, Any]:
        _, model = await self.call("GET", f"users/{user}?include_stopped_servers=1")
        found: dict[str, Any] = model["servers"].get(server, {})
        return found

    async def until_ready(self, user: str, server: str = "") -> None:
        await eventually(
            lambda: self.server(user, server), lambda s: s.get("ready"), what="ready", seconds=30
        )

    async def until_stopped(self, user: str, server: str = "") -> None:
        await eventually(
            lambda: self.server(user, server),
            lambda s: not s or s.get("stopped"),
            what="stopped",
            seconds=30,
        )

    async def progress(self, user: str, server: str = "", *, path: str = ""):
        """Events of our stream of progress, as they come."""
        where = path or f"gpu-jit/users/{user}/" + (f"servers/{server}" if server else "server")
        headers = {"Authorization": f"token {self.token}"}
        async with self.http.get(f"{self.url}api/{where}/progress", headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            async for line in answer.content:
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])

    async def browser(self, user: str) -> Browser:
        return await Browser(self.url).login(user)


def _payload(data: Any) -> Any:
    """Large bytes as a file, or the client warns of them."""
    return io.BytesIO(data) if isinstance(data, bytes) else data


async def _ok(_: web.Request) -> web.Response:
    return web.json_response({"version": "1"})


class Browser:
    """Cookies of one user, for forms."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))

    async def login(self, user: str) -> Browser:
        await self.get("login")
        data = {"username": user, "password": "", "_xsrf": self.xsrf("hub/login")}
        async with self.http.post(f"{self.url}login", data=data, allow_redirects=False) as answer:
            assert answer.status == 302, await answer.text()
        await self.get("home")
        return self

    def xsrf(self, _: str = "") -> str:
        found = [c.value for c in self.http.cookie_jar if c.key == "_xsrf"]
        return found[-1] if found else ""

    async def get(self, path: str, **kwargs: Any) -> tuple[int, str]:
        async with self.http.get(f"{self.url}{path}", **kwargs) as answer:
            return answer.status, await answer.text()

    async def post(self, path: str, data: Any, **kwargs: Any) -> tuple[int, str]:
        url = f"{self.url}{path}"
        params = {"_xsrf": self.xsrf()}
        async with self.http.post(
            url, params=params, data=_payload(data), allow_redirects=False, **kwargs
        ) as answer:
            return answer.status, await answer.text()

    async def close(self) -> None:
        await self.http.close()
