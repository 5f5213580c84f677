"""Somebody's browser at the hub and the service, which are at two ports here and one in life."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import unescape
from typing import Any

import aiohttp
from service_world import PREFIX, World
from yarl import URL

NAVIGATE = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "none"}
SCRIPT = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"}


class Browser:
    """Keeps cookies, follows redirects between the two; ``async with``."""

    def __init__(self, hub: Any, world: World) -> None:
        self._hub, self._world = hub, world
        self.page_text = ""

    async def __aenter__(self) -> Browser:
        # Cookies of an IP address are only kept when told so.
        self._client = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._client.close()

    def address(self, path: str) -> str:
        hub = f"http://127.0.0.1:{self._hub.port}"
        return (hub if path.startswith("/hub/") else self._world.url) + path

    def cookies(self) -> list[Any]:
        """All that were set, also those of other paths."""
        return list(self._client.cookie_jar)

    async def log_in(self, name: str) -> None:
        _, text = await self.visit("/hub/login")
        form = {"username": name, "password": "", "_xsrf": _xsrf_of_form(text)}
        url = self.address("/hub/login")
        async with self._client.post(url, data=form, allow_redirects=False) as answer:
            assert answer.status == 302, await answer.text()

    async def visit(self, path: str) -> tuple[int, str]:
        """Status and text at the end of all redirects."""
        for _ in range(8):
            url = URL(self.address(path), encoded=True)
            async with self._client.get(url, headers=NAVIGATE, allow_redirects=False) as answer:
                if answer.status != 302:
                    return answer.status, await answer.text()
                path = answer.headers["Location"]
        raise AssertionError(f"redirected without end: {path}")

    async def open_page(self) -> str:
        """The status page; what it says."""
        status, self.page_text = await self.visit(PREFIX)
        assert status == 200, self.page_text
        return self.page_text

    def api(self, name: str, *, xsrf: bool = True) -> Any:
        """A request of the page's scripts; ``async with``."""
        token = re.search(r'data-xsrf="([^"]*)"', self.page_text) if xsrf else None
        url = f"{self._world.api_url}{name}"
        asked = {"_xsrf": unescape(token[1])} if token else {}
        return self._client.get(url, params=asked, headers=SCRIPT)

    async def overview(self) -> dict[str, Any]:
        async with self.api("overview") as answer:
            assert answer.status == 200, await answer.text()
            found = await answer.json()
            assert isinstance(found, dict)
            return found

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[tuple[str, Any]]]:
        async with self.api("events") as answer:
            assert answer.status == 200, await answer.text()
            yield told(answer)


@asynccontextmanager
async def logged_in(hub: Any, world: World, name: str) -> AsyncIterator[Browser]:
    """A browser with the status page open."""
    async with Browser(hub, world) as browser:
        await browser.log_in(name)
        await browser.open_page()
        yield browser


async def told(answer: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, Any]]:
    """Events of a stream as (name, data); a comment as ("", its text)."""
    name = ""
    async for raw in answer.content:
        line = raw.decode().rstrip("\n")
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            yield name, json.loads(line[6:])
        elif line.startswith(":"):
            yield "", line[1:].strip()


def _xsrf_of_form(text: str) -> str:
    found = re.search(r'name="_xsrf" value="([^"]+)"', text)
    assert found, text
    return found[1]
