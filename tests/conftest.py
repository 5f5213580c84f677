"""What several folders share: the real control plane, the browser, and what counts as covered."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from jupyter_gpu_jit.local.control_plane import ControlPlane, build

HUB_CONFIG = Path(__file__).parents[1] / "hub_config"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# What is not counted as covered: end to end, and what plays whole scenarios hundreds of times,
# which takes three times as long when it is watched and meets no line that the others do not.
UNCOUNTED = (
    "tests/e2e/",
    "tests/sim/test_crashes.py",
    "tests/sim/test_eta.py",
    "tests/sim/test_interruption.py",
    "tests/sim/test_mishaps.py",
    "tests/sim/test_mutants.py",
    "tests/sim/test_scenarios.py",
)
CHILDREN_ARE_MEASURED = "COVERAGE_PROCESS_CONFIG"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """pytest-cov pauses during the call of what is marked."""
    for item in items:
        if item.nodeid.startswith(UNCOUNTED):
            item.add_marker("no_cover")


# A worker would be measured three times over: as a child of ours, by what pytest-cov 7 starts in it
# before it knows that it is a worker, and by what it starts then. Only the last of them pauses.


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """What is started from here on is no child to be measured."""
    os.environ.pop(CHILDREN_ARE_MEASURED, None)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Before pytest-cov's own hook."""
    early = session.config.pluginmanager.getplugin("_cov")
    if early is not None and early.cov_controller and hasattr(session.config, "workerinput"):
        early.cov_controller.cov.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Neither are the processes measured that it starts, also in the set-up of its module."""
    measured = os.environ.get(CHILDREN_ARE_MEASURED)
    if measured is None or not item.nodeid.startswith(UNCOUNTED):
        return (yield)
    del os.environ[CHILDREN_ARE_MEASURED]
    try:
        return (yield)
    finally:
        os.environ[CHILDREN_ARE_MEASURED] = measured


@pytest.fixture(scope="session")
def programs(pytestconfig: pytest.Config) -> dict[str, Path]:
    """etcd, Kubernetes and KWOK; built the first time, which takes minutes."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def report(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\ntest: {text}", flush=True)

    return build(report)


@pytest.fixture(scope="session")
def control_plane(
    programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ControlPlane]:
    """A started control plane with our CRD, namespace, accounts and roles; shared by all tests.

    It holds nothing of an event loop: a test may await its methods on its own.
    """
    plane = ControlPlane(tmp_path_factory.mktemp("plane"), programs)
    asyncio.run(_start(plane))
    yield plane
    asyncio.run(plane.stop())


async def _start(plane: ControlPlane) -> None:
    await plane.start()
    try:
        await plane.apply(HUB_CONFIG / "crd.yaml", HUB_CONFIG / "rbac.yaml")
    except BaseException:
        await plane.stop()
        raise


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a browser that runs."""
    for name in BROWSERS:
        path = shutil.which(name)
        if (
            path
            and subprocess.run([path, "--version"], capture_output=True, check=False).returncode
            == 0
        ):
            return path
    pytest.fail("There is no Chromium: make test installs one.")
