"""Each side imports only what it may: the bare package nothing, no side another side's clients."""

from __future__ import annotations

import subprocess
import sys

import pytest

SHOW = """
import sys
before = set(sys.modules)
{code}
print(*sorted({{name if "jupyter_gpu_jit" in name else name.partition(".")[0]
               for name in set(sys.modules) - before}}))
"""
CLOUD = {"boto3", "botocore", "moto"}
KUBERNETES = {"kubernetes", "kubernetes_asyncio"}
HUB = {"jupyterhub", "kubespawner", "sqlalchemy"}
PLANNER = {"numpy", "highspy"}
NOTEBOOK = {"ipywidgets", "IPython", "ipykernel", "jupyter_server"}

FORBIDDEN = {
    "jupyter_gpu_jit.core": PLANNER | CLOUD | KUBERNETES | HUB | NOTEBOOK | {"asyncio"},
    "jupyter_gpu_jit.ports": PLANNER | CLOUD | KUBERNETES | HUB | NOTEBOOK,
    "jupyter_gpu_jit.hub": PLANNER | CLOUD | {"kubernetes"} | NOTEBOOK,
    "jupyter_gpu_jit.service": CLOUD | KUBERNETES | {"kubespawner"} | NOTEBOOK,
    "jupyter_gpu_jit.notebook": PLANNER | CLOUD | KUBERNETES | HUB | {"aiohttp", "tornado"},
    "jupyter_gpu_jit.node": PLANNER | CLOUD | KUBERNETES | HUB | NOTEBOOK,
    "jupyter_gpu_jit.provisioner": CLOUD | KUBERNETES | HUB | NOTEBOOK,
    "jupyter_gpu_jit.sim": CLOUD | KUBERNETES | HUB | NOTEBOOK,
    "jupyter_gpu_jit.local": CLOUD | KUBERNETES | {"kubespawner"} | NOTEBOOK,
    "jupyter_gpu_jit.cli": CLOUD | KUBERNETES | HUB | PLANNER | NOTEBOOK,
}
OWN = {
    "jupyter_gpu_jit.hub": {"provisioner", "notebook", "service", "sim", "local", "core.packing"},
    "jupyter_gpu_jit.service": {"provisioner", "notebook", "hub", "sim", "local", "adapters"},
    "jupyter_gpu_jit.notebook": {"provisioner", "service", "hub", "sim", "local", "adapters"},
    "jupyter_gpu_jit.node": {"provisioner", "service", "hub", "sim", "local", "adapters"},
    "jupyter_gpu_jit.provisioner": {"notebook", "service", "hub", "sim", "local", "adapters"},
    "jupyter_gpu_jit.sim": {"notebook", "service", "hub", "local", "adapters"},
}


def imported_by(code: str) -> set[str]:
    """Top names (our own modules in full) that running the code brings in."""
    ran = subprocess.run(
        [sys.executable, "-c", SHOW.format(code=code)], capture_output=True, text=True, check=True
    )
    return set(ran.stdout.split())


def test_the_bare_package_imports_the_standard_library_only():
    found = imported_by("import jupyter_gpu_jit; jupyter_gpu_jit.__version__")
    strange = {name for name in found if name not in sys.stdlib_module_names}
    assert strange == {"jupyter_gpu_jit"}


def test_an_unknown_name_is_an_attribute_error_and_imports_nothing():
    found = imported_by("import jupyter_gpu_jit as j; assert not hasattr(j, 'nothing')")
    assert {name for name in found if name.startswith("jupyter_gpu_jit")} == {"jupyter_gpu_jit"}


@pytest.mark.parametrize("module", FORBIDDEN)
def test_a_side_does_not_import_the_clients_of_another(module):
    found = imported_by(f"import {module}")
    assert module in found
    assert found & FORBIDDEN[module] == set()


@pytest.mark.parametrize("module", OWN)
def test_a_side_does_not_import_another_side(module):
    found = imported_by(f"import {module}")
    barred = tuple(f"jupyter_gpu_jit.{name}" for name in OWN[module])
    assert {name for name in found if name.startswith(barred)} == set()


@pytest.mark.parametrize("name", ["session", "GpuJitSpawner", "setup"])
def test_public_names_are_found_when_they_are_asked_for(name):
    assert "jupyter_gpu_jit" in imported_by(f"from jupyter_gpu_jit import {name}")
