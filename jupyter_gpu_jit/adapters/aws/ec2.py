"""``ports.Cloud`` over EC2. Made by the command line; ``run`` goes on beside the provisioner."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from ...core.model import InstanceType
from ...errors import NotFound, Rejected
from ...ports import Instance, LaunchRequest, LaunchResult
from .calls import AwsCalls
from .facts import FactSource
from .gathering import Batch, Shared, chunks
from .housekeeping import Housekeeping
from .launching import Launcher
from .listing import read_instances
from .market import Market

_ANSWERS_KEPT = 2000
_MOST_ENDED, _MOST_TOPOLOGY = 500, 100
_INSTANCE_ID = re.compile(r"i-[0-9a-z]+")
_UNKNOWN = ("InvalidInstanceID", "InvalidInstanceId")


class Ec2Cloud:
    """Instances of one region; only those with our tags. ``packaged`` is the table at start."""

    def __init__(self, calls: AwsCalls, packaged: Sequence[InstanceType]) -> None:
        self._calls = calls
        self.facts = FactSource(calls)
        self.market = Market(calls, self.facts, packaged)
        self._launcher = Launcher(calls, self.facts, self.market)
        self.housekeeping = Housekeeping(calls, self._launcher.templates, self._launcher.groups)
        self._answers: OrderedDict[str, tuple[LaunchRequest, LaunchResult]] = OrderedDict()
        self._turns: dict[str, asyncio.Lock] = {}
        self._listing = Shared(self._list)
        self._ending = Batch(calls.clock, self._end)

    async def instance_types(self) -> Sequence[InstanceType]:
        """See ports.Cloud. Raises nothing: old prices are better than none."""
        return await self.market.types()

    async def launch(self, request: LaunchRequest) -> LaunchResult:
        """See ports.Cloud. Raises Rejected, Unavailable."""
        token = request.client_token
        turn = self._turns.setdefault(token, asyncio.Lock())
        try:
            async with turn:
                return await self._launch_once(request)
        finally:
            if not turn.locked():
                self._turns.pop(token, None)

    async def instances(self) -> Sequence[Instance]:
        """See ports.Cloud. Raises Rejected, Unavailable."""
        return await self._listing.get()

    async def terminate(self, instance_ids: Sequence[str]) -> None:
        """See ports.Cloud. Raises Rejected, Unavailable."""
        await self._ending.add(instance_ids)

    async def network_nodes(self, instance_ids: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """See ports.Cloud. Raises Rejected, Unavailable."""
        found: dict[str, tuple[str, ...]] = {}
        for ids in chunks(sorted(set(instance_ids)), _MOST_TOPOLOGY):
            found |= await self._topology(ids)
        return found

    async def close(self) -> None:
        """Calls that are out go on in threads that no exit waits for."""

    # --- inside ------------------------------------------------------------------------------

    async def _launch_once(self, request: LaunchRequest) -> LaunchResult:
        known = self._answers.get(request.client_token)
        if known is None:
            known = (request, await self._launcher.carry_out(request))
            self._answers[request.client_token] = known
            while len(self._answers) > _ANSWERS_KEPT:
                self._answers.popitem(last=False)
        if known[0] != request:
            raise Rejected(
                f"Client token {request.client_token} was used before with another request.",
                reason="IdempotentParameterMismatch",
            )
        return known[1]

    async def _list(self) -> Sequence[Instance]:
        found = await read_instances(self._calls, self._calls.settings.owned_filters)
        return tuple(self.market.priced(instance) for instance in found)

    async def _end(self, ids: list[str]) -> None:
        for some in chunks(ids, _MOST_ENDED):
            await self._end_some(some)

    async def _end_some(self, ids: list[str]) -> None:
        """AWS refuses a whole list for one id that it does not know, or that is not ours."""
        while ids:
            try:
                await self._calls.call("ec2", "TerminateInstances", InstanceIds=ids)
            except (NotFound, Rejected) as error:
                ids = await self._without_cause(ids, error)
            else:
                return

    async def _without_cause(self, ids: list[str], error: NotFound | Rejected) -> list[str]:
        """The list without what AWS named; halves where it named nothing. Raises the error."""
        if error.reason.startswith(_UNKNOWN):
            named = set(_INSTANCE_ID.findall(error.user_message)) & set(ids)
            if named or len(ids) == 1:
                return [i for i in ids if i not in named and len(ids) > 1]
        elif error.reason != "MissingPermission" or len(ids) == 1:
            raise error
        half = len(ids) // 2
        await self._end_some(ids[:half])
        return ids[half:]

    async def _topology(self, ids: list[str]) -> dict[str, tuple[str, ...]]:
        while ids:
            try:
                rows = await self._calls.pages(
                    "ec2", "DescribeInstanceTopology", "Instances", InstanceIds=ids
                )
            except (NotFound, Rejected) as error:
                if not error.reason.startswith(_UNKNOWN):
                    raise
                named = set(_INSTANCE_ID.findall(error.user_message))
                left = [i for i in ids if i not in named]
                ids = left if len(left) < len(ids) else []
            else:
                return {row["InstanceId"]: tuple(row.get("NetworkNodes") or ()) for row in rows}
        return {}
