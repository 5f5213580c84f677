"""Spawn, pending and status page as people meet them: what they say, pictures, no barriers.

One demo for all of them. The pictures go to build/screenshots; good ones are copied by hand to
docs/images, which the README shows.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from accessibility import barriers, wider_than_window
from demo_process import Demo
from playwright.sync_api import Browser, Page, expect

SHOTS = Path(os.environ.get("GPU_JIT_SHOTS", "build/screenshots"))
WIDE, NARROW = {"width": 1000, "height": 900}, {"width": 400, "height": 800}
# Keeps hold of the stream, so that a page can be stopped in the middle of a start.
HOLD_STREAMS = """(() => {
    const Real = window.EventSource;
    window.streams = [];
    window.EventSource = function (...given) {
        const made = new Real(...given);
        window.streams.push(made);
        return made;
    };
    window.EventSource.CLOSED = Real.CLOSED;
})()"""
PICTURE_HEIGHT = 600
READY_MS = 120_000  # of a JupyterLab that starts beside much else
LogIn = Callable[[str], Page]
expect.set_options(timeout=20_000)


@pytest.fixture(scope="module")
def demo(programs: Any) -> Iterator[Demo]:
    demo = Demo("memory")
    yield demo
    demo.end()


def for_everybody(page: Page) -> None:
    """Nothing serious is found in any theme and width, and nothing sticks out."""
    page.emulate_media(reduced_motion="reduce")  # a colour on its way is not one to be judged
    found: list[Any] = []
    for theme in ("light", "dark"):
        page.evaluate("name => document.documentElement.dataset.bsTheme = name", theme)
        for size in (WIDE, NARROW):
            page.set_viewport_size(size)
            found += [(theme, size["width"], barrier) for barrier in barriers(page)]
            found += [(theme, size["width"], "sticks out")] if wider_than_window(page) else []
    assert not found, (page.url, found)
    page.evaluate("document.documentElement.dataset.bsTheme = 'light'")
    page.set_viewport_size(WIDE)


def picture(page: Page, name: str) -> None:
    """Keep what the page looks like, without empty space below."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.set_viewport_size({**WIDE, "height": PICTURE_HEIGHT})
    page.evaluate("document.querySelectorAll('[tabindex]').forEach(one => one.scrollTop = 0)")
    height = page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size({**WIDE, "height": height})
    # What has just come into view is painted in the second frame.
    page.evaluate("new Promise(go => requestAnimationFrame(() => requestAnimationFrame(go)))")
    page.screenshot(path=str(SHOTS / f"{name}.png"))


def test_a_page_with_barriers_is_found(demo: Demo, browser: Browser) -> None:
    page = browser.new_page(viewport=WIDE)
    page.goto(f"{demo.url}/hub/login")
    page.evaluate("document.querySelector('main, body').append(document.createElement('button'))")
    assert [found["rule"] for found in barriers(page)] == ["button-name"]
    page.close()


def test_login_says_what_is_real(demo: Demo, browser: Browser) -> None:
    page = browser.new_page(viewport=WIDE)
    page.goto(f"{demo.url}/hub/login")
    expect(page.get_by_role("note")).to_contain_text("Any name, no password")
    expect(page.get_by_role("note")).to_contain_text("prices and boot times are simulated")
    for_everybody(page)
    page.close()


def test_spawn_says_what_each_profile_costs_now_and_how_long_it_takes(
    demo: Demo, log_in: LogIn
) -> None:
    page = log_in("uma")
    page.goto(f"{demo.url}/hub/spawn")
    card = page.locator(".gj-card[data-slug=a100]")
    expect(card.get_by_text("1 x NVIDIA A100 (40 GB or more)")).to_be_visible()
    expect(card.get_by_text(re.compile(r"\$1\.\d\d / h now"))).to_be_visible()
    expect(card.get_by_text(re.compile(r"ready in about \d+ s"))).to_be_visible()
    share = re.compile(r"Your share of one p4d.24xlarge in us-east-1a, which costs \$8\.\d\d / h")
    expect(card.get_by_text(share)).to_be_visible()
    card.get_by_role("radio").check()
    picture(page, "spawn")
    for_everybody(page)


def test_pending_says_where_for_how_much_and_how_long(demo: Demo, log_in: LogIn) -> None:
    page = log_in("pia")
    page.context.add_init_script(HOLD_STREAMS)
    demo.choose(page, "a100")
    booting = page.locator(".gj-stages .gj-current", has_text="Booting")
    booting.wait_for()
    said = page.locator("#progress-message")
    expect(said).to_contain_text(re.compile(r"is booting.* [2-9] s so far, about \d+ s left"))
    page.evaluate("window.streams.forEach(one => one.close())")
    details = page.locator(".gj-details")
    expect(details).to_contain_text(re.compile(r"About left\s*\d+ s"))
    expect(details).to_contain_text(re.compile(r"Node\s*\S{5,}"))
    expect(details).to_contain_text("p4d.24xlarge, spot, us-east-1")
    expect(details).to_contain_text(re.compile(r"\$8\.\d\d per hour"))
    picture(page, "pending")
    for_everybody(page)


def test_cancelled_says_so(demo: Demo, log_in: LogIn) -> None:
    page = log_in("cal")
    demo.choose(page, "l4")
    page.get_by_text(re.compile("is booting")).first.wait_for()
    page.get_by_role("button", name="Cancel this start").click()
    expect(page.locator("#progress-message")).to_contain_text("nothing is left running")
    expect(page.get_by_role("link", name="Choose again")).to_be_visible()
    picture(page, "cancelled")
    for_everybody(page)


def test_status_says_who_sits_where_who_waits_and_what_it_costs(demo: Demo, log_in: LogIn) -> None:
    """Pia, who was left waiting above, sits by now; Tom's node is on its way."""
    page = log_in("admin")
    page.goto(f"{demo.url}/services/gpu-jit/")
    node = page.locator("gj-nodes .gj-node", has_text="p4d.24xlarge")
    expect(node).to_contain_text("pia", timeout=READY_MS)
    expect(node.locator(".gj-people")).to_contain_text("Ready", timeout=READY_MS)
    expect(node).to_contain_text(re.compile(r"\$8\.\d\d/h"))
    seats = node.get_by_role("img", name=re.compile("GPU seats: 1 GPU pia, 7 free"))
    expect(seats).to_be_visible()
    tom = log_in("tom")
    demo.choose(tom, "t4")
    flight = page.locator("gj-flights li", has_text="tom").first
    steps = re.compile("Launching|Booting|Joined")
    expect(flight.locator(".gj-steps .gj-current")).to_contain_text(steps)
    expect(flight).to_contain_text("g4dn.xlarge")
    waiting = page.locator("gj-waiting li", has_text="tom")
    expect(waiting).to_contain_text("t4")
    expect(waiting).to_contain_text(re.compile(r"about \d+ s left"))
    expect(page.locator("gj-log")).to_contain_text("is booting")
    picture(page, "status")
    for_everybody(page)
