"""The panel as a user meets it: a real kernel, the real service over HTTP, a real hub's token."""

from __future__ import annotations

import asyncio
import os

import pytest
from jupyter_client.manager import AsyncKernelManager
from service_world import seat_session

from jupyter_gpu_jit.ports import PODS

WIDGET = "application/vnd.jupyter.widget-view+json"


class Kernel:
    """Runs cells; keeps what came back from each, and every comm message."""

    def __init__(self, client) -> None:
        self.client = client
        self.comm: list[dict] = []

    async def run(self, code: str) -> dict:
        sent = self.client.execute(code)
        found: dict = {"text": ""}
        while True:
            message = await self.client.get_iopub_msg(timeout=60)
            kind, content = message["msg_type"], message["content"]
            if kind.startswith("comm_"):
                self.comm.append(message)
            if message["parent_header"].get("msg_id") != sent:
                continue
            if kind == "stream":
                found["text"] += content["text"]
            elif kind == "execute_result":
                found["data"] = content["data"]
            elif kind == "error":
                raise AssertionError("\n".join(content["traceback"]))
            elif kind == "status" and content["execution_state"] == "idle":
                return found

    async def next_html(self) -> str:
        """The table of the next update of a widget."""
        while True:
            message = await self.client.get_iopub_msg(timeout=30)
            if message["msg_type"] == "comm_msg":
                state = message["content"]["data"].get("state", {})
                if "value" in state:
                    return state["value"]


@pytest.fixture
async def start_kernel(tmp_path):
    managers = []

    async def start(**environment: str) -> Kernel:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTERHUB_", "GPU_JIT"))}
        env |= {"IPYTHONDIR": str(tmp_path), "JUPYTER_PLATFORM_DIRS": "1", **environment}
        manager = AsyncKernelManager()
        await manager.start_kernel(env=env, cwd=str(tmp_path))
        client = manager.client()
        client.start_channels()
        managers.append((manager, client))
        await client.wait_for_ready(timeout=60)
        return Kernel(client)

    yield start
    for manager, client in managers:
        client.stop_channels()
        await manager.shutdown_kernel(now=True)


@pytest.fixture
async def session_environment(hub, world):
    token = await asyncio.to_thread(hub.start_server, "ann")
    await seat_session(world.cluster)
    return {
        "GPU_JIT_API_URL": world.api_url,
        "JUPYTERHUB_API_TOKEN": token,
        "JUPYTERHUB_USER": "ann",
        "JUPYTERHUB_SERVER_NAME": "",
        # Neither may ever be used for a request that carries the token.
        "http_proxy": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
    }


async def test_a_cell_shows_the_panel_and_the_panel_goes_on(
    start_kernel, session_environment, world
):
    kernel = await start_kernel(**session_environment)
    await kernel.run("import jupyter_gpu_jit.notebook.widgets as w; w.REFRESH_SECONDS = 0.2")
    shown = await kernel.run("import jupyter_gpu_jit; jupyter_gpu_jit.session()")
    text = shown["data"]["text/plain"]
    for part in ("a100", "1 x A100", "n1", "us-east-1a", "$1.00 per hour", "1 h 00 min 00 s"):
        assert part in text
    assert WIDGET in shown["data"]
    table = next(
        m["content"]["data"]["state"]
        for m in kernel.comm
        if m["content"]["data"].get("state", {}).get("_model_name") == "HTMLModel"
    )
    assert "<td>n1</td>" in table["value"]
    assert session_environment["JUPYTERHUB_API_TOKEN"] not in repr(kernel.comm)

    (pod,) = (await world.cluster.list(PODS)).items
    ended = {"status": {"phase": "Failed"}}
    name = pod["metadata"]["name"]
    await world.cluster.patch(PODS, name, ended, namespace="gpu-jit", subresource="status")
    assert "does not know this session" in await kernel.next_html()


async def test_figures_are_attributes_and_the_panel_is_one_per_kernel(
    start_kernel, session_environment
):
    kernel = await start_kernel(**session_environment)
    ran = await kernel.run(
        "import jupyter_gpu_jit, threading\n"
        "panel = jupyter_gpu_jit.session()\n"
        "print(panel.info.usd_per_hour, panel.info.gpu_model, jupyter_gpu_jit.session() is panel)\n"
        "def alive(): return [t.name for t in threading.enumerate() if 'gpu-jit' in t.name]\n"
        "print(alive(), all(t.daemon for t in threading.enumerate() if 'gpu-jit' in t.name))\n"
        "thread = next(t for t in threading.enumerate() if 'gpu-jit' in t.name)\n"
        "panel.close(); thread.join(10); print(alive(), jupyter_gpu_jit.session() is panel)"
    )
    assert ran["text"].splitlines() == [
        "1.0 A100 True",
        "['gpu-jit-session-panel'] True",
        "[] False",
    ]


async def test_without_ipywidgets_the_panel_is_text(start_kernel, session_environment):
    kernel = await start_kernel(**session_environment)
    shown = await kernel.run(
        "import sys; sys.modules['ipywidgets'] = None\n"
        "import jupyter_gpu_jit; jupyter_gpu_jit.session()"
    )
    assert set(shown["data"]) == {"text/plain"}
    assert "us-east-1a" in shown["data"]["text/plain"]


async def test_outside_a_session_it_is_one_sentence(start_kernel):
    kernel = await start_kernel()
    shown = await kernel.run("import jupyter_gpu_jit; jupyter_gpu_jit.session()")
    assert set(shown["data"]) == {"text/plain"}
    assert "does not run in a session" in shown["data"]["text/plain"]
