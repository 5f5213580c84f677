"""What gpu-jit plan --lint finds: sizes that just miss a type, and what trimming them saves."""

from dataclasses import replace

import pytest
from packing_worlds import kind

from jupyter_gpu_jit.core.lint import lint, report, report_json
from jupyter_gpu_jit.core.model import Resources, Snapshot
from jupyter_gpu_jit.core.packing import Policy, solve
from jupyter_gpu_jit.core.planfile import read_requests
from jupyter_gpu_jit.core.quantity import GIB, MIB

# As EC2 has them: 7.91 of 8 CPU, the next size is twice as large and much dearer.
SMALL = kind("g.2x", 0.75, gpus=1, cpu=7.91, gib=30, model="T4")
LARGE = kind("g.4x", 1.2, gpus=1, cpu=15.89, gib=58, model="T4")


def found(types, policy=None, **profile):
    requests = read_requests([{"slug": "x", "capacity": "spot", **profile}])
    return lint([r.profile for r in requests], tuple(types), policy or Policy())


def test_eight_cpu_just_miss_a_node_of_eight():
    (one,) = found([SMALL, LARGE], gpus=1, cpu=8, memory="16Gi")
    assert (one.instance_type, one.now_type, one.sharing) == ("g.2x", "g.4x", 1)
    assert one.trimmed.cpu_millicpu == 7900
    assert one.trimmed.memory_bytes == 16 * GIB
    assert (one.saved_micro, one.saved_percent) == (450_000, 37.5)
    assert one.sentence() == (
        "x: 8 CPU just misses the 7.91 CPU of g.2x. With 7.9 CPU a session alone there costs "
        "$0.75/h instead of $1.20/h on g.4x: $0.45/h (38 %) less."
    )


def test_what_is_said_is_true_of_the_planner():
    (one,) = found([SMALL, LARGE], gpus=1, cpu=8, memory="32Gi")
    asked = {"gpus": 1, "cpu": 8, "memory": "32Gi", "capacity": "spot"}
    trimmed = {
        **asked,
        "cpu": f"{one.trimmed.cpu_millicpu}m",
        "memory": str(one.trimmed.memory_bytes),
    }
    costs = []
    for row in (asked, trimmed):
        (request,) = read_requests([row])
        snapshot = Snapshot(
            now=0.0, waiting=tuple(request.sessions()), instance_types=(SMALL, LARGE)
        )
        costs.append(solve(snapshot).usd_per_hour_micro)
    assert costs == [one.now_usd_per_hour_micro, one.then_usd_per_hour_micro]


def test_sessions_that_would_share_a_node_if_they_were_smaller():
    (one,) = found([kind("c.2x", 0.3, cpu=7.91, gib=30), kind("c.4", 0.2, cpu=4)], cpu=4)
    assert (one.sharing, one.trimmed.cpu_millicpu, one.saved_micro) == (2, 3900, 50_000)
    assert "2 x 4 CPU just misses the 7.91 CPU of c.2x" in one.sentence()
    assert "2 sessions share it and each costs $0.15/h instead of $0.20/h" in one.sentence()


def test_memory_is_trimmed_to_round_numbers_where_that_is_little():
    types = [kind("s", 1, cpu=4, gib=15.4), kind("l", 3, cpu=4, gib=64)]
    (one,) = found(types, memory="16Gi")
    assert one.trimmed.memory_bytes == 15.25 * GIB
    assert one.sentence().startswith("x: 16 GiB just misses the 15.4 GiB of s. With 15.25 GiB a ")
    (two,) = found([kind("s", 1, gib=0.92), kind("l", 3, gib=9)], memory="1Gi")
    assert two.trimmed.memory_bytes == 942 * MIB
    both = found(
        [kind("s", 1, cpu=3.92, gib=15.4), kind("l", 3, cpu=8, gib=64)], cpu=4, memory="16Gi"
    )
    assert (
        "4 CPU just misses the 3.92 CPU and 16 GiB just misses the 15.4 GiB" in both[0].sentence()
    )


@pytest.mark.parametrize(
    ("types", "profile"),
    [
        pytest.param([SMALL, LARGE], {"gpus": 1, "cpu": 7}, id="fits"),
        pytest.param([SMALL, LARGE], {"gpus": 1, "cpu": 9}, id="more than a tenth"),
        pytest.param([SMALL, LARGE], {"gpus": 2, "cpu": 8}, id="too few GPUs"),
        pytest.param([SMALL], {"gpus": 1, "cpu": 8}, id="nothing to compare with"),
        pytest.param(
            [SMALL, kind("g.4x", 0.751, gpus=1, cpu=16, model="T4")],
            {"gpus": 1, "cpu": 8},
            id="saves less than 1 %",
        ),
        pytest.param(
            [kind("g.2x", 0.1, gpus=1, cpu=7.91), kind("c.4x", 1.2, cpu=16)],
            {"cpu": 8},
            id="a GPU would idle",
        ),
        pytest.param([SMALL, LARGE], {"gpus": 1, "cpu": 8, "zones": ["z-9"]}, id="not sold there"),
        pytest.param(
            [kind("one", 0.1, cpu=7.91, pods=1), kind("b", 0.1, cpu=4.1)], {"cpu": 4}, id="pods"
        ),
    ],
)
def test_nothing_is_said_where_trimming_does_not_help(types, profile):
    assert found(types, **profile) == ()


def test_daemonsets_take_their_part_first():
    policy = Policy(daemons=Resources(cpu_millicpu=300))
    (one,) = found([SMALL, LARGE], policy, gpus=1, cpu=8)
    assert one.trimmed.cpu_millicpu == 7600


def test_prices_are_of_what_is_sold_when_the_capacity_type_is_not():
    only = [replace(k, offerings=k.offerings[1:]) for k in (SMALL, LARGE)]
    (one,) = found(only, gpus=1, cpu=8)
    assert one.now_usd_per_hour_micro == 2_400_000


def test_a_report_says_all_or_that_there_is_nothing():
    some = found([SMALL, LARGE], gpus=1, cpu=8)
    assert report(some, 3, "here").splitlines()[0] == (
        "1 of 3 just miss an instance type, on here:"
    )
    assert report((), 3, "here") == "None of 3 just misses an instance type, on here."
    (row,) = report_json(some)
    assert (row["trimmed"]["cpu"], row["saved_percent"]) == ("7900m", 37.5)
    assert row["message"] == some[0].sentence()
