"""kill -9 of the leading provisioner at twelve moments; API server and cloud outlive it.

Two processes stand by, as replicas in a cluster would; each that is killed is replaced.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from cases import Case, covers
from town import Town

from jupyter_gpu_jit.local.control_plane import ControlPlane

SEED = 1204
KILLS = 12
USERS = [f"killed-{number}" for number in range(8)]


@covers("provisioner-killed")
async def test_killed_at_any_moment(
    case: Case, control_plane: ControlPlane, tmp_path: Path
) -> None:
    rng, users = random.Random(SEED), iter(USERS)
    async with Town(control_plane, tmp_path, "killed") as town:
        for _ in range(2):
            await town.start_provisioner()
        for number in range(KILLS):
            if number % 3 != 2:  # so that somebody's start is under way until the last kills
                await town.sit_down(next(users))
            leader = await town.leader()
            await asyncio.sleep(rng.uniform(0.0, 1.2))
            process = town.processes[leader]
            process.kill()
            assert await process.wait() == case.exit_code
            await town.start_provisioner()
        await town.all_run()
        assert sorted(town.seen.told) == USERS
        told = [text for texts in town.seen.told.values() for text in texts]
        assert case.says() in told
        town.assert_nothing_lost()
        await town.leave()
        await town.nothing_left()
        town.assert_nothing_lost()
