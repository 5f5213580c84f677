"""A session's container as a local process: its environment, its address, its end.

Called by ``agent``. The process sees the pod's environment and nothing of the developer's:
cloud credentials in a shell must not reach notebooks. CPU and memory limits of the pod are
not enforced here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from . import marks

Json = Mapping[str, Any]
SERVICE_URL = "JUPYTERHUB_SERVICE_URL"
DEFAULT_COMMAND = ("jupyterhub-singleuser",)
_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")


class Addresses:
    """Gives each pod its own loopback address, 127.0.x.y, free on the port it wants."""

    def __init__(self, start: int = 0) -> None:
        self._start = start % (253 * 254)
        self._taken: set[str] = set()

    def take(self, port: int) -> str:
        """A free address. Raises RuntimeError when all 64,262 are taken."""
        for address in self._candidates():
            if address not in self._taken and _is_free(address, port):
                self._taken.add(address)
                return address
        raise RuntimeError("All loopback addresses are taken.")

    def give_back(self, address: str) -> None:
        """The pod is gone."""
        self._taken.discard(address)

    def _candidates(self) -> Iterator[str]:
        count = 253 * 254
        for i in range(self._start, self._start + count):
            high, low = divmod(i % count, 254)
            yield f"127.0.{high + 1}.{low + 1}"


def _is_free(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


class Devices:
    """GPU indices of one node; none is ever given to two pods."""

    def __init__(self, count: int) -> None:
        self._free = list(range(count))

    def take(self, count: int) -> tuple[int, ...] | None:
        """The lowest free indices, or None when there are not that many."""
        if count > len(self._free):
            return None
        taken, self._free = self._free[:count], self._free[count:]
        return tuple(taken)

    def give_back(self, indices: Sequence[int]) -> None:
        """The pod is gone."""
        self._free = sorted([*self._free, *indices])


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What all agents of a demo share: where sessions live and how they are marked."""

    folder: Path
    demo_id: str
    addresses: Addresses = field(default_factory=Addresses)

    def home(self, user: str) -> Path:
        """A user's own folder, kept across sessions; no name leads out of ``folder``."""
        safe = quote(user, safe="").replace(".", "%2E") or "%"
        home = self.folder / "homes" / safe
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        return home

    def log(self, pod_name: str) -> Path:
        """Where a session's output goes."""
        logs = self.folder / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        return logs / f"session-{pod_name}.log"


def search_path() -> str:
    """PATH of a session: this environment's programs, then the system's."""
    return os.pathsep.join((str(Path(sys.executable).parent), "/usr/local/bin:/usr/bin:/bin"))


def environment(
    container: Json, *, host: Host, home: Path, uid: str, address: str, gpus: Sequence[int]
) -> dict[str, str]:
    """All that the process sees: the pod's variables and the little a container would have."""
    env = {"LANG": "C.UTF-8", **_pod_variables(container)}
    if SERVICE_URL in env:
        env[SERVICE_URL] = at_address(env[SERVICE_URL], address)
    devices = ",".join(map(str, gpus))
    return {
        **env,
        "PATH": search_path(),
        "HOME": str(home),
        "CUDA_VISIBLE_DEVICES": devices,
        "NVIDIA_VISIBLE_DEVICES": devices or "void",
        marks.DEMO_MARK: host.demo_id,
        marks.POD_MARK: uid,
    }


def _pod_variables(container: Json) -> dict[str, str]:
    env: dict[str, str] = {}
    for row in container.get("env") or ():
        env[row["name"]] = expand(row.get("value") or "", env)
    return env


def expand(text: str, env: Mapping[str, str]) -> str:
    """Kubernetes' ``$(NAME)`` references; unknown ones stay, ``$$`` is a dollar sign."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        return "$" if name is None else env.get(name, match.group(0))

    return _REFERENCE.sub(value, text)


def at_address(url: str, address: str) -> str:
    """The URL with its host replaced, for a server told to listen on all addresses."""
    parts = urlsplit(url)
    netloc = address if parts.port is None else f"{address}:{parts.port}"
    return urlunsplit(parts._replace(netloc=netloc))


def command_line(container: Json, env: Mapping[str, str]) -> list[str]:
    """What to run: as the kubelet, command then args; an empty one is our image's default.

    Raises FileNotFoundError when there is no such program.
    """
    words = [*(container.get("command") or ()), *(container.get("args") or ())]
    line = [expand(word, env) for word in words or DEFAULT_COMMAND]
    program = shutil.which(line[0], path=env["PATH"])
    if program is None:
        raise FileNotFoundError(line[0])
    if Path(line[0]).name == "jupyterhub-singleuser" and os.geteuid() == 0:
        line.append("--allow-root")
    return [program, *line[1:]]


class SessionProcess:
    """A started process, in a session of its own."""

    def __init__(self, process: asyncio.subprocess.Process, pod_uid: str) -> None:
        self._process = process
        self._pod_uid = pod_uid
        self._kill_timer: asyncio.TimerHandle | None = None
        self._swept = False

    @classmethod
    async def start(
        cls, line: Sequence[str], *, env: Mapping[str, str], folder: Path, log: Path
    ) -> SessionProcess:
        """Start it in ``folder`` with exactly ``env``. Raises OSError."""
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *line,
                env=dict(env),
                cwd=folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        return cls(process, env[marks.POD_MARK])

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def wait(self) -> int:
        """Exit code; 128 + signal number when a signal ended it."""
        code = await self._process.wait()
        if self._kill_timer is not None:
            self._kill_timer.cancel()
        self.kill()  # as with a container, nothing of it outlives its first process
        self._swept = True
        return code if code >= 0 else 128 - code

    def stop(self, grace_seconds: float) -> None:
        """SIGTERM to the first process now, and after the grace SIGKILL to all of them.

        A second call may shorten the grace, never lengthen it.
        """
        loop = asyncio.get_running_loop()
        if self._kill_timer is None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
        if self._kill_timer is not None:
            if self._kill_timer.when() <= loop.time() + grace_seconds:
                return
            self._kill_timer.cancel()
        self._kill_timer = loop.call_later(grace_seconds, self.kill)

    def kill(self) -> None:
        """SIGKILL to the process, its group, and everything that carries the pod's mark."""
        if self._swept:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        marks.send(marks.marked(marks.POD_MARK, self._pod_uid), signal.SIGKILL)
