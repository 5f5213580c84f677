"""A copy of the package with one file changed, and the demo run from it."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from jupyter_gpu_jit.local import marks

ROOT = Path(__file__).parents[2]
READY_SECONDS = 120
CATALOGUE = "jupyter_gpu_jit/catalogue/instance_types.csv"
PROFILES = "hub_config/profiles.yaml"


def copy_with(folder: Path, file: str, change: Callable[[str], str]) -> Path:
    """``folder`` with the package and its example files, one of them changed."""
    for name in ("jupyter_gpu_jit", "hub_config"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True)
    target = folder / file
    before = target.read_text()
    target.write_text(change(before))
    assert target.read_text() != before
    return folder


# Before Python 3.12 a compiled module that the limit cuts short is kept, and spoils later runs.
NO_BYTECODE = {"PYTHONDONTWRITEBYTECODE": "1"}


def _environment(room: int | None) -> dict[str, str]:
    """Ours; without room not measured either: coverage's own file would not fit."""
    if room is None:
        return {**os.environ, **NO_BYTECODE}
    kept = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
    return {**kept, **NO_BYTECODE}


class Demo:
    """``gpu-jit demo`` as a process: of this checkout, or of an altered copy.

    ``room``: so many bytes, in steps of 512, fit into any file that it or a child writes.
    """

    def __init__(
        self, *arguments: str, copy: Path | None = None, room: int | None = None, **env: str
    ) -> None:
        limit = "" if room is None else f"ulimit -S -f {room // 512}; "
        shell = ["sh", "-c", f'{limit}exec "$@"', "sh"]
        self.process = subprocess.Popen(
            [*shell, sys.executable, "-m", "jupyter_gpu_jit", "demo", *arguments],
            cwd=copy or ROOT,  # comes first where modules are looked for
            env={**_environment(room), "PYTHONPATH": str(copy or ROOT), **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self.url = ""

    def ready(self) -> Demo:
        """Wait for its URL."""
        self.url = self.said("ready: ").removeprefix("ready: ").rstrip("/")
        return self

    def said(self, beginning: str) -> str:
        """The next line that begins so."""
        timer = threading.Timer(READY_SECONDS, self.process.kill)
        timer.start()
        try:
            assert self.process.stdout is not None
            for line in self.process.stdout:
                self.lines.append(line.rstrip())
                if line.startswith(beginning):
                    return self.lines[-1]
        finally:
            timer.cancel()
        pytest.fail(f"the demo ended: {self.lines}")

    def ended(self, seconds: float = READY_SECONDS) -> tuple[int, list[str]]:
        """Its status and all it said, once it ends by itself."""
        said, _ = self.process.communicate(timeout=seconds)
        self.lines += said.splitlines()
        return self.process.returncode, self.lines

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def folder(self) -> Path:
        found = re.match(r"folder: (\S+)", self.lines[0])
        assert found is not None
        return Path(found.group(1))

    @property
    def id(self) -> str:
        return self.folder.name.rpartition("-")[2]

    def processes(self) -> set[int]:
        """Everything it started, and itself."""
        return marks.alive(marks.marked(marks.DEMO_MARK, self.id)) | {self.process.pid}

    def left(self) -> bool:
        return bool(marks.alive(marks.marked(marks.DEMO_MARK, self.id))) or self.folder.exists()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.ended(30)[0]

    def end(self) -> None:
        """Whatever the test did, nothing stays."""
        self.process.kill()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process.wait()
        if self.lines and self.lines[0].startswith("folder: "):
            marks.end_all(marks.DEMO_MARK, self.id, grace_seconds=0)


def limit_files(pids: set[int], size: int) -> None:
    """From now on no file of these processes grows beyond ``size`` bytes; -1: as they like."""
    for pid in pids:
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
