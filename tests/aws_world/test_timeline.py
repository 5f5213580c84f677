"""The world's clock: plans at their moments and in order, standing, moved by hand, or running."""

import threading

import pytest

from jupyter_gpu_jit.local.aws_world.parameters import Parameters, quota_class, vcpu_class
from jupyter_gpu_jit.local.aws_world.timeline import Timeline


def noted(timeline, log, name):
    return lambda: log.append((name, timeline.now()))


def test_a_standing_clock_moves_only_by_advance():
    timeline, log = Timeline(speed=0.0, start=100.0), []
    timeline.after(20, noted(timeline, log, "b"))
    timeline.after(10, noted(timeline, log, "a"))
    timeline.after(20, noted(timeline, log, "c"))
    timeline.advance(15)
    assert log == [("a", 110.0)]
    timeline.advance(5)
    assert log == [("a", 110.0), ("b", 120.0), ("c", 120.0)]
    assert timeline.now() == 120.0


def test_a_plan_made_by_a_plan_counts_from_its_moment():
    timeline, log = Timeline(speed=0.0, start=0.0), []
    timeline.after(10, lambda: timeline.after(5, noted(timeline, log, "then")))
    timeline.advance(100)
    assert log == [("then", 15.0)]


def test_time_never_goes_back():
    timeline = Timeline(speed=0.0, start=10.0)
    timeline.advance(-5)
    assert timeline.now() == 10.0


def test_a_running_clock_carries_plans_out_by_itself_at_their_moment():
    timeline, done, log = Timeline(speed=1000.0, start=0.0), threading.Event(), []
    timeline.after(100, noted(timeline, log, "x"))
    timeline.after(101, done.set)
    thread = timeline.start()
    assert done.wait(10)
    timeline.close()
    thread.join(10)
    assert log == [("x", pytest.approx(100.0, abs=50.0))]


def test_a_plan_that_fails_does_not_stop_the_clock(caplog):
    timeline, log = Timeline(speed=0.0, start=0.0), []
    timeline.after(1, lambda: 1 / 0)
    timeline.after(2, noted(timeline, log, "next"))
    timeline.advance(3)
    assert log == [("next", 2.0)]
    assert "A plan of the AWS world failed." in caplog.text


def test_speed_and_restart():
    timeline, log = Timeline(speed=0.0, start=0.0), []
    timeline.after(1, noted(timeline, log, "forgotten"))
    timeline.restart(50.0)
    timeline.set_speed(0.0)
    timeline.advance(10)
    assert (timeline.now(), log, timeline.speed) == (60.0, [], 0.0)


@pytest.mark.parametrize(
    ("name", "capacity", "expected"),
    [
        ("g5.xlarge", "spot", "G"),
        ("gr6.4xlarge", "spot", "G"),
        ("p4d.24xlarge", "spot", "P"),
        ("p5.48xlarge", "spot", "P5"),
        ("p6-b200.48xlarge", "spot", "P5"),
        ("p5.48xlarge", "on-demand", "P"),
        ("trn1.2xlarge", "spot", "TRN"),
        ("m5.large", "spot", "STANDARD"),
        ("u-6tb1.metal", "spot", "OTHER"),
    ],
)
def test_quota_classes(name, capacity, expected):
    assert quota_class(name, capacity) == expected
    assert vcpu_class("dl1.24xlarge") == "DL"


def test_parameters_are_checked_by_name():
    assert Parameters().changed({"depth": 3, "spot_start": [0.1, 0.2]}).spot_start == (0.1, 0.2)
    with pytest.raises(ValueError, match="no parameter depht"):
        Parameters().changed({"depht": 3})
