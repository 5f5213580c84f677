"""``gpu-jit demo --aws``: a newcomer on EC2 over HTTP, in a browser, until nothing is left."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from demo_process import Demo, until
from newcomer import message_on, wait_for_lab
from playwright.sync_api import Page

from jupyter_gpu_jit.core import wire


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    demo = Demo("memory", "--aws")
    demo.plane = "aws"
    yield demo
    demo.end()


def test_a_session_runs_on_an_instance_that_ec2_launched(
    demo: Demo, log_in: Callable[[str], Page], shot: Callable[[Page, str], None]
) -> None:
    page = log_in("ann")
    demo.choose(page, "l4")
    until(lambda: message_on(page), 30, "the pending page says what happens")
    shot(page, "pending")
    seen = wait_for_lab(page, "ann")
    assert any("us-east-1" in text for _, text in seen), seen
    page.wait_for_selector(".jp-Launcher, .jp-NotebookPanel", timeout=60_000)
    shot(page, "lab")
    [claim] = [wire.read_claim(each) for each in demo.claims()]
    assert re.fullmatch(r"aws:///us-east-1\w/i-[0-9a-f]{17}", claim.provider_id)
    assert claim.usd_per_hour_micro > 0
    [node] = demo.user_nodes()
    assert node["spec"]["providerID"] == claim.provider_id

    page.goto(f"{demo.url}/hub/home")
    stop = page.locator("#stop")

    def stopped() -> bool:
        # The page takes a press only once its script is there.
        if stop.is_visible():
            stop.click()
            page.wait_for_timeout(500)
        return demo.session("ann") is None

    until(stopped, 60, "the server is stopped")
    until(lambda: not demo.claims() and not demo.user_nodes(), 90, "the node is given back")
