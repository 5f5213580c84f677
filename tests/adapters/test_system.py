"""The machine's clock and random names."""

import re
import time

from jupyter_gpu_jit.adapters.system import RandomIds, SystemClock


async def test_the_clock_is_the_machines():
    clock = SystemClock()
    before = time.time()
    await clock.sleep(0.01)
    assert before + 0.005 <= clock.now() <= time.time()


def test_names_are_distinct_labels_that_begin_with_their_prefix():
    ids = RandomIds()
    names = [ids.new("claim-") for _ in range(1000)]
    assert len(set(names)) == 1000
    assert all(re.fullmatch(r"claim-[a-z0-9]{10}", name) for name in names)


def test_a_long_prefix_is_cut_to_fit_a_label():
    name = RandomIds().new("x" * 100)
    assert len(name) == 63
    assert name.startswith("xxx")
