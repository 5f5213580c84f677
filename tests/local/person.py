"""A person at the demo's hub, over HTTP: used by tests that go the whole way without a browser."""

import asyncio
import json
import re
import time

import aiohttp
from yarl import URL


class Person:
    """Logged in as ``name``; ``async with``."""

    def __init__(self, url, name):
        self.url, self.name = url.rstrip("/"), name
        # Cookies of an IP address are only kept when told so.
        self._client = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
        self.token = ""

    async def __aenter__(self):
        try:
            await self._log_in()
        except BaseException:
            await self._client.close()
            raise
        return self

    async def _log_in(self):
        page = self.login_page = await self.page("/hub/login")
        xsrf = re.search(r'name="_xsrf" value="([^"]+)"', page).group(1)
        form = {"username": self.name, "password": "", "_xsrf": xsrf}
        async with self._client.post(f"{self.url}/hub/login", data=form) as answer:
            assert answer.status == 200, await answer.text()
        made = await self.api("POST", f"users/{self.name}/tokens", {"note": "test"}, cookies=True)
        self.token = made["token"]

    async def __aexit__(self, *exc):
        await self._client.close()

    async def page(self, path):
        """Text of a page."""
        async with self._client.get(self.url + path) as answer:
            return await answer.text()

    async def api(self, method, path, body=None, *, cookies=False, status=(200, 201, 202, 204)):
        """JSON of a call of the hub's API."""
        headers = {"Content-Type": "application/json"}
        if cookies:
            found = self._client.cookie_jar.filter_cookies(URL(f"{self.url}/hub/"))
            headers |= {"X-XSRFToken": found["_xsrf"].value, "Referer": f"{self.url}/hub/home"}
        else:
            headers["Authorization"] = f"token {self.token}"
        url, data = f"{self.url}/hub/api/{path}", None if body is None else json.dumps(body)
        async with self._client.request(method, url, data=data, headers=headers) as answer:
            text = await answer.text()
            assert answer.status in status, f"{answer.status}: {text}"
            return json.loads(text) if text else None

    def _server(self, server):
        kind = f"servers/{server}" if server else "server"
        return f"users/{self.name}/{kind}"

    async def start(self, options, server="", **kw):
        """Ask for a server."""
        return await self.api("POST", self._server(server), options, **kw)

    async def stop(self, server=""):
        """Stop it and wait until the hub says it is stopped."""
        await self.api("DELETE", self._server(server))
        await self.until(lambda user: server not in user["servers"])

    async def user(self):
        """The hub's model of this person."""
        return await self.api("GET", f"users/{self.name}")

    async def until(self, condition, seconds=60):
        """Wait for a condition on the user's model."""
        async with asyncio.timeout(seconds):
            while True:
                user = await self.user()
                if condition(user):
                    return user
                await asyncio.sleep(0.1)

    async def progress(self, server=""):
        """Events of a start, each with the seconds since this call, until it is ready or failed."""
        began = time.monotonic()
        url = f"{self.url}/hub/api/{self._server(server)}/progress"
        headers = {"Authorization": f"token {self.token}"}
        events = []
        async with self._client.get(url, headers=headers) as answer:
            async for line in answer.content:
                if line.startswith(b"data:"):
                    event = json.loads(line[5:])
                    events.append((round(time.monotonic() - began, 2), event))
                    if event.get("ready") or event.get("failed"):
                        break
        return events

    async def lab(self, server=""):
        """Status and text of the server's JupyterLab page."""
        path = f"/user/{self.name}/{server + '/' if server else ''}lab"
        async with self._client.get(self.url + path) as answer:
            return answer.status, await answer.text()
