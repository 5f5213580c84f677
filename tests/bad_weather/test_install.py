"""make env on a machine without a network: one sentence, within seconds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest
from cases import Case, covers

ROOT = Path(__file__).parents[2]
NEEDED = ("Makefile", "requirements.lock", "setup.cfg", "pyproject.toml", "README.md")
INDEX = "http://127.0.0.1:9/simple"  # discard: nobody listens
SECONDS = 90  # 7 with uv and 20 without on an idle machine; the rest is for a busy one
FOREIGN = ("UV_", "PIP_", "MAKE", "MFLAGS", "PYTHON", "VIRTUAL_ENV")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What make env reads, without what it made here."""
    (tmp_path / "tests").mkdir()
    for name in (*NEEDED, "tests/bootstrap_uv.sh"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def make_env(checkout: Path, *, path: str) -> tuple[int, list[str]]:
    """Status of make env with an index that is not there, and what it said."""
    ours = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
    index = {"UV_INDEX_URL": INDEX, "PIP_INDEX_URL": INDEX, "PATH": path}
    caches = {"UV_CACHE_DIR": f"{checkout}/uv-cache", "PIP_CACHE_DIR": f"{checkout}/pip-cache"}
    began = time.monotonic()
    answer = subprocess.run(
        ["make", "env", f"PYTHON={sys.base_prefix}/bin/python3"],
        cwd=checkout,
        env=ours | index | caches | {"PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=2 * SECONDS,
        check=False,
    )
    assert time.monotonic() - began < SECONDS
    # The last line is make's own.
    return answer.returncode, answer.stdout.splitlines()[:-1]


def path_without_uv() -> str:
    folders = os.environ["PATH"].split(os.pathsep)
    return os.pathsep.join(f for f in folders if not (Path(f) / "uv").exists())


@pytest.fixture
def uv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a real uv: this machine's, make env's, or one fetched now."""
    here = shutil.which("uv")
    known = [Path(here).parent] if here else [ROOT / "build/uv/bin"]
    if not (known[0] / "uv").exists():
        folder = tmp_path_factory.mktemp("uv")
        venv.create(folder, with_pip=True)
        subprocess.run([folder / "bin/pip", "install", "--quiet", "uv>=0.5"], check=True)
        known = [folder / "bin"]
    return known[0]


@covers("no-network-for-uv")
def test_without_uv(case: Case, checkout: Path) -> None:
    status, said = make_env(checkout, path=path_without_uv())
    assert status == case.exit_code
    assert said == ["env: fetching uv", case.says()]
    assert not (checkout / "build" / "uv").exists(), "or the next make env would take it for uv"


@covers("no-network-for-packages")
def test_with_uv(case: Case, checkout: Path, uv: Path) -> None:
    status, said = make_env(checkout, path=f"{uv}:{path_without_uv()}")
    assert status == case.exit_code
    assert len(said) == 2
    package = re.search(r"/simple/([\w.-]+/?)\W", said[1])
    assert package is not None, said
    assert said[1] == case.says(index=INDEX, package=package.group(1))
    assert not (checkout / ".venv" / ".installed").exists(), "or make would think it is done"
