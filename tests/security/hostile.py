"""Hostile texts, and a browser that notices when one of them does anything.

Called by the tests of payloads in pages. A text calls ``__xss()`` if it can; each page counts the
calls, and is searched for elements and attributes that a text has made.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, async_playwright

PAYLOADS: list[dict[str, str]] = json.loads((Path(__file__).parent / "payloads.json").read_text())
TEXTS = [row["text"] for row in PAYLOADS]
FLAGS = ("--disable-gpu", "--disable-background-networking", "--no-first-run")
TRAP = "window.fired = 0; window.__xss = () => { window.fired += 1; };"
# Elements that a payload made: only attributes that are shown, or lead to pages, may hold one.
PLANTED = r"""() => {
    const texts = new Set(["value", "title", "aria-label", "label", "id", "for", "name"]);
    const links = new Set(["href", "src", "action", "formaction", "data", "xlink:href"]);
    const leads = (url) => {
        try { return new URL(url, "http://here/").protocol; } catch { return ""; }
    };
    const bad = ({name, value}) => {
        if (!value.includes("__xss")) return false;
        if (links.has(name)) return /^(javascript|data):$/.test(leads(value));
        return !texts.has(name) && !name.startsWith("data-");
    };
    const own = (one) => /^(script|style)$/i.test(one.tagName)
        && /^\s*(parent\.)?__xss/.test(one.textContent);
    return [...document.querySelectorAll("*")]
        .filter((one) => own(one) || [...one.attributes].some(bad))
        .map((one) => one.outerHTML.slice(0, 200));
}"""


class Watched:
    """A page of a browser context with the trap set: what went off is in ``alarms``."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._seen: list[str] = []
        page.on("dialog", self._dialog)
        page.on("console", lambda message: self._console(message.text))

    async def _dialog(self, dialog: Any) -> None:
        self._seen.append(f"dialog {dialog.message}")
        await dialog.dismiss()

    def _console(self, text: str) -> None:
        if "Content Security Policy" in text:
            self._seen.append(text)

    async def alarms(self) -> list[str]:
        """Everything that must not be."""
        fired = await self.page.evaluate("window.fired")
        planted = await self.page.evaluate(PLANTED)
        return [*self._seen, *planted, *(["fired"] if fired else [])]

    async def texts(self, selector: str) -> list[str]:
        """What is shown in all these elements, whole."""
        found = await self.page.locator(selector).all_text_contents()
        return list(found)

    async def holds(self, selector: str, text: str) -> None:
        """Wait until an element's text begins with this."""
        begins = """([selector, text]) =>
            document.querySelector(selector)?.textContent.startsWith(text)"""
        await self.page.wait_for_function(begins, arg=[selector, text], timeout=15_000)


@asynccontextmanager
async def launched(chromium: str) -> AsyncIterator[Browser]:
    """A browser until the end of the block."""
    flags = [*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=flags)
        yield browser
        await browser.close()
