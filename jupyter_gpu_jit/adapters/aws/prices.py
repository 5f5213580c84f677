"""What AWS asks for: prices of Spot by the hour, of on-demand by the day. Asked by market.py.

Spot prices are those of now by type and zone; on-demand prices those of Linux on shared tenancy,
the same in all zones of a region.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from ...core.quantity import usd_to_micro
from .calls import AwsCalls, Json

SpotPrices = dict[tuple[str, str], int]
"""Micro-USD per hour by (instance type, zone)."""
# The first is what accounts of today have; some old ones see the second.
_PRODUCTS = ("Linux/UNIX (Amazon VPC)", "Linux/UNIX")
_ON_DEMAND = {
    "operatingSystem": "Linux",
    "preInstalledSw": "NA",
    "tenancy": "Shared",
    "capacitystatus": "Used",
    "licenseModel": "No License required",
}


async def spot_prices(calls: AwsCalls, types: Sequence[str] = ()) -> SpotPrices:
    """The newest price of each pool, of those types only if any. Raises Rejected, Unavailable."""
    narrowed = {"InstanceTypes": list(types)} if types else {}
    now = datetime.fromtimestamp(calls.clock.now(), tz=UTC)
    rows = await calls.pages(
        "ec2",
        "DescribeSpotPriceHistory",
        "SpotPriceHistory",
        ProductDescriptions=list(_PRODUCTS),
        StartTime=now,
        EndTime=now,
        **narrowed,
    )
    return newest(rows)


def newest(rows: list[Json]) -> SpotPrices:
    """The last price of each pool; a price that is none is left out."""
    prices: SpotPrices = {}
    for row in sorted(rows, key=lambda row: str(row.get("Timestamp", ""))):
        price = _micro(str(row.get("SpotPrice", "")))
        if price:
            prices[row["InstanceType"], row["AvailabilityZone"]] = price
    return prices


async def on_demand_prices(calls: AwsCalls) -> dict[str, int]:
    """Micro-USD per hour by instance type. Raises Rejected, Unavailable."""
    wanted = {**_ON_DEMAND, "regionCode": calls.settings.region}
    filters = [{"Type": "TERM_MATCH", "Field": k, "Value": v} for k, v in sorted(wanted.items())]
    rows = await calls.pages(
        "pricing", "GetProducts", "PriceList", ServiceCode="AmazonEC2", Filters=filters
    )
    return dict(found for row in rows if (found := read_product(row)) is not None)


def read_product(row: str | Json) -> tuple[str, int] | None:
    """(type, price) of one product, which AWS sends as a text of JSON; None when it has none."""
    try:
        product: Json = json.loads(row) if isinstance(row, str) else row
        name = str(product["product"]["attributes"]["instanceType"])
        term = next(iter(product["terms"]["OnDemand"].values()))
        dimension = next(iter(term["priceDimensions"].values()))
        price = _micro(str(dimension["pricePerUnit"]["USD"]))
    except (ValueError, KeyError, TypeError, StopIteration):
        return None
    return (name, price) if price else None


def _micro(usd: str) -> int:
    """Zero for what is no price."""
    try:
        return max(0, usd_to_micro(Decimal(usd)))
    except (InvalidOperation, ValueError, ArithmeticError):
        return 0
