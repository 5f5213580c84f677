"""The simulator's small market says what the package's catalogue says."""

import pytest

from jupyter_gpu_jit.catalogue import instance_types
from jupyter_gpu_jit.sim.market import TYPES, ZONES

CATALOGUE = {kind.name: kind for kind in instance_types(zones=ZONES, spot_discount=0.6)}


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
def test_a_type_is_that_of_the_catalogue(kind):
    assert kind == CATALOGUE[kind.name]
