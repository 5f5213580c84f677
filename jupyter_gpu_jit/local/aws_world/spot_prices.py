"""DescribeSpotPriceHistory over the world's prices. Called by ``actions``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from . import store
from .market import PoolKey
from .notices import stamp

if TYPE_CHECKING:
    from .world import World

Json = dict[str, Any]
PAGE = 1000
PRODUCT = "Linux/UNIX"
_FILTERS = {"instance-type": "type", "availability-zone": "zone", "product-description": "product"}


def history(world: World, region: str, params: Json) -> Json:
    """Newest first within a pool; without a start all that the world remembers."""
    wanted = _wanted(params)
    if wanted.get("product") and not any(PRODUCT in one for one in wanted["product"]):
        return {"SpotPriceHistory": []}
    now = world.now()
    begin = _seconds(params.get("StartTime"), now - world.parameters.price_history_seconds)
    end = min(_seconds(params.get("EndTime"), now), now)
    zone_ids = store.zones(region)
    rows = [
        {
            "AvailabilityZone": key[0],
            "AvailabilityZoneId": zone_ids.get(key[0]),
            "InstanceType": key[1],
            "ProductDescription": PRODUCT,
            "SpotPrice": f"{micro / 1e6:.6f}",
            "Timestamp": stamp(at),
        }
        for key in _pools(world, region, wanted)
        for at, micro in reversed(world.prices.history(key, min(begin, now), end))
    ]
    first = int(params.get("NextToken") or 0)
    last = first + min(int(params.get("MaxResults") or PAGE), PAGE)
    token = str(last) if last < len(rows) else ""
    return {"SpotPriceHistory": rows[first:last], "NextToken": token}


def _wanted(params: Json) -> dict[str, tuple[str, ...]]:
    wanted = {
        "type": tuple(params.get("InstanceTypes") or ()),
        "product": tuple(params.get("ProductDescriptions") or ()),
        "zone": (str(params["AvailabilityZone"]),) if params.get("AvailabilityZone") else (),
    }
    for one in params.get("Filters") or ():
        wanted[_FILTERS.get(one["Name"], one["Name"])] = tuple(one.get("Values") or ())
    return wanted


def _pools(world: World, region: str, wanted: dict[str, tuple[str, ...]]) -> Iterator[PoolKey]:
    for zone, name in world.sold_as_spot(region):
        if wanted["type"] and name not in wanted["type"]:
            continue
        if wanted["zone"] and zone not in wanted["zone"]:
            continue
        yield zone, name, "spot"


def _seconds(value: Any, otherwise: float) -> float:
    if value is None:
        return otherwise
    found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return store.utc(found).timestamp()
