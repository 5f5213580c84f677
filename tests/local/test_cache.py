"""The cache: an entry is whole or absent, is made once, and by one process at a time."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from jupyter_gpu_jit.errors import UserError
from jupyter_gpu_jit.local import cache, proxy
from jupyter_gpu_jit.local.control_plane import builder


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "gpu-jit"


def silent(_: str) -> None:
    """A report that nobody reads."""


def write(out: Path, _scratch: Path) -> None:
    (out / "file").write_text("made")


def test_an_entry_is_made_once(home: Path) -> None:
    made: list[Path] = []

    def make(out: Path, scratch: Path) -> None:
        made.append(scratch)
        write(out, scratch)

    for _ in range(2):
        assert (cache.entry("a", make, report=silent) / "file").read_text() == "made"
    assert len(made) == 1
    assert {path.name for path in home.iterdir()} == {"a", "lock"}


def test_a_failed_entry_leaves_nothing(home: Path) -> None:
    def make(out: Path, scratch: Path) -> None:
        write(out, scratch)
        raise UserError("No.")

    with pytest.raises(UserError):
        cache.entry("a", make, report=silent)
    assert {path.name for path in home.iterdir()} == {"lock"}


def test_what_a_killed_process_left_is_removed(home: Path) -> None:
    (cache.root() / "making-dead" / "scratch").mkdir(parents=True)
    cache.entry("a", write, report=silent)
    assert not (home / "making-dead").exists()


def test_a_second_process_waits_and_says_so() -> None:
    said = threading.Event()
    with (cache.root() / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        thread = threading.Thread(
            target=cache.entry, args=("a", write), kwargs={"report": lambda _: said.set()}
        )
        thread.start()
        assert said.wait(10)
        assert not (cache.root() / "a").exists()
    thread.join(10)
    assert (cache.root() / "a" / "file").exists()


def test_the_proxy_is_fetched_and_runs_on_the_wheels_node(home: Path) -> None:
    line = proxy.command(silent)
    assert line == proxy.command(silent)
    version = subprocess.check_output([*line, "--version"], text=True, env={})
    assert version.startswith("5.")
    node = subprocess.check_output([line[0], "--version"], text=True)
    assert int(node.lstrip("v").split(".")[0]) >= 22
    assert {path.name for path in home.iterdir()} == {Path(line[1]).parents[3].name, "lock"}


def test_without_go_a_sentence_says_what_to_do(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(UserError, match=r"needs Go 1\.26"):
        builder.build(silent)
    assert {path.name for path in home.iterdir()} == {"lock"}


def test_a_failed_build_says_what_go_said(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("GOCACHE", "GOMODCACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOPROXY", "off")
    with pytest.raises(UserError, match=r"etcd v3.* could not be built .*GOPROXY=off"):
        builder.build(silent)
    assert {path.name for path in home.iterdir()} == {"lock"}
