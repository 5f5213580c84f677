"""Starts a world in a process of its own and speaks to its control endpoints.

Called by tests, by the demo and by the bench. Imports nothing but the standard library, so that
whoever uses it needs moto only in the child.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, Request, build_opener

from ...errors import Defect
from .. import tether

Json = dict[str, Any]
READY_SECONDS = 60.0
CALL_SECONDS = 60.0
# Made up, and of a form that no scanner takes for a real one.
ACCESS_KEY, SECRET_KEY = "aws-world", "aws-world"


@dataclass(frozen=True, slots=True)
class WorldControl:
    """The control endpoints of one world. Raises Defect with the world's sentence."""

    url: str
    token: str

    def get(self, name: str, **query: Any) -> Json:
        """Read: clock, instances, launches, log, pools, throttled."""
        return self._call("GET", f"{name}?{urlencode(query)}" if query else name, None)

    def post(self, name: str, **body: Any) -> Json:
        """Do: advance, pool, interrupt, fault, reset and the others of ``control``."""
        return self._call("POST", name, body)

    def _call(self, method: str, name: str, body: Json | None) -> Json:
        request = Request(
            f"{self.url}/_world/{name}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
            method=method,
        )
        try:
            # A proxy of the developer's must not be asked for a loopback address.
            with build_opener(ProxyHandler({})).open(request, timeout=CALL_SECONDS) as answer:
                found: Json = json.loads(answer.read())
        except HTTPError as error:
            with error:
                sentence = json.loads(error.read() or b"{}").get("message", "")
            raise Defect(f"The AWS world refused {method} {name}: {sentence}") from error
        return found


def _first_line(process: subprocess.Popen[bytes]) -> bytes:
    """What it says first; nothing when it ends or takes too long."""
    stdout = process.stdout
    if stdout is None or not select.select([stdout], [], [], READY_SECONDS)[0]:
        return b""
    return stdout.readline()


class AwsWorld:
    """A world as a child process that ends with this one. Also a context manager.

    ``environment`` is added to that of the child, which else has none of this one's.
    """

    def __init__(
        self,
        *,
        seed: int = 7,
        port: int = 0,
        region: str = "us-east-1",
        speed: float = 1.0,
        parameters: Mapping[str, Any] | None = None,
        log: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.region = region
        self.token = secrets.token_urlsafe(24)
        self.url = ""
        self._log = log
        self._environment = {"PATH": os.defpath, **(environment or {})}
        self._line = [
            *("-m", __package__, "--port", str(port), "--seed", str(seed), "--region", region),
            *("--speed", str(speed), "--parameters", json.dumps(dict(parameters or {}))),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def env(self) -> dict[str, str]:
        """What a client of AWS must have in its environment to be in this world."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
        }

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """With this process as a client: its environment says so meanwhile."""
        before = {key: os.environ.get(key) for key in self.env}
        os.environ.update(self.env)
        try:
            yield
        finally:
            for key, value in before.items():
                os.environ.pop(key, None)
                if value is not None:
                    os.environ[key] = value

    @property
    def control(self) -> WorldControl:
        """Its control endpoints."""
        return WorldControl(self.url, self.token)

    def start(self) -> AwsWorld:
        """Start and wait until it answers. Raises Defect when it does not.

        Call it in a thread that stays: the child ends with the thread that started it.
        """
        with (self._log or Path(os.devnull)).open("ab") as output:
            self._process = subprocess.Popen(
                tether.command([sys.executable, *self._line]),
                env={**self._environment, "AWS_WORLD_TOKEN": self.token},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=output,
                start_new_session=True,
            )
        ready = _first_line(self._process)
        if not ready.startswith(b"{"):
            self.stop()
            raise Defect(
                "The AWS world did not start; see its log, or install the extra [aws-world].",
                reason="AwsWorldDown",
            )
        self.url = str(json.loads(ready)["url"])
        return self

    def stop(self) -> None:
        """End it, at once if it does not end by itself."""
        if self._process is not None:
            tether.end([self._process], grace_seconds=3.0)
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None

    def __enter__(self) -> AwsWorld:
        """Started."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Stopped."""
        self.stop()
