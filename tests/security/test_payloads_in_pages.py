"""Fifty hostile texts in every text field of every page: each shows as text, none does anything.

A real hub, a real browser; cluster and service are written by hand, so that also what only a
cloud, a node or the provisioner writes can be hostile.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio
from hostile import PAYLOADS, TEXTS, TRAP, Watched, launched
from hub_world import NAMESPACE, World, container
from jinja2 import Environment
from playwright.async_api import Browser, BrowserContext

from jupyter_gpu_jit.core.options import parse_profiles
from jupyter_gpu_jit.errors import UserError
from jupyter_gpu_jit.hub.form import render_profiles
from jupyter_gpu_jit.notebook import SessionInfo, SessionPanel
from jupyter_gpu_jit.ports import EVENTS

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHOWN = [text for text in TEXTS if text.isprintable()]  # profiles take nothing else


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """A hub whose profiles hold the payloads."""
    folder = tmp_path_factory.mktemp("payloads")
    (folder / "hostile.json").write_text(json.dumps({"profiles": profiles()}))
    settings = {
        "GpuJitSpawner": {"profiles_file": str(folder / "hostile.json")},
        "JupyterHub": {"allow_named_servers": True},
    }
    here = await World(folder, settings).start()
    yield here
    await here.stop()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with launched(chromium) as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """Of one test, with the trap in every page."""
    context = await browser.new_context()
    await context.add_init_script(TRAP)
    yield context
    await context.close()


def profiles() -> list[dict[str, Any]]:
    return [
        {"slug": f"p{n}", "display_name": text, "description": text, "groups": [text, "students"]}
        for n, text in enumerate(SHOWN)
    ]


async def log_in(context: BrowserContext, world: World, user: str) -> None:
    """The context's cookies are that user's from now on."""
    await context.clear_cookies()
    await context.request.get(f"{world.url}login")
    xsrf = next(c["value"] for c in await context.cookies() if c["name"] == "_xsrf")
    form = {"username": user, "password": "", "_xsrf": xsrf}
    answer = await context.request.post(f"{world.url}login", form=form, max_redirects=0)
    assert answer.status == 302


async def opened(context: BrowserContext, url: str) -> Watched:
    watched = Watched(await context.new_page())
    watched.page.set_default_timeout(20_000)
    await watched.page.goto(url)
    return watched


# --- the detector itself ---------------------------------------------------------------------


def careless(row: dict[str, str]) -> str:
    """A page that puts a text where its kind does harm, without escaping it."""
    text = row["text"]
    match row["kind"]:
        case "url":
            return f'<a href="{text}">x</a>'
        case "script":
            return f"<script>var a = '{text}';\n</script><script>var b = \"{text}\";\n</script>"
        case "template":
            return Environment().from_string(f"<div id=x>{text}</div>").render()
    return f"<div>{text}</div><i title=\"{text}\"></i><i title='{text}'></i><i title={text}></i>"


HARMFUL = [row for row in PAYLOADS if row["kind"] != "text"]


async def test_there_are_fifty_of_many_kinds() -> None:
    assert len(set(TEXTS)) == 50
    assert {row["kind"] for row in PAYLOADS} == {
        *("markup", "attribute", "url", "template", "script", "text")
    }


async def test_a_careless_page_is_found_out_by_every_harmful_text(context: BrowserContext) -> None:
    quiet = []
    watched = Watched(await context.new_page())
    for row in HARMFUL:
        await watched.page.evaluate("window.fired = 0")
        await watched.page.set_content(careless(row), wait_until="commit")
        shown = row["kind"] != "template" or await watched.texts("#x") == [row["text"]]
        if shown and not await watched.alarms():
            quiet.append(row["text"])
    assert not quiet, quiet


async def test_a_policy_that_blocks_a_text_is_an_alarm_too(context: BrowserContext) -> None:
    watched = Watched(await context.new_page())
    policy = "<meta http-equiv=Content-Security-Policy content=\"script-src 'none'\">"
    await watched.page.set_content(f"{policy}<script>1</script>")
    assert any("Content Security Policy" in alarm for alarm in await watched.alarms())


# --- what never gets in ----------------------------------------------------------------------


@pytest.mark.parametrize("text", [text for text in TEXTS if not text.isalnum()])
async def test_names_that_have_a_form_of_their_own_take_no_payload(text: str) -> None:
    for body in (
        {"slug": text},
        {"slug": "x", "zones": [text]},
        {"slug": "x", "image": text},
        {"slug": "x", "gpus": {"count": 1, "models": [text]}},
        {"slug": "x", "choices": {"image": {"list": [text]}}},
        {"slug": "x", "choices": {"zone": [text]}},
    ):
        with pytest.raises(UserError):
            parse_profiles([body])


@pytest.mark.parametrize("text", [text for text in TEXTS if text not in SHOWN])
async def test_texts_that_cannot_be_shown_are_refused(text: str) -> None:
    for key in ("display_name", "description"):
        with pytest.raises(UserError, match="cannot be shown"):
            parse_profiles([{"slug": "x", key: text}])


# --- spawn page ------------------------------------------------------------------------------


def possible(text: str) -> dict[str, Any]:
    prices = {"usd_per_hour_micro": 1_000_000, "node_usd_per_hour_micro": 8_000_000}
    return {"possible": True, "instance_type": text, "zone": text, **prices}


def impossible(text: str) -> dict[str, Any]:
    return {"possible": False, "reason": text, "alternative": text}


async def test_spawn_page_shows_profiles_and_quotes_as_text(
    world: World, context: BrowserContext
) -> None:
    groups = tuple(quote(text, safe="") for text in SHOWN)
    for group in groups:
        await world.call("POST", f"groups/{group}")
    user = await world.new_user(groups=("students", *groups))
    last = f"[data-slug=p{len(SHOWN) - 1}] "
    world.quotes_answer = 200, {"quotes": {f"p{n}": impossible(t) for n, t in enumerate(SHOWN)}}
    await log_in(context, world, user)
    watched = await opened(context, f"{world.url}spawn")
    await watched.holds(last + "[data-quote=price]", "not to be had now")
    assert await watched.texts(".gj-name") == SHOWN
    assert await watched.texts(".gj-description") == SHOWN
    assert await watched.texts("[data-quote=wait]") == [f"{text} {text}" for text in SHOWN]
    assert await watched.alarms() == []
    world.quotes_answer = 200, {"quotes": {f"p{n}": possible(t) for n, t in enumerate(SHOWN)}}
    await watched.holds(last + "[data-quote=place]", "Your share of one ")  # looked up again
    places = [f"one {text} in {text}, which" for text in SHOWN]
    found = await watched.texts("[data-quote=place]")
    assert [place in text for place, text in zip(places, found, strict=True)] == [True] * len(SHOWN)
    assert await watched.alarms() == []


async def test_choices_asked_for_by_a_link_are_text(context: BrowserContext) -> None:
    image = {"list": ["lab/a:1"], "pattern": ".*"}
    choices = {"image": image, "hours": {"minimum": 1, "maximum": 8}}
    offered = parse_profiles([{"slug": "x", "choices": choices}])
    urls = {"script": "", "style": "", "quotes": "", "user": ""}
    watched = Watched(await context.new_page())
    for text in TEXTS:
        asked = {"profile": "x", "image": text, "hours": text}
        await watched.page.set_content(render_profiles(offered, asked, urls=urls))
        assert await watched.page.locator("[type=text]").get_attribute("value") == text
        assert await watched.alarms() == []


# --- names of people and of their servers ------------------------------------------------------


async def may_be_called(world: World, name: str) -> bool:
    """Whether the hub takes a user of that name; what it says otherwise is a 4xx."""
    status, _ = await world.call("POST", f"users/{quote(name, safe='')}")
    assert status == 201 or 400 <= status < 500, name
    return status == 201


async def test_names_of_users_are_text_or_refused(world: World, context: BrowserContext) -> None:
    world.quotes_answer = 200, {"quotes": {}}
    taken = [text for text in TEXTS if await may_be_called(world, text)]
    assert {text for text in TEXTS if text not in taken} == {t for t in TEXTS if "/" in t}
    watched = await opened(context, f"{world.url}login")
    for text in taken:
        await log_in(context, world, text)
        await watched.page.goto(f"{world.url}home")
        shown = " ".join(await watched.texts(".navbar-text, #navbar-username, .navbar"))
        assert text.lower() in shown
        assert await watched.alarms() == []


# --- starting: what the provisioner, a node or the hub says -------------------------------------


async def start_named(world: World, user: str, number: int) -> None:
    """Begin a start of a server with a hostile display name; as its name the hub takes none."""
    text = TEXTS[number]
    if not text.isalnum():
        status, _ = await world.call("POST", f"users/{user}/servers/{quote(text, safe='')}", {})
        assert status == 400
    called = text if text in SHOWN else "any"  # the hub refuses a tab, for example
    body = {"display_name": called, "user_options": {"profile": "p0"}}
    status, answer = await world.call("POST", f"users/{user}/servers/s{number}", body)
    assert status in (201, 202), answer


async def speak(world: World, pod: dict[str, Any], text: str) -> None:
    """Whatever is written about a start by others says this."""
    where = dict.fromkeys(("node", "instance_type", "zone", "capacity_type"), text)
    await world.hand.tell(pod, "Booting", message=text, **where)
    meta = pod["metadata"]
    about = {"kind": "Pod", "name": meta["name"], "namespace": NAMESPACE, "uid": meta["uid"]}
    event = {"metadata": {"name": meta["name"]}, "involvedObject": about, "type": "Warning",
             "reason": "Odd", "message": text, "eventTime": None, "count": 1,
             "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:00Z",
             "source": {"component": text}}  # fmt: skip
    await world.cluster.create(EVENTS, event, namespace=NAMESPACE)


async def show_pending(page: Watched, world: World, user: str, number: int) -> None:
    """All that a pending page can say, one after the other."""
    text, server = TEXTS[number], f"s{number}"
    pod = await world.hand.has_pod(user, server)
    await speak(world, pod, text)
    await page.page.goto(f"{world.url}spawn-pending/{user}/{server}")
    await page.holds("#progress-message", text)
    assert await page.texts("#gj-node") == [text]
    assert await page.texts("#gj-instance") == [", ".join([text] * 3)]
    stuck = container(state={"waiting": {"reason": text}})
    await world.hand.patch(pod, {"status": {"containerStatuses": [stuck]}}, "status")
    await page.holds("#progress-message", f"The node reports {text} and tries again")
    assert await page.alarms() == []
    await world.hand.tell(pod, "Refused", message=text, reason=text)
    await page.holds("#gj-title", "This start ended")
    await page.holds("#progress-message", text)
    assert await page.alarms() == []


async def test_pending_page_and_home_show_everything_as_text(
    world: World, context: BrowserContext
) -> None:
    user = await world.new_user()
    await asyncio.gather(*(start_named(world, user, number) for number in range(len(TEXTS))))
    await log_in(context, world, user)
    page = await opened(context, f"{world.url}home")
    shown = "\n".join(await page.texts("body"))
    assert [text for text in SHOWN if text not in shown] == []
    assert await page.alarms() == []

    async def one_after_the_other(numbers: range) -> None:
        page = await opened(context, f"{world.url}home")
        for number in numbers:
            await show_pending(page, world, user, number)

    await asyncio.gather(*(one_after_the_other(range(n, len(TEXTS), 4)) for n in range(4)))


# --- the panel in a notebook -------------------------------------------------------------------


async def test_panel_shows_everything_as_text(context: BrowserContext) -> None:
    watched = Watched(await context.new_page())
    for text in TEXTS:
        words = dict.fromkeys(("user", "profile", "stage", "gpu_model", "node"), text)
        place = dict.fromkeys(("instance_type", "zone", "capacity_type"), text)
        info = SessionInfo(gpus=1, **words, **place)
        panel = SessionPanel(lambda info=info: info, note=text)
        html = panel._repr_mimebundle_()
        panel.close()
        await watched.page.set_content(panel._html())
        cells = await watched.texts("td")
        expected = [text, text, f"1 x {text}", text, f"{text} ({text})", text]
        assert cells[: len(expected)] == expected, html
        assert await watched.alarms() == []
