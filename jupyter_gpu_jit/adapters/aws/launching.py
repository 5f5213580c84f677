"""One launch: templates and groups made, fleets asked, answers understood. Called by ec2.py.

What makes a repetition harmless. Every parameter of a fleet request follows from the
LaunchRequest, the settings and the cluster's facts, and tokens from the launch's own, so that a
process started after a crash sends the same request again and AWS repeats its first answer. If
the facts changed in between (a newer image, another subnet), AWS says that the token was used
with other parameters: proof that the first request arrived, so that what it launched is looked
for by the token's tag and nothing is asked again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...core.layouts import WHOLE, layout_named
from ...core.model import InstanceType, Offering
from ...errors import GpuJitError, NotFound, Rejected
from ...ports import Instance, LaunchFailure, LaunchRequest, LaunchResult
from .calls import AwsCalls, Json
from .errors import MISMATCH, NO_SUBNET, OF_OFFERINGS
from .facts import Facts, FactSource
from .fleet import (
    GONE,
    LAUNCH_TAG,
    FleetAnswer,
    Seatable,
    capacity_order,
    failure,
    fleet_request,
    read_answer,
    token_of,
)
from .groups import Groups
from .listing import read_instances
from .market import Market
from .templates import Template, Templates, boot_of, template

log = logging.getLogger(__name__)
RETRIES = 6
_LOOKS, _LOOK_SECONDS = 4, 1.5


class Launcher:
    """Carries out launch requests."""

    def __init__(self, calls: AwsCalls, facts: FactSource, market: Market) -> None:
        self._calls, self._facts, self._market = calls, facts, market
        self.templates, self.groups = Templates(calls), Groups(calls)

    async def carry_out(self, request: LaunchRequest) -> LaunchResult:
        """Fleets by capacity type, in the order wanted. Raises Rejected, Unavailable."""
        rows, failures, templates = await self._rows(request)
        instances: list[Instance] = []
        for number, sold in enumerate(capacity_order(request.offerings)):
            mine = [row for row in rows if row.offering.capacity_type is sold]
            if mine and len(instances) < request.count:
                fleets = _Fleets(self, request, mine, templates, number)
                given = await fleets.fill(request.count - len(instances), len(instances))
                instances += given.instances
                failures += given.failures
        order = {offering.key: place for place, offering in enumerate(request.offerings)}
        return LaunchResult(
            instances=tuple(
                replace(self._market.priced(instance), tags=dict(request.tags))
                for instance in instances
            ),
            failures=tuple(sorted(failures, key=lambda f: order[f.offering.key])),
        )

    async def ensure(self, request: LaunchRequest, templates: Sequence[Template]) -> None:
        """All that the fleets of a request refer to is there."""
        if request.placement_group is not None:
            await self.groups.ensure(request.placement_group)
        for wanted in templates:
            await self.templates.ensure(wanted)

    def forget(self, request: LaunchRequest, templates: Sequence[Template]) -> None:
        """Something that they refer to is not there after all."""
        if request.placement_group is not None:
            self.groups.forget(request.placement_group.name)
        for wanted in templates:
            self.templates.forget(wanted.name)

    def doubt(self) -> None:
        """A subnet, a group or an image is not there any more."""
        self._facts.doubt()

    async def create(self, parameters: Json) -> Json:
        """The call itself."""
        await self._calls.pace.before_launch_of(
            parameters["TargetCapacitySpecification"]["TotalTargetCapacity"]
        )
        return await self._calls.ask("ec2", "CreateFleet", parameters)

    async def launched_under(self, token: str) -> list[Instance]:
        """What a fleet with that token launched, looked for until it shows or seconds passed."""
        filters = [{"Name": f"tag:{LAUNCH_TAG}", "Values": [token]}]
        found: list[Instance] = []
        for _ in range(_LOOKS):
            found = await read_instances(self._calls, filters)
            if found:
                break
            await self._calls.clock.sleep(_LOOK_SECONDS)
        return found

    @property
    def calls(self) -> AwsCalls:
        """The way to AWS."""
        return self._calls

    async def _rows(
        self, request: LaunchRequest
    ) -> tuple[list[Seatable], list[LaunchFailure], Mapping[str, Template]]:
        """What can be asked for, why the rest cannot, and the templates by name."""
        facts, types = await self._facts.facts(), await self._market.named()
        rows, failures, templates = [], [], {}
        known: dict[object, Template] = {}
        for offering in request.offerings:
            kind = types.get(offering.instance_type)
            subnet = facts.subnet_in(offering.zone, request.client_token)
            if kind is None or not _can_have(kind, request.layout):
                failures.append(failure(offering, "Unsupported"))
            elif subnet is None:
                failures.append(failure(offering, NO_SUBNET))
            else:
                made = await self._template(facts, kind, offering, request, known)
                templates[made.name] = made
                rows.append(Seatable(offering, subnet.id, made.name))
        return rows, failures, templates

    async def _template(
        self,
        facts: Facts,
        kind: InstanceType,
        offering: Offering,
        request: LaunchRequest,
        known: dict[object, Template],
    ) -> Template:
        settings = self._calls.settings
        boot = boot_of(kind, settings, request.layout, offering.capacity_type.value)
        efa = kind.efa_interfaces if request.efa else 0
        image = await self._facts.image(kind.architecture, bool(kind.driver_family))
        key = (boot, efa, image)
        if key not in known:
            known[key] = template(facts, settings, boot, image=image, efa_interfaces=efa)
        return known[key]


def _can_have(kind: InstanceType, layout: str) -> bool:
    return layout == WHOLE or layout_named(kind, layout) is not None


class _Fleets:
    """The fleets of one capacity type of one launch: one, and more where AWS was too busy."""

    def __init__(
        self,
        launcher: Launcher,
        request: LaunchRequest,
        rows: Sequence[Seatable],
        templates: Mapping[str, Template],
        number: int,
    ) -> None:
        self._launcher, self._request, self._rows = launcher, request, rows
        names = dict.fromkeys(row.template for row in rows)
        self._templates = [templates[name] for name in names]
        self._number = number

    async def fill(self, wanted: int, before: int) -> LaunchResult:
        """As many of ``wanted`` as there are; ``before`` were launched by other fleets.

        An answer that holds a throttle stays the answer of its token, so that what is missing
        is asked for under the next one.
        """
        instances: list[Instance] = []
        failures: dict[tuple[str, str, str], LaunchFailure] = {}
        for retry in range(RETRIES):
            token = token_of(self._request.client_token, self._number, retry)
            answer = await self._ask(token, wanted - len(instances), before + len(instances))
            instances += answer.instances
            failures |= {each.offering.key: each for each in answer.failures}
            if not answer.again:
                break
            await self._launcher.calls.clock.sleep(min(2.0**retry, 10.0))
        return LaunchResult(instances=tuple(instances), failures=tuple(failures.values()))

    async def _ask(self, token: str, count: int, before: int) -> FleetAnswer:
        parameters = fleet_request(
            self._request,
            self._rows,
            self._launcher.calls.settings,
            token=token,
            count=count,
            at_least=min(count, max(1, self._request.at_least - before)),
        )
        await self._launcher.ensure(self._request, self._templates)
        try:
            body = await self._create(parameters)
        except (Rejected, NotFound) as error:
            return await self._refused(error, token)
        now = self._launcher.calls.clock.now()
        answer = read_answer(body, self._rows, self._request, now=now, wanted=count)
        if answer.gone:
            self._launcher.forget(self._request, self._templates)
        return answer

    async def _create(self, parameters: Json) -> Json:
        """Once more when somebody removed what the request refers to."""
        try:
            return await self._launcher.create(parameters)
        except (Rejected, NotFound) as error:
            if not error.reason.startswith(GONE):
                raise
            self._launcher.forget(self._request, self._templates)
            await self._launcher.ensure(self._request, self._templates)
            return await self._launcher.create(parameters)

    async def _refused(self, error: GpuJitError, token: str) -> FleetAnswer:
        """The whole call was refused: for want of what is sold, or because it was made before."""
        if error.reason == MISMATCH:
            log.info("a launch was made before", extra={"token": token})
            found = await self._launcher.launched_under(token)
            sold = {row.offering.key for row in self._rows}
            ours = (i for i in found if (i.instance_type, i.zone, i.capacity_type) in sold)
            return FleetAnswer(instances=tuple(ours), failures=())
        if error.reason == "MissingPermission":
            failures = [_denied(row.offering, error) for row in self._rows]
        elif error.reason in OF_OFFERINGS:
            failures = [failure(row.offering, error.reason) for row in self._rows]
        else:
            if isinstance(error, NotFound):
                self._launcher.doubt()
            raise error
        return FleetAnswer(instances=(), failures=tuple(failures))


def _denied(offering: Offering, error: GpuJitError) -> LaunchFailure:
    """The person who waits is told which permission is missing, for their admin."""
    return LaunchFailure(
        offering=offering, code="UnauthorizedOperation", message=error.user_message
    )
