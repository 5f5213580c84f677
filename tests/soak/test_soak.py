"""The long part of tests/sim, for `make soak`: every crash, every fault, three hundred seeds.

The same functions as in tests/sim, without samples; two to three hours on one core.
``-k`` narrows it.
"""

from dataclasses import replace

import pytest

from jupyter_gpu_jit.cli.bench.aws import aws_stage
from jupyter_gpu_jit.cli.bench.launch import Bench, Counts
from jupyter_gpu_jit.cli.bench.watching import watching
from jupyter_gpu_jit.sim import loop, weather
from jupyter_gpu_jit.sim.faults import enumerate_crashes
from jupyter_gpu_jit.sim.mishaps import mishaps, quiet_run, sample, try_all
from jupyter_gpu_jit.sim.scenarios import LARGE, SCENARIOS, run_scenario
from jupyter_gpu_jit.sim.world import play

SMALL = [name for name in SCENARIOS if name not in LARGE]
WEATHERS = {"fine": None, "slow": weather.slow}


def listed(wrong):
    return "\n\n".join(str(each) for each in wrong)


@pytest.mark.parametrize("name", SMALL)
def test_the_provisioner_may_end_at_any_call(name):
    runs, wrong = enumerate_crashes(SCENARIOS[name], seed=1)
    assert runs > 50
    assert not wrong, listed(wrong)


@pytest.mark.parametrize("weather_name", WEATHERS)
@pytest.mark.parametrize("name", SMALL)
def test_any_fault_at_any_call_does_not_change_the_end(name, weather_name):
    scenario = SCENARIOS[name]
    if WEATHERS[weather_name] is not None:
        config = replace(scenario.config, weather=WEATHERS[weather_name])
        scenario = replace(scenario, config=config)
    quiet = quiet_run(scenario, seed=1)
    wrong = try_all(scenario, quiet, [mishap for mishap, _ in mishaps(quiet)], seed=1)
    assert not wrong, listed(wrong)


def test_a_fault_of_each_class_in_the_class_of_thirty():
    scenario = SCENARIOS["class-of-thirty"]
    quiet = quiet_run(scenario, seed=1)
    classes = len({key for _, key in mishaps(quiet)})
    chosen = sample(quiet, seed=1, classes=min(classes, 400), others=100)
    wrong = try_all(scenario, quiet, chosen, seed=1)
    assert not wrong, listed(wrong)


@pytest.mark.parametrize("seed", range(300))
@pytest.mark.parametrize("name", SMALL)
def test_a_scenario_ends_well_for_every_seed(name, seed):
    run_scenario(name, seed)


@pytest.mark.parametrize("seed", range(300))
@pytest.mark.parametrize("name", SMALL)
def test_lost_answers_and_conflicts_break_nothing(name, seed):
    scenario = SCENARIOS[name]
    late = max(60.0, scenario.config.shown_within_seconds)
    config = replace(scenario.config, weather=weather.stormy, shown_within_seconds=late)
    loop.run(lambda: play(scenario.body, seed=seed, config=config), seed=seed)


async def test_a_provisioner_killed_in_the_middle_of_launches_on_ec2_leaves_and_doubles_nothing():
    async with aws_stage(print) as stage, watching(stage.cluster) as seen:
        bench = Bench(stage, seen, Counts(crashes=12))
        for row in await bench.crash_rows():
            assert row["value"] == 0, row
