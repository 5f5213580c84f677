"""``gpu-jit demo`` as a process, and what can be seen of its cluster from outside."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from jupyter_gpu_jit.adapters.kubernetes import KubernetesCluster
from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.ports import CLAIMS, NODES, PODS, Json, Kind


def until(holds: Callable[[], Any], seconds: float, what: str) -> Any:
    """Look again and again until the answer is true; fail with ``what`` after the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        answer = holds()
        if answer:
            return answer
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {what}")
        time.sleep(0.1)


class Demo:
    """``gpu-jit demo`` as a process; looks into its cluster through its own kubeconfig."""

    def __init__(self, plane: str, *more: str) -> None:
        self.plane = plane
        command = [sys.executable, "-m", "jupyter_gpu_jit", "demo", "--port", "0"]
        self.process = subprocess.Popen(
            [*command, "--control-plane", plane, "--empty-grace", "15", *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self.url = self._read(r"^ready: (\S+)/$")

    def _read(self, pattern: str) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            found = re.search(pattern, line)
            if found:
                return found.group(1)
        pytest.fail(f"the demo ended: {self.lines}")

    @property
    def folder(self) -> Path:
        return Path(re.search(r"folder: (\S+)", "\n".join(self.lines)).group(1))  # type: ignore[union-attr]

    def kubeconfig(self) -> Path:
        """Admin's on the real plane; the demo's only one in memory."""
        names = ("admin.kubeconfig", "admin", "kubeconfig")
        found = [p for p in sorted(self.folder.rglob("*")) if p.is_file() and p.name in names]
        return found[0]

    def objects(self, kind: Kind) -> list[Json]:
        async def ask() -> list[Json]:
            cluster = KubernetesCluster.from_kubeconfig(str(self.kubeconfig()))
            try:
                return list((await cluster.list(kind)).items)
            finally:
                await cluster.close()

        # The browser's loop already runs in this thread.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(lambda: asyncio.run(ask())).result()

    def session(self, user: str) -> Any:
        """The pod of that user's session, or None."""
        pods = [wire.read_session_pod(p) for p in self.objects(PODS) if wire.is_session(p)]
        return next((p for p in pods if p.request.user == user), None)

    def user_nodes(self) -> list[Json]:
        return [n for n in self.objects(NODES) if "providerID" in n.get("spec", {})]

    def claims(self) -> list[Json]:
        return self.objects(CLAIMS)

    def choose(self, page: Page, profile: str) -> None:
        page.goto(f"{self.url}/hub/spawn")
        page.locator(f"label[for=gj-profile-{profile}]").first.click()
        page.click("[type=submit]")

    def end(self) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
