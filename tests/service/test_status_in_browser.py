"""The status page in Chromium: texts of others are shown as text, changes arrive, an end is said.

The service stands alone here, so a token in the header takes the place of a login.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import ConsoleMessage, Page, async_playwright, expect
from service_world import NOW, PREFIX, STARTED, create_claim, seat_session, session_pod

from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.core.model import SessionStatus
from jupyter_gpu_jit.ports import CLAIMS, PODS

CORPUS = Path(__file__).parents[1] / "security" / "payloads.json"
TEXTS: list[str] = [row["text"] for row in json.loads(CORPUS.read_text())]
MISSING = "Failed to load resource"  # the icon: the hub has it, and there is none here
expect.set_options(timeout=30_000)  # machines that run all tests at once are slow
TRAP = "window.fired = 0; window.__xss = () => { window.fired += 1; };"
# What the page itself is made of; anything else was planted.
OURS = {
    "gj-totals", "gj-waiting", "gj-flights", "gj-nodes", "gj-log", "gj-live", "header", "nav", "a",
    "main", "h1", "h2", "h3", "p", "section", "div", "span", "ul", "ol", "li", "time", "strong",
    "article", "noscript",
}  # fmt: skip


@pytest.fixture
async def page(chromium, world, hub):
    flags = ["--disable-gpu", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=flags)
        header = {"Authorization": f"token {hub.new_token('root')}"}
        context = await browser.new_context(extra_http_headers=header)
        await context.add_init_script(TRAP)
        yield await context.new_page()
        await browser.close()


async def opened(page: Page, world: Any) -> list[str]:
    """Open it; what is complained about goes into the list."""
    said: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if MISSING not in message.text:
            said.append(message.text)

    page.on("console", heard)
    page.on("pageerror", lambda error: said.append(str(error)))
    await page.goto(world.url + PREFIX)
    await expect(page.locator("gj-live")).to_have_text("live")
    return said


def hostile_pod(text: str) -> dict[str, Any]:
    pod = session_pod()
    told = SessionStatus(stage="Waiting", since=NOW, reason=text, message=text)
    notes = pod["metadata"]["annotations"]
    asked = json.loads(notes[wire.SESSION_ANNOTATION])
    asked |= {"user": text, "server": text, "profile": text}
    notes[wire.SESSION_ANNOTATION] = json.dumps(asked)
    notes[wire.STATUS_ANNOTATION] = wire.encode_status(told)
    return pod


async def hostile_claim(cluster: Any, number: int, text: str) -> None:
    name = f"evil-{number}"
    await create_claim(cluster, name)
    failed = {
        "type": "Launched",
        "status": "Unknown",
        "reason": "Launching",
        "message": text,
        "lastTransitionTime": STARTED,
    }
    status = {"instanceType": text, "zone": text, "conditions": [failed]}
    await cluster.patch(CLAIMS, name, {"status": status}, subresource="status")


async def test_texts_of_others_are_shown_and_never_do_anything(page, world):
    for number, text in enumerate(TEXTS):
        await world.cluster.create(PODS, hostile_pod(text), namespace="gpu-jit")
        await hostile_claim(world.cluster, number, text)
    said = await opened(page, world)
    waiting = page.locator("gj-waiting li")
    await expect(waiting).to_have_count(len(TEXTS))
    for selector in ("gj-waiting .gj-user", "gj-waiting .gj-why", "gj-log .gj-why"):
        shown = await page.locator(selector).all_text_contents()
        assert set(TEXTS) <= set(shown), selector
    places = await page.locator("gj-flights .gj-user").all_text_contents()
    assert {f"{text}, spot, {text}" for text in TEXTS} <= set(places)
    names = await page.evaluate(
        "[...new Set([...document.body.querySelectorAll('*')].map(e => e.localName))]"
    )
    assert set(names) <= OURS
    assert (await page.evaluate("window.fired"), said) == (0, [])


async def test_seats_say_whose_they_are_and_changes_arrive_without_a_reload(page, world):
    await seat_session(world.cluster)
    said = await opened(page, world)
    await expect(page.get_by_role("heading", level=1)).to_have_text("GPU nodes and sessions")
    seats = page.get_by_role("img", name="GPU seats: 1 GPU ann, 7 free")
    await expect(seats.locator(".gj-seat")).to_have_count(8)
    await expect(page.locator("gj-totals")).to_contain_text("$8.00/h")
    await expect(page.locator("gj-totals")).to_contain_text("1 of 8")
    await expect(page.locator("#gj-s-waiting")).to_be_hidden()
    await world.cluster.create(PODS, session_pod("bob", "two"), namespace="gpu-jit")
    await expect(page.get_by_role("heading", name="Waiting sessions")).to_be_visible()
    await expect(page.locator("gj-waiting")).to_contain_text("bob / two")
    await expect(page.locator("gj-log")).to_contain_text("Requested")
    await reach_the_log_by_keyboard(page, world)
    assert said == []


async def reach_the_log_by_keyboard(page: Page, world: Any) -> None:
    for number in range(30):
        await create_claim(world.cluster, f"gnc-x{number:02}")
    await expect(page.locator("gj-log")).to_contain_text("gnc-x29")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="To the content")).to_be_focused()
    for _ in range(2):
        await page.keyboard.press("Tab")
    log = page.get_by_role("group", name="Decisions, newest first")
    await expect(log).to_be_focused()
    await page.keyboard.press("End")
    deadline = time.monotonic() + 30
    while await log.evaluate("log => log.scrollTop") < 100:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_a_page_whose_login_ended_says_so(page, world, hub):
    await seat_session(world.cluster)
    made = hub.call("POST", "/users/root/tokens", {})
    header = {"Authorization": f"token {made['token']}"}
    await page.set_extra_http_headers(header)
    await opened(page, world)
    hub.call("DELETE", f"/users/root/tokens/{made['id']}")
    await expect(page.locator("gj-live")).to_have_text("not live")
    await expect(page.get_by_role("alert")).to_have_text("You are not logged in here.")
