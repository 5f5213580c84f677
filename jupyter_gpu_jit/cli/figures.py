"""``gpu-jit bench``: figures measured now, each beside its aim.

Called by ``offline``. Every benchmark gives rows of one form (see bench/rows.py), is measured on
the real parts it names, and says what it is doing on standard error.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence

from ..errors import UserError
from .bench.rows import Row, table
from .shared import needs_extra

__all__ = ["BENCHES", "Row", "run", "table"]


async def _start() -> Sequence[Row]:
    needs_extra("kubernetes", "provisioner")
    from .bench.real import real_stage
    from .bench.start import Counts, measure

    async with real_stage(_say) as stage:
        return await measure(stage, Counts(), _say)


async def _plan() -> Sequence[Row]:
    needs_extra("highspy", "provisioner")
    from ..catalogue import instance_types
    from ..sim.peer import peer_types
    from ..sim.workloads import common_types
    from .bench.measuring import Catalogues, Counts
    from .bench.plan import measure

    types = instance_types()
    catalogues = Catalogues(peer=peer_types(types), common=common_types(types))
    return measure(catalogues, Counts(), _say)


async def _launch() -> Sequence[Row]:
    needs_extra("kubernetes", "provisioner")
    needs_extra("moto", "aws-world")
    from .bench.aws import aws_stage
    from .bench.launch import Counts, measure

    async with aws_stage(_say) as stage:
        return await measure(stage, Counts(), _say)


BENCHES: Mapping[str, Callable[[], Awaitable[Sequence[Row]]]] = {
    "launch": _launch,
    "plan": _plan,
    "start": _start,
}


def run(name: str) -> list[Row]:
    """The rows of one benchmark. Raises UserError when there is none of that name."""
    if name not in BENCHES:
        raise UserError(f"There is no benchmark {name!r}; there is: {', '.join(sorted(BENCHES))}.")

    async def rows() -> Sequence[Row]:
        return await BENCHES[name]()

    return list(asyncio.run(rows()))


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)  # noqa: T201
