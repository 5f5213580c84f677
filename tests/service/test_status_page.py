"""The status page on a real hub: login, who sees what, and what arrives while it is open."""

from __future__ import annotations

import asyncio
import json
import re
import time
from importlib.resources import files

import aiohttp
import pytest
from hub_browser import Browser, logged_in
from hub_browser import told as events_of
from hub_process import SCOPE
from service_world import PREFIX, make_world, seat_session, session_pod, told

from jupyter_gpu_jit.errors import Unavailable
from jupyter_gpu_jit.ports import PODS
from jupyter_gpu_jit.service import pages
from jupyter_gpu_jit.service.pages import PAGE_POLICY, filled


async def wait_for(world, user, server=""):
    why = told("Waiting", f"No A100 for {user} now.")
    return await world.cluster.create(PODS, session_pod(user, server, **why), namespace="gpu-jit")


async def crowd(world):
    """Ann sits on a node, bob waits, gus and root have nothing."""
    await seat_session(world.cluster)
    await wait_for(world, "bob")


async def next_of(events, name, holds=lambda data: True):
    async with asyncio.timeout(20):
        async for found, data in events:
            if found == name and holds(data):
                return data
    raise AssertionError(f"the stream ended without {name}")


def users_in(picture):
    return set(re.findall(r'"user": "(\w+)"', json.dumps(picture)))


# --- the page --------------------------------------------------------------------------------


async def test_whoever_is_not_logged_in_goes_through_the_hub_and_comes_back(world, hub):
    async with Browser(hub, world) as browser:
        status, text = await browser.visit(PREFIX)
        assert (status, "username" in text) == (200, True)
        await browser.log_in("ann")
        page = await browser.open_page()
        assert '<span class="gj-who">ann</span>' in page


async def test_without_its_last_slash_the_address_leads_to_the_page_too(world, hub):
    async with logged_in(hub, world, "ann") as browser:
        status, text = await browser.visit(PREFIX.rstrip("/"))
        assert (status, "gj-nodes" in text) == (200, True)


async def test_the_page_has_no_script_and_no_style_of_its_own(world, hub):
    async with logged_in(hub, world, "ann") as browser:
        page = browser.page_text
        assert not re.search(r"<script(?![^>]* src=)|<style| style=| on[a-z]+=", page)
        for address in re.findall(r'(?:src|href)="([^"#]+)"', page):
            assert address.startswith(("/services/gpu-jit/static/", "/hub/"))
        assert "@" not in page
    policy = PAGE_POLICY.split("; ")
    assert {"default-src 'self'", "frame-ancestors 'none'"} <= set(policy)


@pytest.mark.parametrize("name", ["status.css", "theme.js", "dom.js", "parts.js", "status.js"])
async def test_its_files_need_no_login_and_never_make_html_of_texts(world, name):
    answer = await world.ask(f"{PREFIX}static/{name}")
    assert answer.code == 200
    assert answer.headers["Content-Type"].partition(";")[0] in ("text/css", "text/javascript")
    assert not re.search(rb"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", answer.body)


@pytest.mark.parametrize("name", ["../app.py", "%2e%2e/app.py", "x.css", ".", "status.html"])
async def test_nothing_else_is_a_file(world, name):
    assert (await world.ask(f"{PREFIX}static/{name}")).code in (403, 404)


def test_what_is_filled_into_a_page_is_text():
    text = filled("sorry.html", "/x/", hub="/hub/", message='"><script>@base@</script>')
    assert "&quot;&gt;&lt;script&gt;@base@&lt;/script&gt;" in text


def test_the_look_is_that_of_the_hub_s_pages():
    ours = (files("jupyter_gpu_jit.service") / "static/status.css").read_text()
    theirs = (files("jupyter_gpu_jit.hub") / "static/gpu_jit.css").read_text()
    tokens = re.compile(r'^(?::root|\[data-bs-theme="dark"\]) \{ --gj-.*$', re.MULTILINE)
    assert tokens.findall(theirs) == tokens.findall(ours)
    assert len(tokens.findall(ours)) == 2


async def test_a_hub_that_is_away_is_said_on_the_page(hub):
    class Gone:
        api_url, service_token = "http://127.0.0.1:9/hub/api", hub.service_token

    world = await make_world(Gone())
    answer = await world.ask(PREFIX, token="0" * 64)
    assert answer.code == 503
    assert b"The hub could not be asked who you are" in answer.body
    world.server.stop()


# --- who sees what ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "view", "users"),
    [
        ("ann", "own", {"ann"}),
        ("bob", "own", {"bob"}),
        ("gus", "own", set()),
        ("rita", "everything", {"ann", "bob"}),
        ("root", "everything", {"ann", "bob"}),
    ],
)
async def test_a_user_sees_own_sessions_and_whoever_may_sees_all(world, hub, name, view, users):
    await crowd(world)
    async with logged_in(hub, world, name) as browser:
        picture = await browser.overview()
        assert (picture["view"], picture["viewer"], users_in(picture)) == (view, name, users)
        text = json.dumps(picture)
        for other in {"ann", "bob"} - users - {name}:
            assert other not in text
        if name != "ann" and view == "own":
            assert (picture["nodes"], "n1" in text, "gnc-1" in text) == ([], False, False)


async def test_a_server_s_token_shows_that_server_and_a_person_s_all_of_theirs(world, hub):
    await crowd(world)
    await wait_for(world, "ann", "two")

    async def servers(token):
        answer = await world.ask("overview", token=token)
        assert answer.code == 200, answer.body
        found = json.loads(answer.body)
        assert users_in(found) <= {"ann"}
        sessions = [s for node in found["nodes"] for s in node["sessions"]]
        return sorted(s["server"] for s in [*sessions, *found["waiting"]])

    one = hub.new_token(
        "ann", scopes=[f"{SCOPE}!server=ann/two", "access:services!service=gpu-jit"]
    )
    assert await servers(one) == ["two"]
    assert await servers(hub.new_token("ann")) == ["", "two"]


async def test_a_script_of_another_page_is_nobody(world, hub):
    await crowd(world)
    async with logged_in(hub, world, "root") as browser:
        for name in ("overview", "events"):
            async with browser.api(name, xsrf=False) as answer:
                assert answer.status == 401
                assert "bob" not in await answer.text()


async def test_a_token_in_the_address_is_nobody_s(world, hub):
    answer = await world.ask(f"overview?token={hub.new_token('ann')}")
    assert answer.code == 401


# --- live ------------------------------------------------------------------------------------


async def test_a_change_arrives_and_what_changes_for_others_does_not(world, hub):
    async with logged_in(hub, world, "ann") as browser, browser.events() as events:
        first = await next_of(events, "overview")
        assert first["counts"]["waiting"] == 0
        await wait_for(world, "bob")
        await asyncio.sleep(1.5)  # long enough for a look that must not be told
        await wait_for(world, "ann")
        second = await next_of(events, "overview")
        assert [row["user"] for row in second["waiting"]] == ["ann"]
        assert "No A100 for ann now." in [line["why"] for line in second["log"]]
        assert "bob" not in json.dumps(second)


async def test_many_pages_share_one_look_and_nobody_looks_when_they_are_closed(world, hub):
    asked = []
    real = world.cluster.list

    async def counted(kind, **selectors):
        asked.append(kind)
        return await real(kind, **selectors)

    world.cluster.list = counted
    board = world.board
    async with logged_in(hub, world, "ann") as browser:
        async with browser.events() as one, browser.events() as two:
            for events in (one, two):
                await next_of(events, "overview")
            await until(lambda: board.watchers == 2)
            before = asked.count(PODS)
            await asyncio.sleep(2.2)
            assert 1 <= asked.count(PODS) - before <= 3
        await until(lambda: board.watchers == 0)
        before = asked.count(PODS)
        await asyncio.sleep(1.2)
        assert asked.count(PODS) == before


async def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_an_api_server_that_is_away_is_told_and_so_is_its_return(world, hub):
    async with logged_in(hub, world, "ann") as browser, browser.events() as events:
        await next_of(events, "overview")
        real = world.cluster.list

        async def away(kind, **selectors):
            raise Unavailable("The Kubernetes API does not answer.")

        world.cluster.list = away
        assert await next_of(events, "trouble") == "The Kubernetes API does not answer."
        world.cluster.list = real
        assert await next_of(events, "trouble") == ""


async def test_what_nobody_foresaw_is_told_without_its_text(world, hub, caplog):
    async with logged_in(hub, world, "ann") as browser, browser.events() as events:
        await next_of(events, "overview")

        async def broken(kind, **selectors):
            raise RuntimeError("secret detail")

        world.cluster.list = broken
        said = await next_of(events, "trouble")
        assert said == "The service failed; its log says why. It keeps trying."
    assert "secret detail" in caplog.text


async def test_silence_is_broken_so_that_no_proxy_gives_up(world, hub, monkeypatch):
    monkeypatch.setattr(pages, "KEEP_ALIVE_SECONDS", 0.5)
    async with logged_in(hub, world, "ann") as browser, browser.events() as events:
        assert await next_of(events, "") == "still here"


async def test_the_stream_ends_with_the_login(world, hub):
    async with logged_in(hub, world, "ann") as browser, browser.events() as events:
        await next_of(events, "overview")
        await browser.visit("/hub/logout")
        assert await next_of(events, "end") == "You are not logged in here."
        assert [event async for event in events] == []


async def test_the_stream_ends_with_the_token(world, hub):
    made = hub.call("POST", "/users/ann/tokens", {})
    header = {"Authorization": f"token {made['token']}"}
    async with (
        aiohttp.ClientSession(headers=header) as client,
        client.get(f"{world.api_url}events") as answer,
    ):
        events = events_of(answer)
        await next_of(events, "overview")
        hub.call("DELETE", f"/users/ann/tokens/{made['id']}")
        await next_of(events, "end")
