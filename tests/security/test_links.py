"""S5: no link and no foreign page starts, stops or cancels anything, whoever is logged in.

A browser sends its cookies along with what a foreign page makes it send, and says where that
page came from. Nothing but a page of the hub knows the token that goes into a POST.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from hub_world import Browser, World

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVIL = "https://evil.example"
# What browsers say of a request that another site's page made: a link, an image, a form, a script.
LINK = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Referer": f"{EVIL}/"}
IMAGE = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Referer": f"{EVIL}/"}
FORM = {**LINK, "Origin": EVIL, "Content-Type": "application/x-www-form-urlencoded"}
SCRIPT = {**IMAGE, "Sec-Fetch-Mode": "cors", "Origin": EVIL, "Content-Type": "text/plain"}
JSON = {**SCRIPT, "Content-Type": "application/json"}
OLD_BROWSER: dict[str, str] = {"Referer": f"{EVIL}/"}

STARTS = (
    "spawn/{user}?profile=l4",
    "spawn/{user}?opt-profile=l4",
    "spawn/{user}/two?opt-profile=l4",
    "spawn?profile=l4&opt-profile=l4",
    "spawn/{user}?user_options=%7B%22profile%22%3A%22l4%22%7D",
)
ENDS = (
    "api/gpu-jit/users/{user}/server/cancel",
    "api/users/{user}/server",
    "api/users/{user}/servers/",
)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    here = await World(tmp_path_factory.mktemp("hub")).start()
    yield here
    await here.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def victim(world: World) -> AsyncIterator[tuple[str, Browser]]:
    """Somebody new, logged in."""
    user = await world.new_user()
    browser = await world.browser(user)
    yield user, browser
    await browser.close()


async def send(
    browser: Browser, method: str, path: str, headers: dict[str, str], body: bytes | None = None
) -> int:
    """As a foreign page would have it sent: with the cookies, without the hub's token."""
    url = browser.url + path
    request = browser.http.request(method, url, headers=headers, data=body, allow_redirects=False)
    async with request as answer:
        return answer.status


def starting(world: World, user: str) -> bool:
    return any(world.hand.pod_of(user, server) for server in ("", "two"))


@pytest.mark.parametrize("headers", [LINK, IMAGE, OLD_BROWSER], ids=["link", "image", "old"])
async def test_no_link_with_options_starts_anything(
    world: World, victim: tuple[str, Browser], headers: dict[str, str]
) -> None:
    user, browser = victim
    for path in STARTS:
        status = await send(browser, "GET", path.format(user=user), headers)
        assert status < 500
        assert not (await world.server(user)).get("pending"), path
        assert not starting(world, user), path


FORGED: dict[str, tuple[str, dict[str, str], bytes]] = {
    "form": ("spawn/{user}", FORM, b"profile=l4"),
    "form for a named server": ("spawn/{user}/two", FORM, b"profile=l4"),
    "form with a wrong token": ("spawn/{user}?_xsrf=wrong", FORM, b"profile=l4&_xsrf=wrong"),
    "script": ("api/users/{user}/server", SCRIPT, b'{"profile": "l4"}'),
    "script with JSON": ("api/users/{user}/server", JSON, b'{"profile": "l4"}'),
    "old browser": ("api/users/{user}/server", OLD_BROWSER, b'{"profile": "l4"}'),
    "form for the API": ("api/users/{user}/server", FORM, b"profile=l4"),
}


@pytest.mark.parametrize("name", FORGED)
async def test_no_foreign_page_starts_anything(
    world: World, victim: tuple[str, Browser], name: str
) -> None:
    user, browser = victim
    path, headers, body = FORGED[name]
    status = await send(browser, "POST", path.format(user=user), headers, body)
    assert status in (401, 403)
    assert not (await world.server(user)).get("pending")
    assert not starting(world, user)


@pytest.mark.parametrize("headers", [LINK, IMAGE, FORM, SCRIPT, JSON, OLD_BROWSER])
async def test_no_foreign_page_ends_a_start(
    world: World, victim: tuple[str, Browser], headers: dict[str, str]
) -> None:
    user, browser = victim
    await world.call("POST", f"users/{user}/server", {"profile": "l4"})
    pod = await world.hand.has_pod(user)
    for path in ENDS:
        for method in ("GET", "HEAD", "POST", "DELETE", "PUT", "PATCH"):
            status = await send(browser, method, path.format(user=user), headers)
            assert status >= 400 or method in ("GET", "HEAD"), (method, path, status)
            assert status < 500, (method, path, status)
    now: Any = world.hand.pod_of(user)
    assert now is not None
    assert now["metadata"]["uid"] == pod["metadata"]["uid"]
    assert "deletionTimestamp" not in now["metadata"]
    assert (await world.server(user))["pending"] == "spawn"


async def test_the_hubs_own_page_does_start_and_cancel(
    world: World, victim: tuple[str, Browser]
) -> None:
    """So that the refusals above are not for some other reason."""
    user, browser = victim
    status, text = await browser.post(f"spawn/{user}", {"profile": "l4"})
    assert status == 302, text
    await world.hand.has_pod(user)
    headers = {"X-XSRFToken": browser.xsrf(), "Content-Type": "application/json"}
    assert await send(browser, "POST", ENDS[0].format(user=user), headers) == 204
    assert not starting(world, user)


async def test_a_tokens_place_is_the_header_also_for_foreign_pages(world: World) -> None:
    user = await world.new_user()
    token = await world.token_of(user)
    path = f"api/gpu-jit/users/{user}/server/cancel?token={token}"
    async with world.http.post(world.url + path) as answer:
        assert answer.status == 403


async def test_no_page_of_the_hub_can_be_framed(world: World, victim: tuple[str, Browser]) -> None:
    user, browser = victim
    await world.call("POST", f"users/{user}/server", {"profile": "l4"})
    for path in ("home", f"spawn/{user}/two", f"spawn-pending/{user}", "api/gpu-jit/quotes"):
        async with browser.http.get(
            browser.url + path, headers={"Sec-Fetch-Mode": "navigate"}
        ) as it:
            assert it.status == 200, path
            assert "frame-ancestors 'none'" in it.headers["Content-Security-Policy"], path
