"""Fixtures that several folders share: the real control plane and the browser."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_gpu_jit.local.control_plane import ControlPlane, build

HUB_CONFIG = Path(__file__).parents[1] / "hub_config"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


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
