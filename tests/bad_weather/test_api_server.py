"""A real API server that goes away while sessions wait, and connections to it that are cut."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from cases import Case, covers
from town import Town, boot

from jupyter_gpu_jit.adapters.kubernetes import KubernetesCluster
from jupyter_gpu_jit.errors import Rejected, Unavailable
from jupyter_gpu_jit.local import tether
from jupyter_gpu_jit.local.control_plane import ControlPlane
from jupyter_gpu_jit.local.ports import free_ports
from jupyter_gpu_jit.ports import PODS

USERS = [f"waits-{number}" for number in range(6)]
AWAY_SECONDS = 4.0  # longer than the lease: the provisioner must stop leading meanwhile
SLOW = boot(launch=0.5, boot=3.0)


async def restart_api_server(plane: ControlPlane) -> None:
    """SIGKILL, nothing for a while, then the same program with the same words."""
    old = plane._processes["kube-apiserver"]
    line, folder = _how_it_runs(old.pid)
    old.send_signal(signal.SIGKILL)
    await asyncio.to_thread(old.wait)
    await asyncio.sleep(AWAY_SECONDS)
    plane._processes["kube-apiserver"] = tether.start(
        line, env=plane._environment, folder=folder, log=folder / "kube-apiserver.log"
    )


def _how_it_runs(pid: int) -> tuple[list[str], Path]:
    line = Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
    return line, Path(os.readlink(f"/proc/{pid}/cwd"))


@covers("api-server-restarts")
async def test_the_api_server_restarts(
    case: Case, control_plane: ControlPlane, tmp_path: Path
) -> None:
    async with Town(control_plane, tmp_path, "restart", model=SLOW) as town:
        provisioner = await town.start_provisioner()
        await town.leader()
        await town.sit_down(*USERS[:3])

        async def somebody_waits() -> bool:
            return any(case.says() in told for told in town.seen.told.values())

        await town.until(somebody_waits, 30, "somebody waits for a node")
        await restart_api_server(control_plane)

        async def three_more() -> bool:
            await town.sit_down(*USERS[3:])
            return True

        await town.until(three_more, 60, "the API server takes new sessions")
        await town.all_run()
        assert town.processes[provisioner].returncode is case.exit_code
        log = town.log_of(provisioner)
        assert "not leading any more" in log, "it stopped itself before its lease was over"
        assert "Traceback" not in log
        town.assert_nothing_lost(again=True)
        await town.leave()
        await town.nothing_left()


@covers("api-server-restarts")
async def test_a_server_that_has_just_come_back_refuses_for_a_moment(case: Case) -> None:
    """It knows no roles yet: that is no answer. Refusing without having been away is one."""
    refusal = {"kind": "Status", "code": 403, "reason": "Forbidden", "message": "No such role."}

    async def refuse(_: web.Request) -> web.Response:
        return web.json_response(refusal, status=403)

    app = web.Application()
    app.router.add_get("/{path:.*}", refuse)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    port = free_ports(1)[0]
    knows, learns = (
        KubernetesCluster.connect(server=f"http://127.0.0.1:{port}", token="t") for _ in range(2)
    )
    with pytest.raises(Unavailable, match="did not answer"):
        await learns.list(PODS)
    await web.TCPSite(runner, "127.0.0.1", port).start()
    with pytest.raises(Unavailable, match="No such role"):
        await learns.list(PODS)
    with pytest.raises(Rejected, match="No such role"):
        await knows.list(PODS)
    for cluster in (knows, learns):
        await cluster.close()
    await runner.cleanup()


class Wire:
    """A TCP connection to the API server that can be cut."""

    def __init__(self, server: str) -> None:
        self._target = urlsplit(server)
        self._open: set[asyncio.StreamWriter] = set()
        self.cuts = 0

    async def __aenter__(self) -> Wire:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        """Every connection breaks now, without a word."""
        self.cuts += len(self._open)
        for writer in self._open:
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with self._through(writer) as (far_reader, far_writer):
            ways = ((reader, far_writer), (far_reader, writer))
            await asyncio.gather(*(self._pass_on(*way) for way in ways))

    @contextlib.asynccontextmanager
    async def _through(
        self, writer: asyncio.StreamWriter
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        host, port = self._target.hostname, self._target.port
        far_reader, far_writer = await asyncio.open_connection(host, port)
        both = {writer, far_writer}
        self._open |= both
        try:
            yield far_reader, far_writer
        finally:
            self._open -= both
            for end in both:
                end.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


@covers("watch-drops")
async def test_every_connection_is_cut_again_and_again(
    case: Case, control_plane: ControlPlane, tmp_path: Path
) -> None:
    async with (
        Town(control_plane, tmp_path, "cut", model=SLOW) as town,
        Wire(control_plane.server) as wire,
    ):
        through = tmp_path / "kubeconfig"
        through.write_text(town.kubeconfig.read_text().replace(control_plane.server, wire.url))
        assert json.loads(through.read_text())["clusters"][0]["cluster"]["server"] == wire.url
        provisioner = await town.start_provisioner(kubeconfig=through)
        await town.leader()
        for user in USERS:
            await town.sit_down(user)
            await asyncio.sleep(0.5)
            wire.cut()
        await town.all_run()
        assert wire.cuts > len(USERS), "watches were among them"
        assert town.processes[provisioner].returncode is case.exit_code
        assert "watch interrupted" in town.log_of(provisioner)
        assert any(case.says() in told for told in town.seen.told.values())
        town.assert_nothing_lost()
        await town.leave()
        await town.nothing_left()
