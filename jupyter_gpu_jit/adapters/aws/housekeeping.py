"""What we made and nobody uses any more is removed: launch templates and placement groups.

Run by the command line every few minutes. Instances are the provisioner's own collection's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime

from ...core.quantity import parse_time
from ...errors import NotFound, Rejected, UserError
from .calls import AwsCalls, Json
from .groups import CREATED_TAG, IN_USE, Groups
from .templates import PREFIX, Templates

IDLE_SECONDS = 24 * 3600.0
"""A template costs nothing, and one that is removed too early is only made again."""
GROUP_IDLE_SECONDS = 900.0
"""A group is made moments before the launch into it, which fails after minutes at most."""
LAUNCH_TEMPLATE, PLACEMENT_GROUP = "launch-template", "placement-group"


class Housekeeping:
    """Finds by tag what is ours, and removes what is old and unused."""

    def __init__(self, calls: AwsCalls, templates: Templates, groups: Groups) -> None:
        self._calls, self._templates, self._groups = calls, templates, groups

    async def collect(self) -> Mapping[str, int]:
        """How many of what were removed. Raises Rejected, Unavailable."""
        removed: Counter[str] = Counter()
        for row in await self._ours("DescribeLaunchTemplates", "LaunchTemplates"):
            name, made = str(row["LaunchTemplateName"]), _epoch(row.get("CreateTime"))
            last = max(made, self._templates.used_at.get(name, 0.0))
            if name.startswith(PREFIX) and self._idle(last, IDLE_SECONDS):
                removed[LAUNCH_TEMPLATE] += await self._remove_template(name)
        for row in await self._ours("DescribePlacementGroups", "PlacementGroups"):
            name = str(row["GroupName"])
            last = max(_made(row.get("Tags") or ()), self._groups.used_at.get(name, 0.0))
            if self._idle(last, GROUP_IDLE_SECONDS):
                removed[PLACEMENT_GROUP] += await self._remove_group(name)
        return removed

    def _idle(self, last: float, seconds: float) -> bool:
        return self._calls.clock.now() - last > seconds

    async def _ours(self, action: str, key: str) -> list[Json]:
        filters = self._calls.settings.owned_filters
        return await self._calls.pages("ec2", action, key, Filters=filters)

    async def _remove_template(self, name: str) -> int:
        self._templates.forget(name)
        try:
            await self._calls.call("ec2", "DeleteLaunchTemplate", LaunchTemplateName=name)
        except NotFound:
            return 0
        self._templates.used_at.pop(name, None)
        return 1

    async def _remove_group(self, name: str) -> int:
        try:
            await self._calls.call("ec2", "DeletePlacementGroup", GroupName=name)
        except (NotFound, Rejected) as error:
            if error.reason == IN_USE or "Unknown" in error.reason:
                return 0
            raise
        self._groups.forget(name)
        self._groups.used_at.pop(name, None)
        return 1


def _epoch(when: object) -> float:
    return when.timestamp() if isinstance(when, datetime) else 0.0


def _made(tags: Iterable[Json]) -> float:
    """When a group was made, by its tag; long ago when it does not say."""
    said = next((str(tag["Value"]) for tag in tags if tag["Key"] == CREATED_TAG), "")
    try:
        return parse_time(said) if said else 0.0
    except UserError:
        return 0.0
