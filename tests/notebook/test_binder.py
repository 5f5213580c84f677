"""The Binder notebook runs from its first cell to its last, without a network."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

BINDER = Path(__file__).parents[2] / "binder"
# Any connection that leaves the machine fails in the kernel; its own channels are on loopback.
OFFLINE = """
import sys as _sys
def _offline(event, arguments):
    named = event == "socket.getaddrinfo"
    far = event == "socket.connect" and "127.0.0.1" not in str(arguments[1])
    if named or far:
        raise OSError(f"this notebook is to run without a network: {arguments}")
_sys.addaudithook(_offline)
"""


@pytest.fixture(scope="module")
def notebook() -> Any:
    """The notebook after a run."""
    found = nbformat.read(BINDER / "planner.ipynb", as_version=4)
    found.cells.insert(0, nbformat.v4.new_code_cell(OFFLINE))
    client = NotebookClient(found, timeout=60, resources={"metadata": {"path": str(BINDER)}})
    asyncio.run(client.async_execute())
    return found


def shown(notebook: Any) -> list[dict[str, Any]]:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert [o for o in outputs if o.output_type == "error"] == []
    return [o.data for o in outputs if "data" in o]


def test_the_plans_are_drawn(notebook):
    drawings = [data["image/svg+xml"] for data in shown(notebook) if "image/svg+xml" in data]
    assert len(drawings) == 2
    assert "p4d.24xlarge" in drawings[0]
    assert drawings[0].count("<text") > 10


def test_refusals_and_quotes_are_told(notebook):
    texts = "\n".join(str(data) for data in shown(notebook))
    assert "1 x A100, spot only and at most $1.00/h" in texts
    assert "500 GB per GPU" in texts
    assert "together" in texts


def test_the_sliders_are_there(notebook):
    assert any("application/vnd.jupyter.widget-view+json" in data for data in shown(notebook))


def test_nothing_that_was_run_is_committed():
    stored = nbformat.read(BINDER / "planner.ipynb", as_version=4)
    assert all(
        not cell.outputs and cell.execution_count is None
        for cell in stored.cells
        if cell.cell_type == "code"
    )
