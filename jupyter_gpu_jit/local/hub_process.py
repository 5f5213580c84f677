"""The demo's hub as a child process: started, watched, ended.

Called by ``demo``. Its environment is made here and holds nothing of the developer's.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from ..errors import GpuJitError
from . import marks
from .hub_settings import CONFIG, SETTINGS_VARIABLE, HubSettings
from .processes import search_path

STOP_SECONDS = 2.5
POLL_SECONDS = 0.05
START_SECONDS = 60.0
DEATHS, DEATHS_SECONDS = 3, 60.0


class HubEnded(GpuJitError):
    """JupyterHub ended though nobody asked it to."""

    default_reason = "HubEnded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How it is started: always the same way."""

    line: tuple[str, ...]
    env: Mapping[str, str]
    folder: Path
    log: Path

    async def process(self) -> asyncio.subprocess.Process:
        """A new process."""
        with self.log.open("ab") as output:
            return await asyncio.create_subprocess_exec(
                *self.line,
                env=self.env,
                cwd=self.folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the demo, which ends the hub in its turn
            )


class HubProcess:
    """``python -m jupyterhub`` with the demo's configuration; started again when it dies."""

    def __init__(self, process: asyncio.subprocess.Process, launch: Launch, url: str) -> None:
        self._process, self._launch, self._url = process, launch, url
        self._deaths: list[float] = []
        self._was_ready = False

    @classmethod
    async def start(
        cls, settings: HubSettings, *, kubeconfig: Path, log: Path, demo_id: str
    ) -> HubProcess:
        """Start it; it is not ready yet."""
        line, env = _prepare(settings, kubeconfig, demo_id)
        launch = Launch(line=tuple(line), env=env, folder=Path(settings.folder), log=log)
        return cls(await launch.process(), launch, settings.public_url)

    @property
    def pid(self) -> int:
        """Its process id now."""
        return self._process.pid

    async def until_ready(self) -> None:
        """Wait until it answers through its proxy. Raises HubEnded after a minute."""
        try:
            async with asyncio.timeout(START_SECONDS), aiohttp.ClientSession() as client:
                await _until_up(client, f"{self._url}hub/health")
            self._was_ready = True
        except TimeoutError:
            raise HubEnded(f"JupyterHub did not answer: {self._last_words()}") from None

    async def watch(self, say: Callable[[str], None]) -> None:
        """Start it again when it ends, as a cluster would.

        Raises HubEnded after too many ends, and sooner when it was never ready: then its
        configuration or the disk is to blame, or a port that somebody took meanwhile.
        """
        while True:
            code = await self._process.wait()
            now = asyncio.get_running_loop().time()
            self._deaths = [t for t in self._deaths if now - t < DEATHS_SECONDS] + [now]
            if len(self._deaths) > (DEATHS if self._was_ready else 1):
                raise HubEnded(f"JupyterHub ended with status {code}: {self._last_words()}")
            say(f"JupyterHub: ended with status {code}, starting again")
            self._process = await self._launch.process()

    async def stop(self) -> None:
        """End it, and its proxy with it."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    def _last_words(self) -> str:
        lines = self._launch.log.read_text(errors="replace").strip().splitlines()
        own = [line for line in lines if "[ConfigProxy]" not in line]
        return own[-1][:500] if own else "it said nothing."


def _prepare(
    settings: HubSettings, kubeconfig: Path, demo_id: str
) -> tuple[list[str], dict[str, str]]:
    """Write its files; its command line and environment."""
    folder = Path(settings.folder)
    folder.mkdir(mode=0o700)
    config, stored = folder / "jupyterhub_config.py", folder / "settings.json"
    config.write_text(CONFIG)
    settings.write(stored)
    env = {
        "PATH": search_path(),
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "KUBECONFIG": str(kubeconfig),
        SETTINGS_VARIABLE: str(stored),
        marks.DEMO_MARK: demo_id,
    }
    return [sys.executable, "-m", "jupyterhub", "-f", str(config)], env


async def _until_up(client: aiohttp.ClientSession, url: str) -> None:
    while True:
        with contextlib.suppress(aiohttp.ClientError):
            async with client.get(url) as answer:
                if answer.status == 200:
                    return
        await asyncio.sleep(POLL_SECONDS)
