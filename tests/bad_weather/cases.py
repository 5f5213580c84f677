"""The table of bad weather: one row per case, and the mark by which a test names its row.

A row says what people see and what happens by itself; the tests take exit code and sentence from
here. ``test_table.py`` fails when a row has no test or a test no row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

Test = TypeVar("Test", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One kind of bad weather.

    ``exit_code`` None: what is hit goes on by itself. ``sentence`` is exact; ``{...}`` stands for
    what only the run knows.
    """

    name: str
    cause: str
    exit_code: int | None
    sentence: str
    recovers: str

    def says(self, **known: object) -> str:
        """The sentence of this run."""
        return self.sentence.format(**known)


CASES = (
    Case(
        name="api-server-restarts",
        cause="kube-apiserver is killed and comes back 4 s later while sessions wait",
        exit_code=None,
        sentence="g6.xlarge in us-east-1a (spot) is booting; waiting for it to join the cluster.",
        recovers="provisioner and nodes go on where they were; every session runs, nothing twice",
    ),
    Case(
        name="watch-drops",
        cause="every connection to the API server is cut, again and again, while sessions wait",
        exit_code=None,
        sentence="g6.xlarge in us-east-1a (spot) is booting; waiting for it to join the cluster.",
        recovers="lists and watches begin anew; a write without an answer is looked up first",
    ),
    Case(
        name="launch-error",
        cause="the cloud refuses every offering that would do (its quota is used up)",
        exit_code=None,
        sentence="Your cluster has no on-demand quota left for G instances: ask your admin.",
        recovers="the session waits and says so; it is asked again in 3 min, later in 30 at most",
    ),
    Case(
        name="node-never-joins",
        cause="an instance runs and its node never appears",
        exit_code=None,
        sentence="g6.xlarge in us-east-1a (spot) is booting; waiting for it to join the cluster.",
        recovers="after the deadline the instance is ended and the session planned elsewhere",
    ),
    Case(
        name="hub-restarts",
        cause="the hub gets SIGKILL while ten users wait",
        exit_code=None,
        sentence="1 x L4: 0 of 12 pools have capacity now.",
        recovers="the new hub goes on waiting for the same ten pods, and its pages say why",
    ),
    Case(
        name="provisioner-killed",
        cause="SIGKILL of the leading provisioner at twelve moments while eight sessions start",
        exit_code=-9,
        sentence="g6.xlarge in us-east-1a (spot) is booting; waiting for it to join the cluster.",
        recovers="the next one leads within the lease and goes on; every launch has its claim",
    ),
    Case(
        name="catalogue-broken",
        cause="the file of instance types has a line that cannot be read",
        exit_code=2,
        sentence=(
            "gpu-jit: The catalogue of instance types is broken (invalid literal for "
            "int() with base 10: 'four'); install jupyter_gpu_jit again."
        ),
        recovers="installing again",
    ),
    Case(
        name="profiles-checked",
        cause="gpu-jit validate is given a file of profiles with an unknown key",
        exit_code=2,
        sentence='gpu-jit: profiles[0].memry: did you mean "memory"?',
        recovers="mending the file",
    ),
    Case(
        name="profiles-broken",
        cause="a hub is started with a file of profiles that has an unknown key",
        exit_code=2,
        sentence=(
            "Bad config encountered during initialization: GpuJitSpawner.profiles_file: {file}: "
            'profiles[0].memry: did you mean "memory"?'
        ),
        recovers="mending the file",
    ),
    Case(
        name="profiles-broken-while-running",
        cause="the file of profiles gets an unknown key while the hub runs",
        exit_code=None,
        sentence="profiles not read again",
        recovers="the profiles before the change go on; the next good file is taken",
    ),
    Case(
        name="profile-unservable",
        cause="a profile asks for more than any instance has",
        exit_code=None,
        sentence=(
            "16 GPUs and spot only: 0 of 312 pools hold 16 GPUs, 8 CPU and 64 GiB; with at most 8 "
            "GPUs, 191.45 CPU and 702.1 GiB from $5.34/h."
        ),
        recovers="choosing another profile; the hub and everybody else go on",
    ),
    Case(
        name="port-taken",
        cause="another program listens on the demo's port",
        exit_code=2,
        sentence=(
            "gpu-jit: Port {port} is taken: choose another with --port, or 0 for a free one."
        ),
        recovers="another port",
    ),
    Case(
        name="second-demo-same-port",
        cause="make demo a second time while the first one runs",
        exit_code=2,
        sentence=(
            "gpu-jit: Port {port} is taken: choose another with --port, or 0 for a free one."
        ),
        recovers="the first goes on untouched",
    ),
    Case(
        name="second-demo-another-port",
        cause="a second demo beside the first, on another port",
        exit_code=None,
        sentence="ready: http://127.0.0.1:{port}/",
        recovers="sessions run in both, and the end of one leaves the other alone",
    ),
    Case(
        name="disk-full-at-start",
        cause="the disk of the demo's folder is full when it starts",
        exit_code=2,
        sentence=(
            "gpu-jit: The disk is full: free some space, or set TMPDIR to a folder on another disk."
        ),
        recovers="free space, or another TMPDIR; nothing is left behind",
    ),
    Case(
        name="disk-full-everywhere",
        cause="no temporary folder has room for a few bytes",
        exit_code=2,
        sentence=(
            "gpu-jit: No temporary folder can be written to: free some space, or set TMPDIR to a "
            "folder on another disk."
        ),
        recovers="free space, or another TMPDIR",
    ),
    Case(
        name="disk-full-while-running",
        cause="the disk of the demo's folder fills up while it runs",
        exit_code=None,
        sentence="disk: {folder} is full, starts fail",
        recovers="starts work again as soon as there is room, which is said too",
    ),
    Case(
        name="no-network-for-packages",
        cause="make env cannot reach the package index",
        exit_code=2,
        sentence=(
            "env: the packages could not be installed (Failed to fetch: {index}/{package}): check "
            "the network and the package index, then make env again."
        ),
        recovers="make env again with a network",
    ),
    Case(
        name="no-network-for-uv",
        cause="make env on a machine without uv cannot reach the package index",
        exit_code=2,
        sentence=(
            "env: pip could not fetch uv: check the network and the package index, or install uv "
            "by hand."
        ),
        recovers="make env again with a network, or uv installed by hand",
    ),
)
BY_NAME = {case.name: case for case in CASES}


def covers(name: str) -> Callable[[Test], Test]:
    """Mark a test as that of a row. Raises KeyError when the table has none of that name."""
    case = BY_NAME[name]

    def mark(test: Test) -> Test:
        test.case = case  # type: ignore[attr-defined]
        return test

    return mark
