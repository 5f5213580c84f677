"""Checks in front of two of the hub's own handlers: the spawn page and the server API.

Some bodies fail inside the hub before any spawner is asked, as a 500: text that is not UTF-8 in
a form, a list where an object belongs (hub 5). Others, megabytes of options, would be stored in
the database first. So these two handlers get a ``prepare`` that looks at the raw body.
"""

from __future__ import annotations

import json
from typing import Any

from jupyterhub import apihandlers, handlers
from jupyterhub.apihandlers.users import UserServerAPIHandler
from jupyterhub.handlers.pages import SpawnHandler

from .refusals import BAD_OPTIONS, TOO_LARGE, Refusal
from .spawner import GpuJitSpawner
from .waiting import until_over

MAX_BODY_BYTES = 64 << 10
MAX_ARGUMENTS = 200
STOP_SECONDS = 10.0


def check_body(body: bytes) -> None:
    """Raise Refusal for a body that no choice of options can need."""
    if len(body) > MAX_BODY_BYTES:
        limit = MAX_BODY_BYTES >> 10
        raise Refusal(TOO_LARGE, f"The body is larger than {limit} KiB; send only the options.")


def check_json(body: bytes) -> None:
    """Raise Refusal unless the body is empty or a JSON object, as are options inside it."""
    if not body.strip():
        return
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(BAD_OPTIONS, "The body is not JSON.") from None
    options = value.get("user_options") if isinstance(value, dict) else 0
    if options is not None and not isinstance(options, dict):
        raise Refusal(BAD_OPTIONS, 'The body must be a JSON object such as {"profile": "..."}.')


def check_arguments(arguments: dict[str, list[bytes]]) -> None:
    """Raise Refusal unless all form or query values are UTF-8 text, and few."""
    if sum(len(values) for values in arguments.values()) > MAX_ARGUMENTS:
        raise Refusal(BAD_OPTIONS, f"The form has more than {MAX_ARGUMENTS} fields.")
    for name, values in arguments.items():
        try:
            for value in values:
                value.decode("utf-8")
        except UnicodeDecodeError:
            raise Refusal(BAD_OPTIONS, f"The form field {name!a:.60} is not UTF-8.") from None


class _Checked:
    """What the hub does once it has checked who may, with our conditions."""

    async def spawn_single_user(
        self, user: Any, server_name: str = "", *args: Any, **kwargs: Any
    ) -> Any:
        """The hub's, if the options are good: nothing of bad ones is stored. Raises Refusal."""
        options, spawner = kwargs.get("options"), user.spawners[server_name]
        if options is not None and isinstance(spawner, GpuJitSpawner):
            await spawner.learn_profiles()
            spawner.resolved(options)
        inherited: Any = super()
        return await inherited.spawn_single_user(user, server_name, *args, **kwargs)

    async def stop_single_user(self, user: Any, server_name: str = "") -> Any:
        """The hub's, which fails for a start that the hub took up again after its restart."""
        spawner = user.spawners[server_name]
        if spawner.pending == "check" and isinstance(spawner, GpuJitSpawner):
            spawner.cancel_start()
            await until_over(spawner, timeout_seconds=STOP_SECONDS)
            return None
        inherited: Any = super()
        return await inherited.stop_single_user(user, server_name)


class GuardedServerAPIHandler(_Checked, UserServerAPIHandler):
    """The hub's start and stop of a server, for bodies that make sense."""

    async def prepare(self) -> None:
        """Look at the body once it is known who sends it."""
        await super().prepare()
        check_body(self.request.body)
        check_json(self.request.body)


class GuardedSpawnHandler(_Checked, SpawnHandler):
    """The hub's spawn page, for bodies that make sense."""

    async def prepare(self) -> None:
        """Look at the body once it is known who sends it."""
        await super().prepare()
        check_body(self.request.body)
        check_arguments(self.request.body_arguments)
        check_arguments(self.request.query_arguments)


_GUARDED = {UserServerAPIHandler: GuardedServerAPIHandler, SpawnHandler: GuardedSpawnHandler}


def install() -> None:
    """Put the guards in the hub's tables of handlers; more than once changes nothing."""
    for table in (apihandlers.default_handlers, handlers.default_handlers):
        for index, row in enumerate(table):
            table[index] = _guarded(row)


def _guarded(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return (row[0], _GUARDED.get(row[1], row[1]), *row[2:])
