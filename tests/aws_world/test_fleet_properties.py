"""Whatever is asked of whatever market: capacity is never sold twice, and nothing is lost."""

import copy

from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_gpu_jit.local.aws_world.fleet import SPOT_STRATEGIES, Candidate, Wish, fulfil
from jupyter_gpu_jit.local.aws_world.market import Market
from jupyter_gpu_jit.local.aws_world.parameters import Parameters

VCPUS = {"g5.xlarge": 4, "g5.2xlarge": 8, "p4d.24xlarge": 96, "m5.large": 2}
ZONES = ("a", "b", "c")
pools = st.dictionaries(
    st.tuples(st.sampled_from(ZONES), st.sampled_from(sorted(VCPUS)), st.just("spot")),
    st.integers(0, 6),
    min_size=1,
)


@st.composite
def asked(draw):
    market = Market(Parameters(), VCPUS.__getitem__)
    free = draw(pools)
    for key, count in free.items():
        market.set_pool(key, {"free": count})
    market.quotas[("G", "spot")] = draw(st.integers(0, 60))
    candidates = [
        Candidate(
            order=order,
            pool=key,
            subnet_id=key[0],
            price_micro=draw(st.integers(1, 1000)),
            launch={},
            echo={},
            priority=draw(st.integers(0, 3)),
            problem=draw(st.sampled_from(("", "", "", "Unsupported"))),
        )
        for order, key in enumerate(draw(st.permutations(sorted(free))))
    ]
    single_zone, single_type = draw(st.booleans()), draw(st.booleans())
    units = draw(st.integers(1, 12))
    wish = Wish(
        capacity_type="spot",
        units=units,
        strategy=draw(st.sampled_from(SPOT_STRATEGIES)),
        least=draw(st.integers(0, units)) if single_zone or single_type else 0,
        single_type=single_type,
        single_zone=single_zone,
    )
    addresses = draw(st.integers(0, 12))
    return market, candidates, wish, addresses


@settings(max_examples=300, deadline=None)
@given(asked())
def test_a_fleet_takes_what_there_is_and_gives_back_what_it_does_not_keep(case):
    market, candidates, wish, addresses = case
    before = copy.deepcopy(market.pools)
    outcome = fulfil(wish, candidates, market, lambda _: addresses)
    taken = dict.fromkeys(before, 0)
    for candidate, count in outcome.taken:
        assert not candidate.problem
        taken[candidate.pool] += count
    for key, pool in before.items():
        assert market.pools[key].free == pool.free - taken[key] >= 0
    used = sum(count * VCPUS[key[1]] for key, count in taken.items())
    assert sum(market.used.values()) == used
    assert (
        sum(n * VCPUS[k[1]] for k, n in taken.items() if k[1] in ("g5.xlarge", "g5.2xlarge"))
        <= (market.quotas[("G", "spot")])
    )
    for zone in ZONES:
        assert sum(n for key, n in taken.items() if key[0] == zone) <= addresses
    assert outcome.units <= wish.units
    assert outcome.units == 0 or outcome.units >= wish.least
    kept = [key for key, count in taken.items() if count]
    assert not wish.single_zone or len({key[0] for key in kept}) <= 1
    assert not wish.single_type or len({key[1] for key in kept}) <= 1
    assert outcome.units >= wish.units or outcome.refused


@settings(max_examples=100, deadline=None)
@given(asked())
def test_without_conditions_nothing_that_could_be_had_is_left(case):
    market, candidates, wish, addresses = case
    wish = Wish(capacity_type="spot", units=wish.units, strategy=wish.strategy)
    outcome = fulfil(wish, candidates, market, lambda _: addresses)
    if outcome.units < wish.units:
        again = fulfil(wish, candidates, market, lambda c: left(outcome, c, addresses))
        assert again.units == 0


def left(outcome, candidate, addresses):
    return addresses - sum(n for c, n in outcome.taken if c.subnet_id == candidate.subnet_id)
