"""``gpu-jit demo`` as a person meets it: one command, a hub, a server, and nothing left behind."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import aiohttp
import pytest
from person import Person

from jupyter_gpu_jit.core.progress import ORDER
from jupyter_gpu_jit.local import marks

READY_SECONDS = 120
END_SECONDS = 8  # 5 on a machine that does nothing else


class Demo:
    """A running ``gpu-jit demo`` and what it printed."""

    def __init__(self, *arguments):
        command = [sys.executable, "-m", "jupyter_gpu_jit", "demo", *arguments]
        env = {**os.environ, "PLANTED_SECRET": "planted", "http_proxy": "http://127.0.0.1:9"}
        self.process = subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.lines = []
        self.url = ""

    def read_until(self, pattern):
        """The match of the first line that has it."""
        os.set_blocking(self.process.stdout.fileno(), True)
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            found = re.search(pattern, line)
            if found:
                return found
        pytest.fail(f"no line has {pattern!r}: {self.lines}")

    def start(self):
        """Wait until ready."""
        timer = _Timer(READY_SECONDS, self.process.kill)
        self.url = self.read_until(r"^ready: (http://127\.0\.0\.1:\d+/)$").group(1)
        timer.cancel()
        return self

    @property
    def folder(self):
        return Path(re.search(r"folder: (\S+)", self.lines[0]).group(1))

    @property
    def id(self):
        return self.folder.name.rpartition("-")[2]

    def processes(self):
        """Everything it started, itself not among them."""
        return marks.alive(marks.marked(marks.DEMO_MARK, self.id))

    def port_answers(self):
        port = int(self.url.rstrip("/").rpartition(":")[2])
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()
            return True
        return False

    def left(self):
        """What is left of it."""
        return [*self.processes(), *([self.folder] if self.folder.exists() else [])]

    def end(self):
        """Whatever the test did, nothing stays."""
        self.process.kill()
        self.process.stdout.close()
        self.process.wait()
        if self.lines:
            marks.end_all(marks.DEMO_MARK, self.id, grace_seconds=0)


class _Timer:
    def __init__(self, seconds, act):
        import threading

        self._timer = threading.Timer(seconds, act)
        self._timer.start()

    def cancel(self):
        self._timer.cancel()


@pytest.fixture
def demo():
    demo = Demo("--port", "0", "--empty-grace", "1")
    try:
        yield demo.start()
    finally:
        demo.end()


def wait_until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.05)


async def run_cell(person, code):
    """What a cell of a new kernel prints."""
    server = f"{person.url}/user/{person.name}"
    headers = {"Authorization": f"token {person.token}"}
    async with aiohttp.ClientSession(headers=headers) as client:
        async with client.post(f"{server}/api/kernels", json={"name": "python3"}) as answer:
            kernel = (await answer.json())["id"]
        async with client.ws_connect(f"{server}/api/kernels/{kernel}/channels") as channel:
            request = _execute_request(code)
            await channel.send_json(request)
            return await asyncio.wait_for(_printed(channel, request["header"]["msg_id"]), 60)


def _execute_request(code):
    header = {
        "msg_id": uuid.uuid4().hex,
        "msg_type": "execute_request",
        "session": uuid.uuid4().hex,
        "username": "",
        "date": "",
        "version": "5.3",
    }
    content = {"code": code, "silent": False, "store_history": False}
    return {
        "channel": "shell",
        "header": header,
        "parent_header": {},
        "metadata": {},
        "content": content,
    }


async def _printed(channel, request_id):
    text = ""
    async for message in channel:
        body = message.json()
        kind, content = body["msg_type"], body["content"]
        if body["parent_header"].get("msg_id") != request_id:
            continue
        if kind == "stream":
            text += content["text"]
        if kind == "error":
            text += "\n".join(content["traceback"])
        # Output and reply come on two channels; idle is the last word on that of the output.
        if kind == "status" and content["execution_state"] == "idle":
            return text
    raise AssertionError("the kernel went away")


async def test_from_profile_to_cell_and_back(demo):
    await from_profile_to_cell_and_back(demo)


async def test_from_profile_to_cell_and_back_on_a_real_control_plane(programs):
    demo = Demo("--port", "0", "--empty-grace", "1", "--control-plane", "real")
    try:
        await from_profile_to_cell_and_back(await asyncio.to_thread(demo.start))
    finally:
        demo.end()


async def from_profile_to_cell_and_back(demo):
    async with Person(demo.url, "ann") as ann:
        assert "simulated" in ann.login_page
        assert "no password" in ann.login_page
        quotes = (await ann.api("GET", "gpu-jit/quotes"))["quotes"]
        assert set(quotes) == {"cpu", "l4", "a100", "t4"}
        assert all(q["possible"] and q["usd_per_hour_micro"] > 0 for q in quotes.values())
        assert 5 < quotes["l4"]["wait_p50_seconds"] < 30  # the demo's own figures, not EC2's
        await ann.start({"profile": "l4"})
        events = await ann.progress()
        assert events[-1][1].get("ready"), events
        stages = [event["gpu_jit"]["stage"] for _, event in events if "gpu_jit" in event]
        # The stream shows what is: a stage that is over between two looks is not told afterwards.
        assert stages == sorted(stages, key=ORDER.index)
        assert stages[-1] == "Starting"
        assert "Booting" in stages
        status, lab = await ann.lab()
        assert status == 200
        assert "JupyterLab" in lab
        code = "import os; print(os.environ.get('PLANTED_SECRET'), os.environ.get('http_proxy'), "
        printed = await run_cell(ann, code + "os.environ['CUDA_VISIBLE_DEVICES'])")
        assert printed == "None None 0\n"
        panel = await run_cell(ann, "import jupyter_gpu_jit; print(jupyter_gpu_jit.session())")
        assert "g6.xlarge" in panel
        assert "per hour" in panel
        await ann.stop()
    await asyncio.to_thread(demo.read_until, "g6.xlarge.* is terminated")
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(END_SECONDS) == 0
    assert demo.left() == []
    assert not demo.port_answers()


async def test_sessions_share_a_node_of_eight(demo):
    async with Person(demo.url, "ann") as ann, Person(demo.url, "bob") as bob:
        await ann.start({"profile": "a100"})
        assert (await ann.progress())[-1][1].get("ready")
        await bob.start({"profile": "a100"})
        events = [event for _, event in await bob.progress()]
        assert events[-1].get("ready")
        stages = {event["gpu_jit"]["stage"] for event in events if "gpu_jit" in event}
        assert not stages & {"Launching", "Booting", "Registered"}, "the seat was there"
        code = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"
        given = {await run_cell(person, code) for person in (ann, bob)}
        assert given == {"0\n", "1\n"}
    demo.process.send_signal(signal.SIGTERM)
    rest = demo.process.stdout.read()
    assert demo.process.wait(END_SECONDS) == 0
    launches = [line for line in [*demo.lines, *rest.splitlines()] if "is pending" in line]
    assert len(launches) <= 1
    assert demo.left() == []


async def test_sigkill_of_the_demo_with_a_session_running_leaves_nothing(demo):
    async with Person(demo.url, "ann") as ann:
        await ann.start({"profile": "cpu"})
        assert (await ann.progress())[-1][1].get("ready")
        await run_cell(ann, "import subprocess; subprocess.Popen(['sleep', '600'])")
    assert len(demo.processes()) >= 4  # hub, proxy, session, kernel
    demo.process.kill()
    demo.process.wait()
    wait_until(lambda: demo.left() == [], END_SECONDS)
    assert not demo.port_answers()


def hub_of(demo):
    return [pid for pid in demo.processes() if b"jupyterhub\0-f" in _line(pid)]


async def test_a_killed_hub_is_started_again_and_nobody_loses_anything(demo):
    async with Person(demo.url, "ann") as ann:
        await ann.start({"profile": "cpu"})
        assert (await ann.progress())[-1][1].get("ready")
        [hub] = hub_of(demo)
        os.kill(hub, signal.SIGKILL)
        wait_until(lambda: hub_of(demo) not in ([], [hub]), END_SECONDS)
        await answers(f"{demo.url}hub/health")
        assert (await ann.user())["servers"][""]["ready"]
        assert (await ann.lab())[0] == 200


async def answers(url):
    """Wait until the page is there."""
    async with asyncio.timeout(READY_SECONDS), aiohttp.ClientSession() as client:
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with client.get(url) as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.1)


def test_a_hub_that_keeps_dying_is_the_end_of_the_demo(demo):
    killed = set()

    def ended():
        for pid in set(hub_of(demo)) - killed:
            killed.add(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return demo.process.poll() is not None

    wait_until(ended, 30)
    rest = demo.process.stdout.read()
    assert demo.process.wait() == 2
    assert len(killed) == 4
    assert "gpu-jit: JupyterHub ended" in rest
    assert "Traceback" not in rest
    assert demo.left() == []


def test_an_interrupt_while_starting_leaves_nothing():
    demo = Demo("--port", "0")
    try:
        demo.read_until("JupyterHub: starting")
        demo.process.send_signal(signal.SIGINT)
        demo.process.stdout.read()
        assert demo.process.wait(END_SECONDS) == 0
        assert demo.left() == []
    finally:
        demo.end()


def test_a_taken_port_is_one_sentence():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        demo = Demo("--port", str(port))
        said = demo.process.stdout.read()
        demo.process.stdout.close()
        assert demo.process.wait(30) == 2
    assert said.startswith(f"gpu-jit: Port {port} is taken")
    assert len(said.splitlines()) == 1


def test_the_shipped_configuration_is_the_one_that_runs():
    from jupyter_gpu_jit.local.hub_settings import CONFIG

    shipped = Path(__file__).parents[2] / "hub_config" / "jupyterhub_config_local.py"
    assert shipped.read_text() == CONFIG


def _line(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes()


async def test_work_in_a_thread_returns_or_raises():
    from jupyter_gpu_jit.local.threads import in_thread

    assert await in_thread(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0)


def test_the_log_shows_the_fields_of_a_record(tmp_path):
    import logging

    from jupyter_gpu_jit.local.logs import log_to

    log = logging.getLogger("jupyter_gpu_jit.local.test")
    with log_to(tmp_path / "demo.log"):
        log.info("node registered", extra={"node": "n1"})
        try:
            raise ValueError("planted")
        except ValueError:
            log.exception("failed")
    log.warning("not any more")
    lines = (tmp_path / "demo.log").read_text().splitlines()
    assert lines[0].endswith('node registered {"node": "n1"}')
    assert lines[1].endswith("failed")
    assert lines[-1] == "ValueError: planted"
