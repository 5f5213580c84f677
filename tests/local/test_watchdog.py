"""Nothing outlives a demo, also when the demo is killed."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jupyter_gpu_jit.local import marks
from jupyter_gpu_jit.local.watchdog import Watchdog

# A parent as the demo is one: starts a watchdog, a marked child that listens, and waits.
PARENT = """
import os, subprocess, sys
from pathlib import Path
from jupyter_gpu_jit.local.watchdog import Watchdog
demo_id, folder, code = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
dog = Watchdog(demo_id, folder)
env = {"PATH": os.defpath, "GPU_JIT_DEMO": demo_id}
child = subprocess.Popen([sys.executable, "-c", code, str(folder)], env=env, start_new_session=True)
print(dog.pid, child.pid, flush=True)
child.wait()
"""
LISTENER = """
import signal, socket, subprocess, sys, time
from pathlib import Path
if "deaf" in sys.argv[1]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
listener = socket.create_server(("127.0.0.1", 0))
bare = subprocess.Popen(["/usr/bin/env", "-i", "/bin/sleep", "600"], start_new_session=True)
ready = Path(sys.argv[1], "ready.part")
ready.write_text(f"{listener.getsockname()[1]} {bare.pid}")
ready.rename(Path(sys.argv[1], "ready"))
time.sleep(600)
"""


def wait_until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


def wait_until_gone(pids, seconds=20.0):
    deadline = time.monotonic() + seconds
    while left := marks.alive(pids):
        assert time.monotonic() < deadline, {pid: (_line(pid), _status(pid)) for pid in left}
        time.sleep(0.02)


@pytest.fixture
def parent(request, tmp_path):
    demo_id = f"test-{os.getpid()}-{time.monotonic_ns()}"
    folder = tmp_path / getattr(request, "param", "obedient")
    folder.mkdir()
    command = [sys.executable, "-c", PARENT, demo_id, str(folder), LISTENER]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    pids = [int(word) for word in process.stdout.readline().split()]
    wait_until((folder / "ready").exists)
    port, bare = map(int, (folder / "ready").read_text().split())
    yield process, {*pids, bare}, port, folder
    process.kill()
    process.wait()
    process.stdout.close()
    marks.end_all(marks.DEMO_MARK, demo_id, grace_seconds=0)


@pytest.mark.parametrize("parent", ["obedient", "deaf"], indirect=True)
def test_sigkill_of_the_parent_leaves_no_process_port_or_folder(parent):
    process, pids, port, folder = parent
    assert len(marks.alive(pids)) == 3
    socket.create_connection(("127.0.0.1", port)).close()
    os.kill(process.pid, signal.SIGKILL)
    wait_until_gone(pids)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    assert not folder.exists()


def test_the_watchdog_outlives_interrupts(parent):
    process, pids, _, folder = parent
    # Whole: the word alone is also in the name of this test's folder, an argument of the child.
    (watchdog,) = (
        p for p in _children(process.pid) if b"jupyter_gpu_jit.local.watchdog" in _line(p)
    )
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(watchdog, number)
    os.kill(process.pid, signal.SIGKILL)
    wait_until_gone(pids)
    assert not folder.exists()


def test_close_cleans_up_and_waits(tmp_path):
    folder = tmp_path / "demo"
    (folder / "logs").mkdir(parents=True)
    dog = Watchdog(f"test-{time.monotonic_ns()}", folder)
    dog.close()
    assert not folder.exists()
    assert not marks.alive({dog.pid})


def test_other_marks_and_the_caller_itself_are_spared():
    mine = subprocess.Popen(["/bin/sleep", "600"], env={"GPU_JIT_DEMO": "a"})
    other = subprocess.Popen(["/bin/sleep", "600"], env={"GPU_JIT_DEMO": "ab"})
    try:
        wait_until(lambda: marks.marked("GPU_JIT_DEMO", "a"))
        assert marks.marked("GPU_JIT_DEMO", "a") == {mine.pid}
        assert os.getpid() not in marks.marked("PATH", os.environ["PATH"])
    finally:
        for process in (mine, other):
            process.kill()
            process.wait()


def _children(pid):
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _status(pid):
    return Path(f"/proc/{pid}/status").read_text()


def _line(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes()
