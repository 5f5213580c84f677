"""The state of one AWS account: market, instances, tokens, notices, log. Owned by ``server``.

Everything that changes it holds ``timeline.lock``. All chance comes from ``rng(name)``, a stream
of its own per name, so one seed and one order of calls give one history.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import Any

from . import notices, store
from .instances import Instances, Life
from .market import Market
from .parameters import Parameters
from .prices import Prices
from .queues import Queues
from .timeline import Timeline
from .weather import Weather

Json = dict[str, Any]
_ID_LENGTHS = {"fleet": 36, "event": 36, "r": 17, "sir": 8, "pg": 17, "nn": 17}


class World:
    """One account in all regions; ``region`` is where network, cluster and queue are made."""

    def __init__(
        self, parameters: Parameters, *, seed: int, region: str, timeline: Timeline
    ) -> None:
        self.region = region
        self.timeline = timeline
        self._given = parameters
        self.epoch = 0
        self._offered: dict[str, frozenset[tuple[str, str]]] = {}
        self.queues = Queues(self)
        self._spot: dict[str, list[tuple[str, str]]] = {}
        self.restart(seed)

    def restart(self, seed: int, start: float | None = None) -> None:
        """Everything as on the first day, with that seed."""
        with self.timeline.lock:
            self.seed = seed
            self.epoch += 1
            self.parameters = self._given
            self.timeline.restart(start)
            store.reset(seed)
            self._ids = 0
            self.lines: list[Json] = []
            self.tokens: dict[tuple[str, str, str], tuple[str, Json]] = {}
            self.placement_groups: dict[str, Json] = {}
            self.clusters: dict[str, Json] = {}
            self.score_questions: dict[tuple[Sequence[str], int], float] = {}
            self.queues.reset()
            self.delivery = notices.Delivery()
            self.market = Market(self.parameters, self.vcpus)
            began = self.now() - self.parameters.price_history_seconds
            self.prices = Prices(self.parameters, self.rng, self.vcpus, began)
            self.instances = Instances(self)
            self.weather = Weather(self)
            self.market.on_new_pool = self.weather.begin
            self.log("began", {"seed": seed})

    def change(self, values: Json) -> None:
        """Other parameters from now on. Raises ValueError."""
        with self.timeline.lock:
            calm = not self.parameters.weather
            self.parameters = self.market.parameters = self.parameters.changed(values)
            if calm and self.parameters.weather:
                for key, pool in list(self.market.pools.items()):
                    self.weather.begin(key, pool)

    def now(self) -> float:
        """World time, epoch seconds."""
        return self.timeline.now()

    def rng(self, name: str) -> random.Random:
        """The stream of chance of that name, from its beginning."""
        return random.Random(f"{self.seed} {name}")

    def new_id(self, kind: str) -> str:
        """A fresh id in AWS's style, from the seed."""
        self._ids += 1
        text = hashlib.sha256(f"{self.seed} {self._ids} {kind}".encode()).hexdigest()
        text = text[: min(_ID_LENGTHS[kind], 32)]
        if _ID_LENGTHS[kind] == 36:
            text = f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
        return text if kind == "event" else f"{kind}-{text}"

    def log(self, kind: str, line: Json) -> None:
        """One line of the history."""
        with self.timeline.lock:
            self.lines.append({"seq": len(self.lines), "t": self.now(), "kind": kind, **line})

    def offered(self, region: str) -> frozenset[tuple[str, str]]:
        """(zone, type) of all that is sold in a region."""
        if region not in self._offered:
            self._offered[region] = store.offered(region)
        return self._offered[region]

    def sold_as_spot(self, region: str) -> list[tuple[str, str]]:
        """(zone, type) of all that is sold as Spot, sorted."""
        if region not in self._spot:
            self._spot[region] = sorted(
                (zone, name)
                for zone, name in self.offered(region)
                if "spot" in store.instance_type(name).get("SupportedUsageClasses", ())
            )
        return self._spot[region]

    def vcpus(self, instance_type: str) -> int:
        """vCPUs of a type; 0 when there is none."""
        facts = store.instance_type(instance_type)
        return int((facts.get("VCpuInfo") or {}).get("DefaultVCpus", 0))

    def tell_state(self, life: Life) -> None:
        """EC2 says every change of state by itself."""
        notices.state_change(self, life)

    def launches_by_token(self) -> dict[str, int]:
        """Instances ever launched, by client token."""
        counts: dict[str, int] = {}
        for life in self.instances.lives.values():
            counts[life.client_token] = counts.get(life.client_token, 0) + 1
        return counts
