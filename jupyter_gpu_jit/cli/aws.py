"""``gpu-jit doctor``, and the parts of ``gpu-jit provisioner --aws``. Called by ``main``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..adapters.aws.calls import AwsCalls
from ..adapters.aws.checks import Checks
from ..adapters.aws.ec2 import Ec2Cloud
from ..adapters.aws.quotas import read_quotas
from ..adapters.aws.settings import AwsSettings, DiskSettings, ImageFamily, ImageSettings
from ..adapters.aws.sqs import SqsNotices
from ..adapters.system import SystemClock
from ..catalogue import instance_types
from ..core.quotas import Limits
from ..core.texts import suggest
from ..errors import GpuJitError, UserError
from ..ports import Meter
from ..provisioner import metrics
from .outside import Outside, no_such_file
from .shared import run, say

if TYPE_CHECKING:
    from ..adapters.meter import PrometheusMeter

log = logging.getLogger(__name__)
TIDY_SECONDS = 300.0
QUOTAS_SECONDS = 10.0
_PARTS: Mapping[str, Any] = {"image": ImageSettings, "disk": DiskSettings}
_FROM_WORDS = ("cluster_id", "hub_id")


# --- the file -------------------------------------------------------------------------------------


def read_settings(path: Path, *, cluster_id: str, hub_id: str) -> AwsSettings:
    """The settings in a TOML file. Raises UserError that names the key and what is known."""
    import tomllib

    try:
        body = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise no_such_file(path, error) from error
    found = _made(AwsSettings, body, path, "", taken=_FROM_WORDS)
    try:
        return AwsSettings(**found, cluster_id=cluster_id, hub_id=hub_id)
    except TypeError as error:
        raise UserError(f"{path}: region is missing; name it, such as us-east-1.") from error


def _made(
    kind: Any, body: Mapping[str, Any], path: Path, under: str, taken: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Arguments for that dataclass, each of the type that its default has."""
    known = {field.name: field for field in fields(kind) if field.name not in taken}
    found = {}
    for key, value in body.items():
        if key not in known:
            raise UserError(f"{path}: {under}{key} is no setting; {suggest(key, known)}")
        found[key] = _value(str(known[key].type), value, path, under + key)
    return found


def _value(wanted: str, value: Any, path: Path, name: str) -> Any:
    """The value as the field wants it; ``wanted`` is the field's type as it is written."""
    if name in _PARTS:
        if not isinstance(value, dict):
            raise UserError(f"{path}: {name} is a table of its own: [{name}].")
        return _PARTS[name](**_made(_PARTS[name], value, path, f"{name}."))
    if wanted == "ImageFamily" and value in tuple(ImageFamily):
        return ImageFamily(value)
    if wanted.startswith("tuple") and isinstance(value, list) and _all_text(value):
        return tuple(value)
    if wanted.startswith("Mapping") and isinstance(value, dict) and _all_text(value.values()):
        return value
    if wanted == "float" and type(value) in (int, float):
        return float(value)
    if {"str": str, "int": int}.get(wanted) is type(value):
        return value
    raise UserError(f"{path}: {name} is {value!r}, which is no {_WORDS.get(wanted, wanted)}.")


_WORDS = {
    "str": "text",
    "int": "whole number",
    "float": "number",
    "tuple[str, ...]": "list of texts",
    "Mapping[str, str]": "table of texts",
    "ImageFamily": f"image family ({', '.join(ImageFamily)})",
}


def _all_text(values: Any) -> bool:
    return all(isinstance(value, str) for value in values)


# --- the provisioner ------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def outside(
    asked: argparse.Namespace, meter: PrometheusMeter | None
) -> AsyncIterator[Outside]:
    """What the file of settings names. Raises UserError."""
    settings = read_settings(asked.aws, cluster_id=asked.cluster_id, hub_id=asked.hub_id)
    async with outside_of(settings, meter) as found:
        yield found


@contextlib.asynccontextmanager
async def outside_of(
    settings: AwsSettings, meter: PrometheusMeter | None
) -> AsyncIterator[Outside]:
    """EC2 and SQS, kept fresh and tidy meanwhile."""
    calls = AwsCalls(settings, SystemClock(), _counted(meter))
    cloud = Ec2Cloud(calls, instance_types())
    notices = SqsNotices(calls, dropped=_dropped(meter)) if settings.queue else None
    tasks = [
        asyncio.create_task(cloud.market.keep_fresh(), name="prices"),
        asyncio.create_task(_tidy(cloud, meter), name="housekeeping"),
    ]
    for task in tasks:
        task.add_done_callback(_loudly)
    try:
        quotas = await _quotas(calls)
        yield Outside(cloud, notices, meter and _TrueAge(meter, cloud), quotas)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if notices is not None:
            await notices.close()
        await cloud.close()


def _loudly(task: asyncio.Task[None]) -> None:
    """Neither ends by itself; that one did is a defect, which the old prices would hide."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a background task ended", extra={"task": task.get_name()}, exc_info=error)


async def _quotas(calls: AwsCalls) -> Limits:
    """Without them the planner only learns of a quota when AWS refuses a launch."""
    try:
        async with asyncio.timeout(QUOTAS_SECONDS):
            return await read_quotas(calls)
    except (GpuJitError, TimeoutError) as error:
        log.warning("quotas not read", extra={"reason": str(error)})
        return {}


async def _tidy(cloud: Ec2Cloud, meter: Meter | None) -> None:
    while True:
        await asyncio.sleep(TIDY_SECONDS)
        try:
            removed = await cloud.housekeeping.collect()
        except GpuJitError as error:
            log.warning("housekeeping put off", extra={"reason": error.reason})
            continue
        for what, count in removed.items():
            log.info("removed what nobody uses", extra={"what": what, "count": count})
            if meter is not None and count:
                meter.count(metrics.LEAKS_ENDED, count, what=what)


def _counted(meter: Meter | None) -> Any:
    """Counts every attempt; called from the threads of the calls."""

    def told(action: str, ending: str) -> None:
        if meter is not None:
            meter.count(metrics.CLOUD_CALLS, action=action)
            if ending == "throttled":
                meter.count(metrics.CLOUD_THROTTLES, action=action)

    return told


def _dropped(meter: Meter | None) -> Any:
    def told(reason: str) -> None:
        if meter is not None:
            meter.count(metrics.NOTICES_DROPPED, reason=reason)

    return told


class _TrueAge:
    """A meter that knows how old the prices really are: the provisioner reads a table of ours."""

    def __init__(self, meter: Meter, cloud: Ec2Cloud) -> None:
        self._meter, self._cloud = meter, cloud

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """See ports.Meter."""
        self._meter.count(name, amount, **labels)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """See ports.Meter."""
        if name == metrics.PRICES_AGE_SECONDS:
            value = max(value, self._cloud.market.age_seconds())
        self._meter.gauge(name, value, **labels)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """See ports.Meter."""
        self._meter.observe(name, value, **labels)


# --- the doctor -----------------------------------------------------------------------------------


def doctor(asked: argparse.Namespace) -> int:
    """Print one line for each check; 1 when one of them does not hold."""
    settings = read_settings(asked.aws, cluster_id=asked.cluster_id, hub_id=asked.hub_id)
    failed: list[str] = []
    run(lambda: _examine(settings, failed))
    return 1 if failed else 0


async def _examine(settings: AwsSettings, failed: list[str]) -> None:
    async for finding in Checks(AwsCalls(settings, SystemClock())).run():
        say(f"{'ok  ' if finding.holds else 'FAIL'} {finding.name}: {finding.says}")
        if not finding.holds:
            failed.append(finding.name)
