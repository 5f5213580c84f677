"""S3, S7: tokens carry exactly the shipped scopes, and each endpoint of ours obeys them.

One real hub with exactly ``setup(c)``; a waiting server of ann is what everybody reaches for.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from hub_world import World, eventually

from jupyter_gpu_jit.hub.config import SCOPE, SERVER_SCOPES, SERVICE, USER_SCOPES
from jupyter_gpu_jit.hub.handlers import extra_handlers

on_one_loop = pytest.mark.asyncio(loop_scope="module")

ROLES = (
    "anonymous",
    "nonsense",
    "expired",
    "owner",
    "owner's server",
    "owner's other server",
    "other user",
    "other user's server",
    "admin",
    "service",
)
NOT_KNOWN = {"anonymous": 403, "nonsense": 403, "expired": 403}
Row = dict[str, int]


def row(**codes: int) -> Row:
    """Codes of those who are known; ``rest`` for all roles not named."""
    rest = codes.pop("rest")
    named = {name.replace("_s_", "'s ").replace("_", " "): code for name, code in codes.items()}
    assert set(named) <= set(ROLES), named
    return {**dict.fromkeys(ROLES, rest), **NOT_KNOWN, **named}


# Whoever has the right for some servers but not for this one is told that there is none. The
# token of a server may end nothing, not even its own.
CANCEL = row(owner=204, admin=204, other_user=404, rest=403)
PROGRESS = row(owner=200, admin=200, other_user=404, rest=403)
USER, NAMED = r"/api/gpu-jit/users/([^/]+)/server", r"/api/gpu-jit/users/([^/]+)/servers/([^/]+)"
MATRIX: dict[tuple[str, str], tuple[str, Row]] = {
    (r"/api/gpu-jit/quotes", "GET"): ("api/gpu-jit/quotes", row(rest=200, service=403)),
    (rf"{USER}/cancel", "POST"): ("api/gpu-jit/users/ann/server/cancel", CANCEL),
    (rf"{USER}/cancel", "DELETE"): ("api/gpu-jit/users/ann/server/cancel", CANCEL),
    (rf"{NAMED}/cancel", "POST"): ("api/gpu-jit/users/ann/servers/two/cancel", CANCEL),
    (rf"{NAMED}/cancel", "DELETE"): ("api/gpu-jit/users/ann/servers/two/cancel", CANCEL),
    (rf"{USER}/progress", "GET"): ("api/gpu-jit/users/ann/server/progress", PROGRESS),
    (rf"{NAMED}/progress", "GET"): ("api/gpu-jit/users/ann/servers/two/progress", PROGRESS),
    (r"/gpu-jit/static/(.*)", "GET"): (
        "gpu-jit/static/spawn.js",
        dict.fromkeys(ROLES, 200),  # nothing of anybody
    ),
}


class Cast:
    """The hub, and a token of everybody."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.tokens: dict[str, str] = {}

    async def fill(self) -> None:
        for name in ("ann", "bob"):
            await self.world.new_user(name)
        self.tokens = {
            "anonymous": "",
            "nonsense": "0" * 32,
            "expired": await self._expired(),
            "owner": await self.world.token_of("ann"),
            "owner's server": await self.server_token("ann"),
            "owner's other server": await self.server_token("ann", "other"),
            "other user": await self.world.token_of("bob"),
            "other user's server": await self.server_token("bob"),
            "admin": await self.world.token_of("root"),
            "service": self.world.service_token,
        }

    async def _expired(self) -> str:
        _, made = await self.world.call("POST", "users/ann/tokens", {"expires_in": 1})
        token = str(made["token"])

        async def is_over() -> bool:
            return (await self.world.call("GET", "user", token=token))[0] == 403

        await eventually(is_over, what="an expired token")
        return token

    async def start(self, user: str, server: str = "") -> None:
        """Have a start of that server wait."""
        if not (await self.world.server(user, server)).get("pending"):
            await self.world.until_stopped(user, server)
            where = f"users/{user}/" + (f"servers/{server}" if server else "server")
            status, text = await self.world.call("POST", where, {"profile": "l4"})
            assert status in (201, 202), text  # 201: the hub looked at the spawner of last time

    async def server_token(self, user: str, server: str = "") -> str:
        """The token that the server was given with its pod."""
        await self.start(user, server)
        pod = await self.world.hand.has_pod(user, server)
        [container] = pod["spec"]["containers"]
        env = {item["name"]: item.get("value", "") for item in container["env"]}
        return str(env["JUPYTERHUB_API_TOKEN"])

    async def ask(self, method: str, path: str, role: str) -> int:
        """The status of an answer; what follows the headers is not waited for."""
        token = self.tokens[role]
        headers = {"Authorization": f"token {token}"} if token else {}
        where = self.world.url + path
        async with self.world.http.request(method, where, headers=headers) as answer:
            return answer.status

    async def scopes(self, token: str) -> set[str]:
        status, model = await self.world.call("GET", "user", token=token)
        assert status == 200, model
        return set(model["scopes"])


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def cast(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cast]:
    admins = {"Authenticator": {"admin_users": ["root"]}}
    world = await World(tmp_path_factory.mktemp("hub"), admins).start()
    try:
        here = Cast(world)
        await here.fill()
        yield here
    finally:
        await world.stop()


# --- scopes ------------------------------------------------------------------------------------


@on_one_loop
async def test_a_server_token_has_the_shipped_scopes_for_its_own_server_and_no_other(
    cast: Cast,
) -> None:
    for server, token in (("", "owner's server"), ("other", "owner's other server")):
        assert await cast.scopes(cast.tokens[token]) == {
            "users:activity!user=ann",
            "read:users:activity!user=ann",  # part of the one above
            *("read:users:name!user=ann", "read:users:groups!user=ann"),  # to whoever asks for it
            f"access:servers!server=ann/{server}",
            f"{SCOPE}!server=ann/{server}",
            f"access:services!service={SERVICE}",
        }


@on_one_loop
async def test_the_service_token_may_do_nothing_but_say_whose_it_is(cast: Cast) -> None:
    assert await cast.scopes(cast.world.service_token) == set()


@on_one_loop
async def test_no_shipped_scope_is_an_administrators(cast: Cast) -> None:
    for scope in (*SERVER_SCOPES, *USER_SCOPES):
        assert not scope.startswith(("admin", "servers", "delete:", "tokens", "proxy", "shares"))
        assert scope == "self" or "!" in scope, "a scope without a filter is for everybody's"


# --- endpoints ---------------------------------------------------------------------------------


def methods_of(handler: Any) -> Iterator[str]:
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        function = getattr(handler, method.lower())
        if function.__name__ != "_unimplemented_method":
            yield method


def test_every_endpoint_of_ours_has_a_row_and_every_row_all_roles() -> None:
    ours = {(route[0], method) for route in extra_handlers() for method in methods_of(route[1])}
    assert ours == set(MATRIX)
    for (pattern, _), (path, codes) in MATRIX.items():
        assert re.fullmatch(pattern, f"/{path}")
        assert set(codes) == set(ROLES)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("endpoint", MATRIX, ids=lambda e: f"{e[1]} {MATRIX[e][0]}")
@on_one_loop
async def test_a_role_gets_what_the_table_says(
    cast: Cast, endpoint: tuple[str, str], role: str
) -> None:
    path, codes = MATRIX[endpoint]
    server = "two" if "/servers/two/" in path else ""
    await cast.start("ann", server)
    await cast.world.hand.has_pod("ann", server)
    assert await cast.ask(endpoint[1], path, role) == codes[role]
    still = (await cast.world.server("ann", server)).get("pending") == "spawn"
    assert still or codes[role] == 204, "ended by somebody who was refused"
