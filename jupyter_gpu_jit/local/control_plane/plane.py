"""Starts and stops a control plane: etcd, API server, scheduler, controllers and KWOK.

Used by ``gpu-jit demo --control-plane real`` and by the tests' ``control_plane`` fixture. Holds
nothing of an event loop between calls, so one plane may serve many loops.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from ...errors import Defect, NotFound, Unavailable
from .. import tether
from ..ports import free_ports
from . import pki
from .parts import Ports, Setup

POLL_SECONDS = 0.05
GRACE_SECONDS = 0.0  # what they would save on the way out ends with the plane
TOKEN_LIFETIME = "8760h"


class ControlPlane:
    """A control plane in ``folder`` (created, private), run from the programs ``build`` gave.

    ``environment`` is added to that of every process; with ``audit`` the API server keeps a log
    of what service accounts do. ``start`` must be called in a thread
    that stays: the processes end with it (see ``tether``).
    """

    def __init__(
        self,
        folder: Path,
        programs: Mapping[str, Path],
        *,
        kwok: bool = True,
        environment: Mapping[str, str] | None = None,
        audit: bool = False,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        self._setup = Setup(folder, programs, Ports(*free_ports(3)), pki.make(folder), audit=audit)
        self._kwok = kwok
        self._environment = {"HOME": str(folder), "PATH": os.defpath, **(environment or {})}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def server(self) -> str:
        """Base URL of the API server; whoever connects needs ``ca_file``."""
        return self._setup.server

    @property
    def ca_file(self) -> Path:
        """Certificate of the CA that signed the server's."""
        return self._setup.keys.ca

    @property
    def admin_token(self) -> str:
        """Token of a user who may do everything."""
        return self._setup.tokens["admin"]

    @property
    def pids(self) -> dict[str, int]:
        """Process id of each part that was started and not stopped."""
        return {name: process.pid for name, process in self._processes.items()}

    def admin_kubeconfig(self) -> Path:
        """A kubeconfig for a user who may do everything."""
        return self._setup.kubeconfig("admin", self.admin_token)

    async def start(self, *, deadline_seconds: float = 60.0) -> None:
        """Start all parts and wait until pods could be created.

        Raises Unavailable when that takes longer, Defect when a part ends; both after ``stop``.
        """
        self.admin_kubeconfig()
        deadline = time.monotonic() + deadline_seconds
        try:
            await self._start(deadline)
        except BaseException:
            await self.stop()
            raise

    async def _start(self, deadline: float) -> None:
        self._run("etcd", self._setup.etcd())
        self._run("kube-apiserver", self._setup.api_server())
        await self._until(self._api_is_ready, "the API server is ready", deadline)
        self._run("kube-controller-manager", self._setup.controller_manager())
        self._run("kube-scheduler", self._setup.scheduler())
        if self._kwok:
            self._run("kwok", self._setup.kwok())
        # No pod is admitted before its namespace has this account.
        await self._until(self._has_account, "the controllers work", deadline)

    def _run(self, name: str, line: list[str]) -> None:
        folder = self._setup.folder
        self._processes[name] = tether.start(
            line, env=self._environment, folder=folder, log=folder / f"{name}.log"
        )

    async def stop(self) -> None:
        """End all parts. Nothing runs afterwards; the folder, with the logs, is left."""
        processes = list(self._processes.values())
        self._processes = {}
        await asyncio.to_thread(tether.end, processes, grace_seconds=GRACE_SECONDS)

    async def apply(self, *paths: Path) -> None:
        """Apply manifests (files or folders) as their owner, and wait until they have taken effect.

        Raises Defect when the API server refuses one.
        """
        files = [word for path in paths for word in ("-f", str(path))]
        await self.kubectl("apply", "--server-side", "--force-conflicts", *files)
        with contextlib.suppress(NotFound):
            await self.kubectl(
                "wait", "--for=condition=established", "--timeout=30s", "crd", "--all"
            )
        for name in (await self.kubectl("get", "namespaces", "-o", "name")).split():
            namespace = name.rpartition("/")[2]
            await self.kubectl(
                "wait", "--for=create", "--timeout=30s", "serviceaccount/default", "-n", namespace
            )

    async def service_account_token(self, name: str, namespace: str = "gpu-jit") -> str:
        """A token of a service account, good for a year. Raises NotFound, Defect."""
        line = ("create", "token", name, "-n", namespace, f"--duration={TOKEN_LIFETIME}")
        return (await self.kubectl(*line)).strip()

    async def kubeconfig_for(self, name: str, namespace: str = "gpu-jit") -> Path:
        """A kubeconfig with just the rights of a service account. Raises NotFound, Defect."""
        token = await self.service_account_token(name, namespace)
        return self._setup.kubeconfig(f"{namespace}/{name}", token)

    async def kubectl(
        self, *arguments: str, stdin: str = "", kubeconfig: Path | None = None
    ) -> str:
        """What kubectl prints, run as admin unless told otherwise.

        Raises NotFound, or Defect with what kubectl said.
        """
        folder = self._setup.folder
        process = await asyncio.create_subprocess_exec(
            str(self._setup.programs["kubectl"]),
            f"--kubeconfig={kubeconfig or self.admin_kubeconfig()}",
            f"--cache-dir={folder / 'kubectl'}",
            *arguments,
            env=self._environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate(stdin.encode())
        if process.returncode:
            raise _kubectl_error(arguments, (errors or output).decode().strip())
        return output.decode()

    async def _until(
        self, holds: Callable[[], Awaitable[bool]], what: str, deadline: float
    ) -> None:
        while not await holds():
            self._check_processes()
            if time.monotonic() > deadline:
                logs = self._setup.folder
                raise Unavailable(f"The control plane did not start in time ({what}): see {logs}.")
            await asyncio.sleep(POLL_SECONDS)

    def _check_processes(self) -> None:
        for name, process in self._processes.items():
            if process.poll() is not None:
                log = self._setup.folder / f"{name}.log"
                raise Defect(f"{name} ended while the control plane started: {_tail(log)}")

    async def _api_is_ready(self) -> bool:
        return await self._answers("/readyz")

    async def _has_account(self) -> bool:
        return await self._answers("/api/v1/namespaces/default/serviceaccounts/default")

    async def _answers(self, path: str) -> bool:
        return await asyncio.to_thread(self._get_ok, path)

    def _get_ok(self, path: str) -> bool:
        headers = {"Authorization": f"Bearer {self.admin_token}"}
        request = urllib.request.Request(self.server + path, headers=headers)
        context = ssl.create_default_context(cafile=str(self.ca_file))
        # No proxy: the developer's proxy does not know our loopback.
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        try:
            with opener.open(request, timeout=2.0) as answer:
                return bool(answer.status == 200)
        except OSError:  # refused, timed out, or an HTTP error
            return False


def _kubectl_error(arguments: tuple[str, ...], said: str) -> Exception:
    message = f"kubectl {' '.join(arguments)}: {said}"
    if any(words in said for words in ("(NotFound)", '" not found', "no matching resources")):
        return NotFound(message)
    return Defect(message)


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1][:500] if lines else "it said nothing"
