"""Who may ask what: every handler x every role, with real tokens and logins of a real hub."""

from __future__ import annotations

import asyncio
import json
import time

import aiohttp
import pytest
from hub_browser import logged_in
from hub_process import SCOPE, wait_for
from service_world import PREFIX, seat_session

from jupyter_gpu_jit.service import handlers, pages

PROFILES = {"profiles": [{"slug": "cpu", "display_name": "CPU"}]}
REQUESTS = {
    "HealthHandler": ("GET", "health", None),
    "QuotesHandler": ("POST", "quotes", PROFILES),
    "SessionHandler": ("GET", "session", None),
    "NotFoundHandler": ("GET", "nothing/here", None),
    "PageHandler": ("GET", PREFIX, None),
    "CallbackHandler": ("GET", f"{PREFIX}oauth_callback", None),
    "FilesHandler": ("GET", f"{PREFIX}static/status.js", None),
    "OverviewHandler": ("GET", "overview", None),
    "EventsHandler": ("GET", "events", None),
}
PAGE = ("PageHandler", "OverviewHandler", "EventsHandler")


def row(quotes, session, page, live=None):
    """What quotes, session, page, and overview and events answer."""
    live = page if live is None else live
    return {
        "QuotesHandler": quotes,
        "SessionHandler": session,
        "PageHandler": page,
        "OverviewHandler": live,
        "EventsHandler": live,
    }


# The session is that of ann's default server. Without a login the page sends one to the hub.
ROLES = {
    "anonymous": row(401, 401, 302, 401),
    "nonsense": row(401, 401, 302, 401),
    "expired": row(401, 401, 302, 401),
    "owner's server": row(403, 200, 200),
    "owner's other server": row(403, 403, 200),
    "owner without the scope": row(403, 403, 403),
    "owner in person": row(403, 200, 200),
    "other user's server": row(403, 404, 200),
    "other user in person": row(403, 404, 200),
    "group admin": row(403, 404, 200),
    "admin": row(403, 404, 200),
    "hub": row(200, 403, 403),
    "other service": row(403, 403, 403),
}
# Cookies count for the page alone.
BROWSERS = {
    "ann": row(401, 401, 200),
    "bob": row(401, 401, 200),
    "gus": row(401, 401, 200),
    "rita": row(401, 401, 200),
    "root": row(401, 401, 200),
}
EVERYBODY = {
    "HealthHandler": 200,
    "NotFoundHandler": 404,
    "CallbackHandler": 400,
    "FilesHandler": 200,
}
# Who learns from the page that ann has a session.
SEE_ANN = {"owner's server", "owner in person", "admin", "ann", "rita", "root"}
OWN_HEADERS = {
    "PageHandler": {"Content-Type": "text/html; charset=utf-8"},
    "CallbackHandler": {"Content-Type": "text/html; charset=utf-8"},
    "EventsHandler": {"Content-Type": "text/event-stream; charset=utf-8"},
    "FilesHandler": {"Content-Type": "text/javascript", "Cache-Control": "no-cache"},
}
for _name in ("PageHandler", "CallbackHandler"):
    OWN_HEADERS[_name]["Content-Security-Policy"] = pages.PAGE_POLICY


@pytest.fixture(scope="session")
def tokens(hub):
    expired = hub.new_token("ann", expires_in=1, scopes=[f"{SCOPE}!server=ann/"])
    found = {
        "anonymous": "",
        "nonsense": "0" * 64,
        "expired": expired,
        "owner's server": hub.start_server("ann"),
        "owner's other server": hub.start_server("ann", "two"),
        "owner without the scope": hub.new_token("ann", scopes=["read:users!user=ann"]),
        "owner in person": hub.new_token("ann"),
        "other user's server": hub.start_server("bob"),
        "other user in person": hub.new_token("bob"),
        "group admin": hub.new_token("gus"),
        "admin": hub.new_token("root"),
        "hub": hub.service_token,
        "other service": hub.other_token,
    }
    wait_for(lambda: not hub.knows(expired))
    return found


async def test_every_handler_has_a_row_and_every_role_a_column(world):
    ours = {kind.__name__ for kind in world.routes().values()}
    assert ours == set(REQUESTS)
    for each in (*ROLES.values(), *BROWSERS.values()):
        assert ours == set(each | EVERYBODY)
    both = {**vars(handlers), **vars(pages)}.items()
    here = {n for n, k in both if isinstance(k, type) and issubclass(k, handlers.JsonHandler)}
    assert here - ours == {"JsonHandler", "LoginHandler"}


async def ask(world, handler, **headers):
    """Status, headers and text; of a stream its first event."""
    method, path, body = REQUESTS[handler]
    url = (world.url if path.startswith("/") else world.api_url) + path
    async with (
        aiohttp.ClientSession() as client,
        client.request(method, url, json=body, headers=headers, allow_redirects=False) as answer,
    ):
        if handler == "EventsHandler" and answer.status == 200:
            return answer, (await answer.content.readuntil(b"\n\n")).decode()
        return answer, await answer.text()


def check(handler, expected, answer, text):
    assert answer.status == expected, text
    for name, value in (handlers.HEADERS | OWN_HEADERS.get(handler, {})).items():
        if name == "Content-Type" and handler == "EventsHandler" and expected >= 400:
            value = handlers.HEADERS[name]
        assert answer.headers[name] == value
    assert "Server" not in answer.headers
    if expected < 400:
        return
    if handler in ("PageHandler", "CallbackHandler"):
        assert "Try again" in text
        return
    told = json.loads(text)
    assert set(told) == {"reason", "message"}
    assert told["message"].endswith(".")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("handler", REQUESTS)
async def test_a_role_gets_what_the_table_says(world, tokens, role, handler):
    await seat_session(world.cluster)
    header = {"Authorization": f"token {tokens[role]}"} if tokens[role] else {}
    answer, text = await ask(world, handler, **header)
    check(handler, (ROLES[role] | EVERYBODY)[handler], answer, text)
    if handler in ("OverviewHandler", "EventsHandler"):
        assert ('"user": "ann"' in text) == (role in SEE_ANN)
        assert ("gnc-1" in text) == (role in SEE_ANN & {"admin"})


@pytest.mark.parametrize("name", BROWSERS)
async def test_a_browser_gets_what_the_table_says(world, hub, name):
    await seat_session(world.cluster)
    async with logged_in(hub, world, name) as browser:
        cookies = "; ".join(f"{c.key}={c.value}" for c in browser.cookies())
        for handler in REQUESTS:
            answer, text = await ask(world, handler, Cookie=cookies)
            check(handler, (BROWSERS[name] | EVERYBODY)[handler], answer, text)
            if handler in ("OverviewHandler", "EventsHandler"):
                assert ('"user": "ann"' in text) == (name in SEE_ANN)


async def test_asking_in_somebody_elses_name_is_impossible(world, tokens):
    await seat_session(world.cluster)
    token = tokens["other user's server"]
    for query in ("session?user=ann", "session?server=../ann/", "session?server=x!server=ann/"):
        answer = await world.ask(query, token=token)
        assert answer.code in (403, 404)
        assert b"a100" not in answer.body
    for query in ("overview?user=ann", "overview?view=everything"):
        answer = await world.ask(query, token=token)
        assert (answer.code, b"ann" in answer.body) == (200, False)


async def test_tokens_count_in_the_header_only(world, tokens):
    await seat_session(world.cluster)
    token = tokens["owner's server"]
    for path in ("session", "overview", "events"):
        assert (await world.ask(f"{path}?token={token}")).code == 401
        for cookie in ("jupyterhub-services", "service-gpu-jit"):
            assert (await world.ask(path, Cookie=f"{cookie}={token}")).code == 401
    assert (await world.ask("session", Authorization=f"Bearer {token}")).code == 200


async def test_a_revoked_token_is_refused_after_the_time_the_hub_s_word_is_kept(world, hub):
    await seat_session(world.cluster)
    answer = hub.call("POST", "/users/ann/tokens", {"scopes": [f"{SCOPE}!server=ann/"]})
    assert (await world.ask("session", token=answer["token"])).code == 200
    hub.call("DELETE", f"/users/ann/tokens/{answer['id']}")
    deadline = time.monotonic() + 20
    while (code := (await world.ask("session", token=answer["token"])).code) != 401:
        assert time.monotonic() < deadline, code
        await asyncio.sleep(0.1)
