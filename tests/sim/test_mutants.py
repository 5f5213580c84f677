"""Each planted bug breaks the invariant that is named for it, whichever other net is missing."""

import pytest
from mutants import MUTANTS, NETS, CloudOfWorld, DeafToNodes, planted
from simkit import virtually

from jupyter_gpu_jit.sim.invariants import Violated
from jupyter_gpu_jit.sim.world import play

CASES = [
    (bug, net)
    for bug, mutant in MUTANTS.items()
    for net in (None, *NETS)
    if net not in mutant.own_nets
]


def played(mutant, *patches):
    """The first invariant that fails in the mutant's story, by any of its seeds; "" if none."""

    async def body(world):
        CloudOfWorld.cloud, DeafToNodes.deaf = world.cloud, False
        world.start_provisioner(*(tap() for tap in mutant.taps))
        await mutant.body(world)

    for seed in mutant.seeds:
        try:
            with planted(*patches):
                virtually(
                    lambda: play(body, seed=seed, config=mutant.config, provisioner=False),  # noqa: B023
                    seed=seed,
                )
        except Violated as violated:
            return violated.name
    return ""


@pytest.mark.parametrize(("bug", "net"), CASES, ids=lambda value: value or "all nets")
def test_a_planted_bug_breaks_its_invariant_and_the_code_as_it_is_does_not(bug, net):
    mutant = MUTANTS[bug]
    off = [NETS[net]] if net else []
    assert played(mutant, *off) == ""
    assert played(mutant, *off, mutant.bug) == mutant.must_fail


def test_every_bug_meets_every_net_but_its_own():
    assert len(MUTANTS) == len(NETS) == 6
    assert len(CASES) == 6 * 7 - sum(len(mutant.own_nets) for mutant in MUTANTS.values())
