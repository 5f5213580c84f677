"""The control endpoints, JSON over HTTP under ``/_world/``, for tests and the demo.

``GET`` reads, ``POST`` does; each needs the bearer token that the world was started with. What
was done is in the log, so that a history can be played again (``replay``).
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from . import notices, services, store
from .errors import AwsError
from .faults import Fault, Faults
from .instances import Habit, Life
from .market import PoolKey
from .world import World

Json = dict[str, Any]
Answer = tuple[str, list[tuple[str, str]], bytes]
PREFIX = "/_world/"
OF_THE_CLOCK = ("advance", "reset", "speed", "to")
"""Not part of a history: what falls due in between is."""


class Control:
    """One world's control endpoints; a small WSGI application."""

    def __init__(self, world: World, faults: Faults, token: str) -> None:
        self._world, self._faults, self._token = world, faults, token
        self._reads: dict[str, Callable[[Json], Json]] = {
            "clock": self._clock,
            "instances": self._instances,
            "launches": self._launches,
            "log": self._log,
            "pools": self._pools,
            "throttled": lambda _: dict(self._faults.throttled),
        }
        self._deeds: dict[str, Callable[[Json], Json]] = {
            "advance": self._advance,
            "delivery": self._delivery,
            "fault": self._fault,
            "habits": self._habits,
            "health": self._health,
            "impair": self._impair,
            "interrupt": self._interrupt,
            "parameters": self._parameters,
            "pool": self._pool,
            "provision": self._provision,
            "quota": self._quota,
            "rebalance": self._rebalance,
            "reset": self._reset,
            "speed": self._speed,
            "state-change": self._state_change,
            "subnet": self._subnet,
            "to": self._to,
        }

    def __call__(self, environ: Json) -> Answer:
        """Token first, then the endpoint; every error is a sentence in JSON."""
        scheme, _, given = str(environ.get("HTTP_AUTHORIZATION") or "").partition(" ")
        if scheme != "Bearer" or not hmac.compare_digest(given.encode(), self._token.encode()):
            return _answer(401, {"message": "The token is not this world's."})
        name = str(environ["PATH_INFO"]).removeprefix(PREFIX)
        length = int(environ.get("CONTENT_LENGTH") or 0)
        try:
            body = json.loads(environ["wsgi.input"].read(length) or b"{}")
            body |= dict(parse_qsl(environ.get("QUERY_STRING") or ""))
            return self._do(name, str(environ["REQUEST_METHOD"]), body)
        except AwsError as error:
            return _answer(400, {"message": error.message})
        except (ValueError, KeyError, TypeError) as error:
            return _answer(400, {"message": f"The request cannot be read: {error}."})

    def _do(self, name: str, method: str, body: Json) -> Answer:
        table = self._reads if method == "GET" else self._deeds
        if name not in table:
            return _answer(404, {"message": f"There is no {method} {PREFIX}{name}."})
        with self._world.timeline.lock:
            if method != "GET" and name not in OF_THE_CLOCK:
                self._world.log("control", {"name": name, "body": body})
            return _answer(200, table[name](body))

    # --- reading -----------------------------------------------------------------------------

    def _clock(self, _: Json) -> Json:
        return {"now": self._world.now(), "speed": self._world.timeline.speed}

    def _instances(self, query: Json) -> Json:
        """All, or only those that changed ``after`` a version of this ``epoch``."""
        after, lives = int(query.get("after", 0)), self._world.instances.lives.values()
        if int(query.get("epoch", self._world.epoch)) != self._world.epoch:
            after = 0
        return {
            "epoch": self._world.epoch,
            "version": self._world.instances.version,
            "instances": [_shown(life) for life in lives if life.version > after],
        }

    def _launches(self, _: Json) -> Json:
        return {
            "by_token": self._world.launches_by_token(),
            "ever": len(self._world.instances.lives),
            "live": sum(life.live for life in self._world.instances.lives.values()),
        }

    def _log(self, query: Json) -> Json:
        """All lines, or those from a ``seq`` on."""
        return {"lines": self._world.lines[int(query.get("since", 0)) :]}

    def _pools(self, _: Json) -> Json:
        return {
            "pools": [
                {"zone": key[0], "type": key[1], "capacity_type": key[2], **asdict(pool)}
                for key, pool in sorted(self._world.market.pools.items())
            ]
        }

    # --- doing -------------------------------------------------------------------------------

    def _advance(self, body: Json) -> Json:
        self._world.timeline.advance(float(body["seconds"]))
        return self._clock(body)

    def _to(self, body: Json) -> Json:
        """Move a standing clock to a moment, if that is not past."""
        self._world.timeline.advance(float(body["moment"]) - self._world.now())
        return self._clock(body)

    def _speed(self, body: Json) -> Json:
        self._world.timeline.set_speed(float(body["speed"]))
        return self._clock(body)

    def _reset(self, body: Json) -> Json:
        self._faults.faults.clear()
        self._faults.buckets.clear()
        self._faults.throttled.clear()
        start = body.get("start")
        self._world.restart(int(body.get("seed", self._world.seed)), start)
        return self._clock(body)

    def _parameters(self, body: Json) -> Json:
        self._world.change(body)
        return asdict(self._world.parameters)

    def _pool(self, body: Json) -> Json:
        """``zone``, ``type``, ``capacity_type`` may each be left out: then all known values."""
        changed = [
            asdict(self._world.market.set_pool(key, body)) for key in self._matching_pools(body)
        ]
        if "price_usd" in body:
            micro = round(float(body["price_usd"]) * 1e6)
            self._world.prices.fixed.update(dict.fromkeys(self._matching_pools(body), micro))
        return {"changed": len(changed)}

    def _matching_pools(self, body: Json) -> list[PoolKey]:
        kinds = [body["capacity_type"]] if body.get("capacity_type") else ["on-demand", "spot"]
        return [
            (zone, name, kind)
            for zone, name in sorted(self._world.offered(self._world.region))
            for kind in kinds
            if body.get("zone") in (None, zone) and body.get("type") in (None, name)
        ]

    def _quota(self, body: Json) -> Json:
        self._world.market.quotas[(body["class"], body["capacity_type"])] = int(body["vcpus"])
        return {}

    def _subnet(self, body: Json) -> Json:
        store.limit_subnet(self._world.region, body["subnet_id"], int(body["free"]))
        return {}

    def _fault(self, body: Json) -> Json:
        if body.get("clear"):
            self._faults.faults.clear()
        else:
            self._faults.faults.append(Fault(**body))
        return {}

    def _habits(self, body: Json) -> Json:
        """How the next ``count`` nodes misbehave."""
        habit = Habit(**{key: value for key, value in body.items() if key != "count"})
        self._world.instances.habits += [habit] * int(body.get("count", 1))
        return {}

    def _delivery(self, body: Json) -> Json:
        self._world.delivery = notices.Delivery(**body)
        return {}

    def _interrupt(self, body: Json) -> Json:
        """Instances by ``ids``, or all of a spot pool, which then is dry too.

        ``reservation``: the notice is that of a capacity reservation.
        """
        kind = notices.RESERVATION if body.get("reservation") else notices.INTERRUPTION
        lives = self._chosen(body)
        if "ids" not in body:
            for key in self._matching_pools({**body, "capacity_type": "spot"}):
                self._world.market.set_pool(key, {"up": False})
        spread = float(body.get("spread_seconds", 0.0))
        rng = self._world.rng(f"storm {len(self._world.lines)}")
        for life in lives:
            late, left = rng.uniform(0.0, spread), body.get("seconds")
            self._soon(late, partial(notices.interrupt, self._world, life, left, kind))
        return {"ids": [life.id for life in lives]}

    def _soon(self, seconds: float, deed: Callable[[], None]) -> None:
        if seconds > 0:
            self._world.timeline.after(seconds, deed)
        else:
            deed()

    def _rebalance(self, body: Json) -> Json:
        return self._each(body, lambda life: notices.rebalance(self._world, life))

    def _state_change(self, body: Json) -> Json:
        """Say it of an instance, whether or not it is true; ``end`` also does it."""
        if body.get("end"):
            return self._each(body, lambda life: self._world.instances.terminate([life]))
        said = str(body.get("state") or "")
        return self._each(body, lambda life: notices.state_change(self._world, life, said))

    def _health(self, body: Json) -> Json:
        code = str(body.get("code") or "AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED")
        soon = float(body.get("starts_in_seconds", 3600.0))
        return self._each(body, lambda life: notices.health(self._world, life, code, soon))

    def _impair(self, body: Json) -> Json:
        """Status checks fail from now on, or pass again."""
        failing = bool(body.get("failing", True))
        return self._each(body, lambda life: setattr(life, "impaired", failing))

    def _each(self, body: Json, deed: Callable[[Life], None]) -> Json:
        lives = self._chosen(body)
        for life in lives:
            deed(life)
        return {"ids": [life.id for life in lives]}

    def _chosen(self, body: Json) -> list[Life]:
        lives: Iterable[Life] = self._world.instances.lives.values()
        if "ids" in body:
            return [self._world.instances.lives[i] for i in body["ids"]]
        return [
            life
            for life in lives
            if life.live
            and life.pool[2] == "spot"
            and body.get("zone") in (None, life.pool[0])
            and body.get("type") in (None, life.pool[1])
        ]

    def _provision(self, body: Json) -> Json:
        """Things an admin would have made: queue with its rules, instance profile, tags."""
        made: Json = {}
        region = self._world.region
        if name := body.get("profile"):
            store.make_profile(name)
        if name := body.get("queue"):
            made["queue_arn"] = store.make_queue(region, name, notices.RULES)
        if values := body.get("cluster"):
            made["cluster"] = services.make_cluster(self._world, values)
        vpc, subnet_ids, group = store.default_network(region)
        if tags := body.get("tags"):
            store.tag(region, [*subnet_ids, group], tags)
        return {**made, "vpc_id": vpc, "subnet_ids": list(subnet_ids), "security_group_id": group}


def _shown(life: Life) -> Json:
    """An instance with the node's own side: when its node joins, and how."""
    zone, instance_type, capacity_type = life.pool
    ran, ended = life.since("running"), life.since("shutting-down")
    return {
        "id": life.id,
        "region": life.region,
        "zone": zone,
        "type": instance_type,
        "capacity_type": capacity_type,
        "state": life.state,
        "launched_at": life.launched_at,
        "running_at": ran,
        "ended_at": ended,
        "interrupted_at": life.interrupted_at,
        "client_token": life.client_token,
        "usd_per_hour_micro": life.price_micro,
        "tags": _tags(life),
        "user_data": str(life.machine.user_data or ""),
        "private_dns_name": _dns(life),
        "provider_id": life.habit.provider_id or f"aws:///{zone}/{life.id}",
        "profile": dict(life.machine.profile),
        "node_phase": life.node_phase,
        "gpus": life.habit.gpus,
    }


def _tags(life: Life) -> Json:
    return store.tags_of(life.stored) or dict(life.machine.tags)


def _dns(life: Life) -> str:
    return "" if life.state == "terminated" else str(life.stored.private_dns_name)


def _answer(status: int, value: Json) -> Answer:
    body = json.dumps(value, default=str).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    return f"{status} {'OK' if status < 400 else 'Error'}", headers, body
