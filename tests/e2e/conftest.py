"""A running demo, on either control plane, and a browser that goes there."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from demo_process import Demo, until
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

pytest.register_assert_rewrite("newcomer")

# Chromium else asks the network for updates and the like.
FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
SHOTS = Path(os.environ.get("GPU_JIT_SHOTS", "build/screenshots"))


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """Of one module only: while it runs, no other loop can run in this thread."""
    flags = [*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="module", params=["real", "memory"])
def plane(request: pytest.FixtureRequest) -> str:
    """The demo's control plane; both, where the module does not say which."""
    return str(request.param)


@pytest.fixture(scope="module")
def demo(plane: str, programs: Any) -> Iterator[Demo]:
    demo = Demo(plane)
    yield demo
    demo.end()


@pytest.fixture
def fresh(demo: Demo) -> None:
    """Nothing is left of the tests before: their nodes have been given back."""
    until(lambda: not demo.claims() and not demo.user_nodes(), 60, "earlier nodes are given back")


@pytest.fixture
def log_in(demo: Demo, browser: Browser) -> Iterator[Callable[[str], Page]]:
    """Opens a page of a user's own browser profile, logged in."""
    opened: list[BrowserContext] = []

    def go(user: str) -> Page:
        opened.append(browser.new_context(viewport={"width": 1000, "height": 900}))
        page = opened[-1].new_page()
        page.set_default_timeout(30_000)
        page.goto(f"{demo.url}/hub/login")
        page.fill("#username_input", user)
        page.click("#login_submit")
        page.wait_for_url(re.compile(r"/hub/(spawn|home)"))
        return page

    yield go
    for context in opened:
        context.close()


@pytest.fixture
def shot(demo: Demo) -> Callable[[Page, str], None]:
    """Keep a picture of a page, to be looked at."""

    def take(page: Page, name: str) -> None:
        SHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(SHOTS / f"{name}-{demo.plane}.png"), full_page=True)

    return take


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Iterator[Any]:
    """When a test fails, keep what every page looked like at that moment."""
    report = yield
    browser = getattr(item, "funcargs", {}).get("browser")
    if report.when == "call" and report.failed and browser is not None:
        SHOTS.mkdir(parents=True, exist_ok=True)
        pages = [page for context in browser.contexts for page in context.pages]
        for number, page in enumerate(pages):
            page.screenshot(path=str(SHOTS / f"failed-{item.name}-{number}.png"))
    return report
