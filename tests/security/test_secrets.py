"""S7, S17: the secrets of a running demo are where they must be, and nowhere else.

Every secret it has (and a few planted ones) is looked for in all files of its folder, all
objects of the cluster, all command lines, and all that a user is shown or sent.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from person import Person
from whole_run import QUICK, WholeRun, whole_run

from jupyter_gpu_jit.local import marks
from jupyter_gpu_jit.ports import CLAIMS, EVENTS, LEASES, NODES, PODS, Json
from jupyter_gpu_jit.sim.boot import BootModel

# Files and folders that exist to hold a secret; all are for their owner only.
SAFES = (
    "control-plane/*.kubeconfig",
    "control-plane/tokens.csv",
    "control-plane/*.key",
    "control-plane/etcd",  # the pods, with the tokens of their servers
    "hub/settings.json",
    "hub/cookie_secret",
    "homes/*/.local/share/jupyter/runtime",  # the user's own
)
PAGES = (
    "/hub/home",
    "/hub/spawn",
    "/hub/token",
    "/hub/nope",
    "/hub/api/gpu-jit/quotes",
    "/services/gpu-jit/",
    "/services/gpu-jit/api/v1/overview",
)
PLANTED = "planted-7f3a9c51-in-the-environment"
MARKER = "GPU_JIT_TEST_SECRET"
Texts = dict[str, str]


def secrets_of(run: WholeRun, person: Person, server_token: str) -> Texts:
    """What must not be found, by name."""
    hub = json.loads((run.folder / "hub" / "settings.json").read_text())
    found = {
        "planted in the environment": PLANTED,
        "token of the service": hub["service_token"],
        "token of the proxy": hub["proxy_token"],
        "secret of cookies": (run.folder / "hub" / "cookie_secret").read_text().strip(),
        "token of the user": person.token,
        "token of the user's server": server_token,
    }
    for cookie in person._client.cookie_jar:
        # Nobody is let in for these two; the hub writes the second one into its log.
        if cookie.key not in ("_xsrf", "jupyterhub-session-id"):
            found[f"cookie {cookie.key}"] = cookie.value
    for file in run.plane.glob("*.kubeconfig"):
        [user] = json.loads(file.read_text())["users"]
        found[f"token in {file.name}"] = user["user"]["token"]
    for file in run.plane.glob("*.key"):
        found[f"key {file.name}"] = file.read_text().splitlines()[1]
    assert all(len(secret) >= 16 for secret in found.values()), found.keys()
    return found


def leaks(text: str, known: Texts) -> list[str]:
    return [name for name, secret in known.items() if secret in text]


# --- where is looked ---------------------------------------------------------------------------


def is_safe(file: Path, folder: Path) -> bool:
    safes = [found for pattern in SAFES for found in folder.glob(pattern)]
    return any(file == safe or safe in file.parents for safe in safes)


def files(run: WholeRun) -> Iterator[tuple[str, str]]:
    for file in sorted(run.folder.rglob("*")):
        if file.is_file() and not file.is_symlink() and not is_safe(file, run.folder):
            with suppress(FileNotFoundError):
                yield str(file.relative_to(run.folder)), file.read_bytes().decode("latin-1")


def demo_pids(run: WholeRun) -> list[int]:
    demo_id = run.folder.name.rpartition("-")[2]
    return list(marks.alive(marks.marked(marks.DEMO_MARK, demo_id)))


def command_lines(run: WholeRun) -> Iterator[tuple[str, str]]:
    for pid in demo_pids(run):
        with suppress(FileNotFoundError):
            yield f"command line {pid}", Path(f"/proc/{pid}/cmdline").read_text()


async def objects(run: WholeRun) -> AsyncIterator[tuple[str, str]]:
    for kind in (PODS, EVENTS, CLAIMS, NODES, LEASES):
        for item in (await run.admin.list(kind)).items:
            yield f"{kind.kind} {item['metadata']['name']}", json.dumps(without_env(item))


def without_env(item: Json) -> Json:
    """A pod without its servers' environment, which is how the server gets its token."""
    containers = (item.get("spec") or {}).get("containers") or ()
    bare = [{k: v for k, v in c.items() if k != "env"} for c in containers]
    return {**item, "spec": {**(item.get("spec") or {}), "containers": bare}}


async def shown(run: WholeRun, person: Person, events: list[Any]) -> AsyncIterator[tuple[str, str]]:
    """Pages, streams, answers and errors."""
    yield "stream of progress", json.dumps(events)
    for path in PAGES:
        yield path, await person.page(path)
    yield "lab", (await person.lab())[1]
    for name, method, path in (
        ("refused options", "POST", f"users/{person.name}/servers/x"),
        ("nothing to cancel", "POST", f"gpu-jit/users/{person.name}/server/cancel"),
        ("no such server", "GET", f"gpu-jit/users/{person.name}/servers/y/progress"),
    ):
        body = {"profile": "nope"} if "options" in name else None
        answer = await person.api(method, path, body, status=range(400, 500))
        yield name, json.dumps(answer)
    async for name, text in served(run, person):
        yield name, text


async def served(run: WholeRun, person: Person) -> AsyncIterator[tuple[str, str]]:
    """The service's answers, also to tokens in the wrong place."""
    root = f"{run.url}services/gpu-jit/api/v1/"
    good = {"Authorization": f"token {await run.server_token(person.name)}"}
    async with aiohttp.ClientSession() as client:
        for headers in ({}, good):
            for path in ("session", "overview", "nope", f"session?token={person.token}"):
                async with client.get(root + path, headers=headers) as answer:
                    yield f"service, {path.partition('?')[0]}", await answer.text()
        url = f"{run.url}hub/api/user?token={person.token}"
        async with client.get(url) as answer:
            yield "a token in a URL", await answer.text()


# --- who listens -------------------------------------------------------------------------------


def listening(run: WholeRun) -> set[str]:
    """Addresses, in the kernel's hexadecimal, at which the demo's processes and we listen."""
    ours = {inode for pid in (*demo_pids(run), os.getpid()) for inode in sockets_of(pid)}
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and row[9] in ours}


def sockets_of(pid: int) -> Iterator[str]:
    with suppress(FileNotFoundError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                kind, _, inode = os.readlink(entry).partition(":")
                if kind == "socket":
                    yield inode.strip("[]")


# --- the test ----------------------------------------------------------------------------------


async def test_no_secret_is_anywhere_but_in_its_safe(
    programs: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(BootModel, "demo", classmethod(lambda cls: QUICK))
    monkeypatch.setenv(MARKER, PLANTED)
    caplog.set_level(logging.DEBUG, "jupyter_gpu_jit")
    async with whole_run() as run, Person(run.url, "ann") as ann:
        await ann.start({"profile": "l4"})
        events = await ann.progress()
        assert events[-1][1].get("ready"), events
        looked_at = [pair async for pair in shown(run, ann, events)]
        known = secrets_of(run, ann, await run.server_token("ann"))
        addresses = listening(run)
        looked_at += [pair async for pair in objects(run)]
        await ann.stop()
        looked_at += [*files(run), *command_lines(run)]
        looked_at += [("output", "\n".join(run.lines)), ("log records", caplog.text)]
        modes = {f: f.stat().st_mode & 0o077 for p in SAFES for f in run.folder.glob(p)}
    assert {name: found for name, text in looked_at if (found := leaks(text, known))} == {}
    assert {str(file) for file, mode in modes.items() if mode and file.is_file()} == set()
    assert len(addresses) >= 2  # the session has an address of its own
    assert all(address.endswith("7F") for address in addresses), "reached from elsewhere"
    names = {name for name, _ in looked_at}
    assert {"logs/hub.log", "logs/demo.log", "hub/hub.sqlite", "audit.log"} <= {
        name.removeprefix("control-plane/") for name in names
    }
    for kind in ("Event", "GpuNodeClaim", "Lease", "command line"):
        assert any(name.startswith(f"{kind} ") for name in names), kind
    assert any(name.startswith("logs/session-") for name in names)
