"""Who may ask what: every handler x every role, with real tokens of a real hub."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from hub_process import SCOPE, wait_for
from service_world import seat_session

from jupyter_gpu_jit.service import handlers

PROFILES = {"profiles": [{"slug": "cpu", "display_name": "CPU"}]}
REQUESTS = {
    "HealthHandler": ("GET", "health", None),
    "QuotesHandler": ("POST", "quotes", PROFILES),
    "SessionHandler": ("GET", "session", None),
    "NotFoundHandler": ("GET", "nothing/here", None),
}
# The session is that of ann's default server.
ROLES = {
    "anonymous": {"QuotesHandler": 401, "SessionHandler": 401},
    "nonsense": {"QuotesHandler": 401, "SessionHandler": 401},
    "expired": {"QuotesHandler": 401, "SessionHandler": 401},
    "owner's server": {"QuotesHandler": 403, "SessionHandler": 200},
    "owner's other server": {"QuotesHandler": 403, "SessionHandler": 403},
    "owner without the scope": {"QuotesHandler": 403, "SessionHandler": 403},
    "owner in person": {"QuotesHandler": 403, "SessionHandler": 200},
    "other user's server": {"QuotesHandler": 403, "SessionHandler": 404},
    "other user in person": {"QuotesHandler": 403, "SessionHandler": 404},
    "admin": {"QuotesHandler": 403, "SessionHandler": 404},
    "hub": {"QuotesHandler": 200, "SessionHandler": 403},
    "other service": {"QuotesHandler": 403, "SessionHandler": 403},
}
EVERYBODY = {"HealthHandler": 200, "NotFoundHandler": 404}


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
        "admin": hub.new_token("root"),
        "hub": hub.service_token,
        "other service": hub.other_token,
    }
    wait_for(lambda: not hub.knows(expired))
    return found


def test_every_handler_has_a_row_and_every_role_a_column():
    ours = {
        name
        for name, kind in vars(handlers).items()
        if isinstance(kind, type)
        and issubclass(kind, handlers.JsonHandler)
        and kind is not handlers.JsonHandler
    }
    assert ours == set(REQUESTS)
    for row in ROLES.values():
        assert ours == set(row | EVERYBODY)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("handler", REQUESTS)
async def test_a_role_gets_what_the_table_says(world, tokens, role, handler):
    await seat_session(world.cluster)
    method, path, body = REQUESTS[handler]
    answer = await world.ask(path, method=method, body=body, token=tokens[role])
    assert answer.code == (ROLES[role] | EVERYBODY)[handler], answer.body
    told = json.loads(answer.body)
    if answer.code >= 400:
        assert set(told) == {"reason", "message"}
        assert told["message"].endswith(".")
    for name, value in handlers.HEADERS.items():
        assert answer.headers[name] == value
    assert "Server" not in answer.headers


async def test_asking_in_somebody_elses_name_is_impossible(world, tokens):
    await seat_session(world.cluster)
    token = tokens["other user's server"]
    for query in ("session?user=ann", "session?server=../ann/", "session?server=x!server=ann/"):
        answer = await world.ask(query, token=token)
        assert answer.code in (403, 404)
        assert b"a100" not in answer.body


async def test_tokens_count_in_the_header_only(world, tokens):
    await seat_session(world.cluster)
    token = tokens["owner's server"]
    assert (await world.ask(f"session?token={token}")).code == 401
    assert (await world.ask("session", Cookie=f"jupyterhub-services={token}")).code == 401
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
