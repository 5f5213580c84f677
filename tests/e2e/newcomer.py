"""What a newcomer does, in a browser: choose, wait, work, stop.

The tests of test_newcomer_memory and test_newcomer_kubernetes: a file each, so that they are
played side by side.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from itertools import pairwise

from demo_process import Demo, until
from playwright.sync_api import Browser, Error, Page

from jupyter_gpu_jit.core import wire

LAB_SECONDS = 90
EMPTY_SECONDS = 60
CELL = "import jupyter_gpu_jit; jupyter_gpu_jit.session()"
Shot = Callable[[Page, str], None]
LogIn = Callable[[str], Page]


def wait_for_lab(page: Page, user: str) -> list[tuple[float, str]]:
    """Wait until JupyterLab is open; the messages seen on the way, with when each appeared."""
    seen: list[tuple[float, str]] = []

    def arrived() -> bool:
        if f"/user/{user}/" in page.url:
            return True
        text = message_on(page)
        if text and (not seen or seen[-1][1] != text):
            seen.append((time.monotonic(), text))
        return False

    until(arrived, LAB_SECONDS, f"{user} in JupyterLab; at {page.url}, saw {seen}")
    seen.append((time.monotonic(), "ready"))
    return seen


def message_on(page: Page) -> str:
    """What the pending page says now; nothing while the browser goes from page to page."""
    try:
        return str(page.evaluate("document.getElementById('progress-message')?.innerText || ''"))
    except Error:
        return ""


def run_panel(page: Page, demo: Demo, user: str) -> None:
    """Write a notebook through the browser's own session, open it, run its cell."""
    notebook = {
        "cells": [{
            "cell_type": "code", "id": "panel", "source": CELL,
            "metadata": {}, "outputs": [], "execution_count": None,
        }],
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        "nbformat": 4, "nbformat_minor": 5,
    }  # fmt: skip
    page.wait_for_selector(".jp-Launcher, .jp-NotebookPanel", timeout=60_000)
    status = page.evaluate(
        """async ([url, body]) => {
            const xsrf = document.cookie.match(/_xsrf=([^;]+)/);
            const answer = await fetch(url, {method: "PUT", body,
                headers: {"Content-Type": "application/json", "X-XSRFToken": xsrf ? xsrf[1] : ""}});
            return answer.status;
        }""",
        [
            f"{demo.url}/user/{user}/api/contents/panel.ipynb",
            json.dumps({"type": "notebook", "content": notebook}),
        ],
    )
    assert status in (200, 201)
    page.goto(f"{demo.url}/user/{user}/lab/tree/panel.ipynb")
    page.wait_for_selector(".jp-CodeCell .cm-content", timeout=60_000)
    # What is run before the notebook has got its kernel is dropped, or asked back about.
    page.get_by_text(re.compile(r"\| Idle")).first.wait_for(timeout=60_000)
    prompt = page.locator(".jp-CodeCell .jp-InputPrompt").first

    def ran() -> bool:
        if prompt.inner_text() == "[ ]:":
            page.locator(".jp-CodeCell .cm-content").first.click()
            page.keyboard.press("Control+Enter")
            page.wait_for_timeout(1000)
        return "[1]" in prompt.inner_text()

    until(ran, 60, "the cell runs")


def test_choose_wait_work_share_and_give_back(
    demo: Demo, fresh: None, log_in: LogIn, shot: Shot, browser: Browser
) -> None:
    ann = log_in("ann")
    ann.goto(f"{demo.url}/hub/spawn")
    for text in ("A100", "L4", "CPU"):
        assert ann.get_by_text(re.compile(text)).first.is_visible()
    ann.get_by_text(re.compile(r"\$\d+\.\d+ / h now")).first.wait_for()
    ann.get_by_text(re.compile(r"ready in about")).first.wait_for()
    shot(ann, "spawn")

    demo.choose(ann, "a100")
    ann.wait_for_selector("#gj-stages li")
    ann.get_by_text(re.compile(r"p4d\.24xlarge, (spot|on-demand), us-east-1")).first.wait_for()
    shot(ann, "pending")
    seen = wait_for_lab(ann, "ann")
    gaps = [later - earlier for (earlier, _), (later, _) in pairwise(seen)]
    assert max(gaps) < 15, f"silent for too long: {seen}"
    assert len({text for _, text in seen}) == len(seen), f"said twice: {seen}"

    run_panel(ann, demo, "ann")
    output = ann.locator(".jp-OutputArea-output")
    output.get_by_text(re.compile("A100")).first.wait_for(timeout=60_000)
    output.get_by_text(re.compile(r"per hour")).first.wait_for()
    node = demo.session("ann").node_name
    assert output.get_by_text(re.compile(re.escape(node))).first.is_visible()
    shot(ann, "panel")

    # The second and third user join the same node, without a launch, in seconds.
    pages = {"ann": ann}
    for user in ("bob", "cy"):
        page = pages[user] = log_in(user)
        demo.choose(page, "a100")
        wait_for_lab(page, user)
        joined = demo.session(user)
        assert joined.node_name == node
        assert joined.released_at - joined.request.created_at < 5, "seated in seconds"
    assert len(demo.claims()) == 1

    # Somebody with another profile gets a node of their own: cheaper per GPU.
    dee = pages["dee"] = log_in("dee")
    demo.choose(dee, "l4")
    wait_for_lab(dee, "dee")
    assert demo.session("dee").node_name != node
    assert len(demo.claims()) == 2

    for user, page in pages.items():
        stop(page, demo, user)
    until(
        lambda: not demo.claims() and not demo.user_nodes(), EMPTY_SECONDS, "all nodes given back"
    )


def stop(page: Page, demo: Demo, user: str) -> None:
    """Press Stop on the hub's home page; the pod is gone soon."""
    page.goto(f"{demo.url}/hub/home")

    def pressed() -> bool:
        # The hub's page attaches its handlers after it is loaded: a press before that is lost.
        if page.is_visible("#stop"):
            page.click("#stop")
            page.wait_for_timeout(500)
        return not page.is_visible("#stop")

    until(pressed, 20, f"the Stop button of {user} works")
    until(lambda: demo.session(user) is None, 20, f"the pod of {user} is gone")


def test_cancel_while_it_boots_leaves_nothing(
    demo: Demo, fresh: None, log_in: LogIn, shot: Shot, browser: Browser
) -> None:
    page = log_in("eve")
    demo.choose(page, "l4")
    page.get_by_text(re.compile("is booting")).first.wait_for()
    page.click("#gj-cancel")
    page.get_by_text(re.compile("was cancelled")).first.wait_for()
    shot(page, "cancelled")
    until(lambda: demo.session("eve") is None, 20, "the pod is gone")
    until(lambda: not demo.claims() and not demo.user_nodes(), EMPTY_SECONDS, "the node is gone")


def test_a_freed_seat_can_be_planned_again_within_two_seconds(
    demo: Demo, fresh: None, log_in: LogIn
) -> None:
    fay = log_in("fay")
    demo.choose(fay, "l4")
    wait_for_lab(fay, "fay")
    (claim,) = map(wire.read_claim, demo.claims())
    stop(fay, demo, "fay")
    gus = log_in("gus")
    demo.choose(gus, "l4")
    wait_for_lab(gus, "gus")
    assert demo.session("gus").claim == claim.name, "the same seat, no second launch"
    stop(gus, demo, "gus")
