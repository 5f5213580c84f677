"""kill -9 of the hub with five sessions gated: each reaches Ready, or its cancel."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import aiohttp
import pytest
from demo_process import Demo
from person import Person

from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.local import marks
from jupyter_gpu_jit.ports import PODS

USERS = [f"killed-{n}" for n in range(5)]
READY_SECONDS = 120


def hub_of(demo: Demo) -> int:
    demo_id = demo.folder.name.rpartition("-")[2]
    for pid in marks.alive(marks.marked(marks.DEMO_MARK, demo_id)):
        with contextlib.suppress(OSError):
            if b"jupyterhub\0-f" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
    pytest.fail("no hub runs")


async def wait_for(holds, seconds: float, what: str) -> None:
    for _ in range(int(seconds * 10)):
        with contextlib.suppress(aiohttp.ClientError, AssertionError):
            if await holds():
                return
        await asyncio.sleep(0.1)
    pytest.fail(f"not within {seconds} s: {what}")


def gated(demo: Demo) -> list[str]:
    pods = [wire.read_session_pod(p) for p in demo.objects(PODS) if wire.is_session(p)]
    return [p.request.user for p in pods if p.gates]


async def test_gated_sessions_outlive_their_hub(demo: Demo) -> None:
    async with contextlib.AsyncExitStack() as stack:
        people = [await stack.enter_async_context(Person(demo.url, name)) for name in USERS]
        for person in people:
            await person.start({"profile": "a100"})

        async def all_gated() -> bool:
            return sorted(gated(demo)) == USERS

        await wait_for(all_gated, 30, "five gated pods")
        os.kill(hub_of(demo), signal.SIGKILL)

        # One changes their mind as soon as the new hub answers; the others wait.
        quitter, *patient = people

        async def cancelled() -> bool:
            path = f"gpu-jit/users/{quitter.name}/server/cancel"
            await quitter.api("POST", path, status=(200, 202, 204))
            return True

        await wait_for(cancelled, READY_SECONDS, "the cancel is taken")
        for person in patient:

            async def ready(person: Person = person) -> bool:
                server = (await person.user())["servers"].get("")
                return bool(server and server["ready"])

            await wait_for(ready, READY_SECONDS, f"{person.name} is ready")
            assert (await person.lab())[0] == 200

        async def quit_is_gone() -> bool:
            return demo.session(quitter.name) is None

        await wait_for(quit_is_gone, 30, "the cancelled one's pod is gone")
        for person in patient:
            await person.stop()
