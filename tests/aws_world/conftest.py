"""One world for all tests of a process; each test gets it as on the first day, clock standing."""

import os

import pytest
from aws_kit import Aws

from jupyter_gpu_jit.local.aws_world import AwsWorld

START = 1_800_000_000.0


@pytest.fixture(scope="session")
def aws_process(tmp_path_factory):
    log = tmp_path_factory.mktemp("aws") / "world.log"
    # Its lines count as covered, too.
    measured = {k: v for k, v in os.environ.items() if k == "COVERAGE_PROCESS_CONFIG"}
    with AwsWorld(seed=7, speed=0.0, log=log, environment=measured) as world:
        yield world


@pytest.fixture
def aws(aws_process):
    """A fresh account in a world that moves only by ``advance``."""
    kit = Aws(aws_process)
    kit.post("reset", seed=7, start=START)
    return kit
