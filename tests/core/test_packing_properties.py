"""What every plan keeps, whatever the world: drawn at random, checked by plain re-computation."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packing_worlds import (
    ON_DEMAND,
    SPOT,
    ZONES,
    amount,
    kind,
    offering,
    places,
    seat,
    session,
    snapshot,
)

from jupyter_gpu_jit.core.model import (
    InstanceType,
    Offering,
    Plan,
    Resources,
    Seat,
    SessionRequest,
    Snapshot,
)
from jupyter_gpu_jit.core.packing import solve
from jupyter_gpu_jit.core.requirements import CapacityPolicy

EXAMPLES = int(os.environ.get("EXAMPLES", "60"))
# A busy machine is no failure: neither a slow example nor slow drawing says anything of a plan.
drawn = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
PRICES = st.integers(8, 20).map(lambda n: n / 100)


@st.composite
def kinds(draw: st.DrawFn, name: str) -> InstanceType:
    gpus = draw(st.sampled_from((0, 0, 1, 2, 4)))
    slots = draw(
        st.sets(st.tuples(st.sampled_from(ZONES), st.sampled_from((SPOT, ON_DEMAND))), min_size=1)
    )
    return kind(
        name,
        0,
        gpus=gpus,
        cpu=draw(st.integers(1, 8)),
        gib=draw(st.integers(1, 16)),
        pods=draw(st.integers(1, 6)),
        model=draw(st.sampled_from(("T4", "L4"))) if gpus else "",
        offerings=[
            offering(name, draw(PRICES), zone, capacity, draw(st.integers(0, 4)) > 0)
            for zone, capacity in sorted(slots)
        ],
    )


@st.composite
def sessions(draw: st.DrawFn, uid: str) -> SessionRequest:
    return session(
        uid,
        draw(st.sampled_from((0, 0, 1, 2))),
        draw(st.integers(1, 4)),
        draw(st.integers(1, 6)),
        gpu_models=draw(st.sampled_from(((), (), ("L4",)))),
        gpu_memory_gib=draw(st.sampled_from((0, 0, 20))),
        zones=draw(st.sampled_from(((), (), (ZONES[0],)))),
        capacity=draw(st.sampled_from(CapacityPolicy)),
        max_usd_per_hour_micro=draw(st.sampled_from((None, None, 90_000))),
        created_at=float(draw(st.integers(0, 2))),
        place=draw(st.sampled_from(("", "seat-0", "seat-1"))),
    )


@st.composite
def worlds(draw: st.DrawFn, most_sessions: int = 5, cap: bool = True) -> Snapshot:
    types = [draw(kinds(f"k{n}.large")) for n in range(draw(st.integers(1, 4)))]
    seats = []
    for n in range(draw(st.integers(0, 2))):
        of = draw(st.sampled_from(types))
        taken = amount(draw(st.integers(0, of.allocatable.gpus)), draw(st.integers(0, 9)), 0, 0)
        seats.append(seat(f"seat-{n}", of, ready=draw(st.booleans()), taken=taken))
    waiting = [draw(sessions(f"s{n}")) for n in range(draw(st.integers(0, most_sessions)))]
    limit = draw(st.none() | PRICES.map(lambda p: 5 * p)) if cap else None
    return snapshot(waiting, types, seats, limit)


# --- the rules, said again without the planner ---------------------------------------------------


def share(price: int, size: Resources, total: Resources) -> float:
    parts = [size.cpu_millicpu / total.cpu_millicpu, size.memory_bytes / total.memory_bytes]
    if size.gpus:
        parts.append(size.gpus / total.gpus)
    return price * max(parts)


def suits(who: SessionRequest, model: str, sold: Offering, total: Resources) -> bool:
    """Whether the offer meets all requirements of the session except room and availability."""
    needs = who.requirements
    if who.resources.gpus:
        if not total.gpus or (needs.gpu_models and model not in needs.gpu_models):
            return False
        if needs.gpu_memory_gib > {"T4": 16, "L4": 24}[model]:
            return False
    if needs.zones and sold.zone not in needs.zones:
        return False
    wanted = {"spot": {SPOT}, "on-demand": {ON_DEMAND}}.get(needs.capacity.value, {SPOT, ON_DEMAND})
    cap = needs.max_usd_per_hour_micro
    # The planner rounds a share up to a whole micro-USD before it compares.
    within = cap is None or share(sold.usd_per_hour_micro, who.resources, total) <= cap + 1e-6
    return sold.capacity_type in wanted and within


def suits_seat(who: SessionRequest, node: Seat) -> bool:
    sold = Offering(
        instance_type=node.instance_type,
        zone=node.zone,
        capacity_type=node.capacity_type,
        usd_per_hour_micro=node.usd_per_hour_micro,
    )
    return suits(who, node.gpu_model, sold, node.total)


def total(group: Sequence[SessionRequest]) -> Resources:
    found = Resources()
    for who in group:
        found = found + who.resources
    return found


def fitting(
    world: Snapshot, group: Sequence[SessionRequest]
) -> Iterator[tuple[InstanceType, Offering]]:
    """Pools available now that could hold exactly this group on one node."""
    for of in world.instance_types:
        if total(group).fits_in(of.allocatable):
            for sold in of.offerings:
                if sold.available and all(
                    suits(w, of.gpu_model, sold, of.allocatable) for w in group
                ):
                    yield of, sold


def alone(world: Snapshot, who: SessionRequest) -> list[int]:
    """Prices of nodes for this session alone."""
    return [sold.usd_per_hour_micro for _, sold in fitting(world, [who])]


def by_place(world: Snapshot, plan: Plan) -> dict[str, list[SessionRequest]]:
    requests = {who.uid: who for who in world.waiting}
    groups: dict[str, list[SessionRequest]] = defaultdict(list)
    for uid, place in places(plan).items():
        groups[place].append(requests[uid])
    return groups


# --- properties ---------------------------------------------------------------------------------


@drawn
@given(worlds())
def test_every_session_is_placed_or_refused_exactly_once(world):
    plan = solve(world)
    answers = [p.session for p in plan.placements] + [r.session for r in plan.refused]
    assert sorted(answers) == sorted(who.uid for who in world.waiting)
    assert all(r.message.endswith(".") and r.reason for r in plan.refused)


@drawn
@given(worlds())
def test_no_seat_is_filled_beyond_its_room_or_against_a_requirement(world):
    groups = by_place(world, solve(world))
    for node in world.seats:
        group = groups[node.place]
        assert not group or total(group).fits_in(node.residual)
        assert all(suits_seat(who, node) for who in group)


@drawn
@given(worlds())
def test_every_listed_offering_holds_the_whole_filling(world):
    plan = solve(world)
    groups = by_place(world, plan)
    for claim in plan.claims:
        group = groups[claim.key]
        assert sorted(who.uid for who in group) == sorted(claim.sessions)
        possible = {sold.key: sold for _, sold in fitting(world, group)}
        assert all(possible[sold.key] == sold for sold in claim.offerings)
        prices = [sold.usd_per_hour_micro for sold in claim.offerings]
        assert prices == sorted(prices)
        assert prices[-1] <= 1.2 * prices[0]


@drawn
@given(worlds(), st.randoms(use_true_random=False))
def test_the_order_of_the_input_is_nothing(world, random):
    def shuffled(items):
        return tuple(random.sample(items, len(items)))

    types = [
        InstanceType(
            **{**{f: getattr(t, f) for f in t.__slots__}, "offerings": shuffled(t.offerings)}
        )
        for t in world.instance_types
    ]
    again = Snapshot(
        now=world.now,
        waiting=shuffled(world.waiting),
        seats=shuffled(world.seats),
        instance_types=shuffled(types),
        max_usd_per_hour_micro=world.max_usd_per_hour_micro,
    )
    assert solve(again) == solve(world)


@drawn
@given(worlds(cap=False))
def test_new_nodes_never_cost_more_than_one_for_each_session(world):
    plan = solve(world)
    requests = {who.uid: who for who in world.waiting}
    for claim in plan.claims:
        each = sum(min(alone(world, requests[uid])) for uid in claim.sessions)
        assert claim.offerings[0].usd_per_hour_micro <= each


@drawn
@given(worlds(cap=False))
def test_nobody_is_refused_whom_some_pool_would_serve(world):
    plan = solve(world)
    requests = {who.uid: who for who in world.waiting}
    assert all(not alone(world, requests[r.session]) for r in plan.refused)


@drawn
@given(worlds(cap=False))
def test_a_refusal_counts_each_pool_once(world):
    for refused in solve(world).refused:
        gpus = next(w.resources.gpus for w in world.waiting if w.uid == refused.session)
        pools = [
            o for t in world.instance_types for o in t.offerings if t.allocatable.gpus or not gpus
        ]
        assert sum(count for _, count in refused.excluded) == len(pools)


@drawn
@given(worlds())
def test_the_cap_holds_whichever_listed_offering_is_launched(world):
    plan = solve(world)
    if world.max_usd_per_hour_micro is not None and plan.claims:
        running = sum(node.usd_per_hour_micro for node in world.seats)
        dearest = sum(claim.offerings[-1].usd_per_hour_micro for claim in plan.claims)
        assert running + dearest <= world.max_usd_per_hour_micro


@drawn
@given(worlds())
def test_a_cpu_session_idles_a_gpu_of_a_seat_only_when_it_must(world):
    groups = by_place(world, solve(world))
    for node in world.seats:
        for who in groups[node.place]:
            if not who.resources.gpus and node.residual.gpus > total(groups[node.place]).gpus:
                assert all(of.allocatable.gpus for of, _ in fitting(world, [who]))


@drawn
@given(worlds())
def test_a_new_node_idles_a_gpu_under_a_cpu_session_only_when_that_is_cheaper(world):
    plan = solve(world)
    groups = by_place(world, plan)
    for claim in plan.claims:
        group = groups[claim.key]
        if any(not who.resources.gpus for who in group):
            found = [(o.usd_per_hour_micro, t.allocatable.gpus) for t, o in fitting(world, group)]
            gpus = {t.name: t.allocatable.gpus for t in world.instance_types}
            most = max(min(found)[1], total(group).gpus)
            assert all(gpus[sold.instance_type] <= most for sold in claim.offerings)


def optimum(world: Snapshot, group: Sequence[SessionRequest]) -> int:
    """Least cost of new nodes that seats the whole group, over every way to do it."""
    best = [1 << 60]

    def assign(
        rest: Sequence[SessionRequest], seats: list[Resources], nodes: list[list], cost: int
    ):
        if not rest:
            prices = [
                min((o.usd_per_hour_micro for _, o in fitting(world, n)), default=1 << 60)
                for n in nodes
            ]
            best[0] = min(best[0], sum(prices))
            return
        who = rest[0]
        for n, node in enumerate(world.seats):
            if suits_seat(who, node) and who.resources.fits_in(seats[n]):
                assign(
                    rest[1:], [*seats[:n], seats[n] - who.resources, *seats[n + 1 :]], nodes, cost
                )
        for n, members in enumerate(nodes):
            assign(rest[1:], seats, [*nodes[:n], [*members, who], *nodes[n + 1 :]], cost)
        assign(rest[1:], seats, [*nodes, [who]], cost)

    assign(group, [node.residual for node in world.seats], [], 0)
    return best[0]


@drawn
@given(worlds(most_sessions=4))
def test_the_lower_bound_is_never_above_the_true_optimum(world):
    plan = solve(world)
    seated = [who for who in world.waiting if who.uid in places(plan)]
    best = optimum(world, seated)
    assert plan.lower_bound_usd_per_hour_micro <= best <= plan.usd_per_hour_micro
    assert plan.usd_per_hour_micro == sum(c.offerings[0].usd_per_hour_micro for c in plan.claims)


@drawn
@given(worlds())
def test_carrying_out_a_plan_and_planning_again_changes_nothing(world):
    """Sessions planned onto existing seats find themselves there again."""
    plan = solve(world)
    own = {node.place for node in world.seats}
    moved = [
        SessionRequest(
            **{f: getattr(who, f) for f in who.__slots__ if f != "place"},
            place=places(plan).get(who.uid, ""),
        )
        for who in world.waiting
    ]
    again = solve(
        snapshot(moved, world.instance_types, world.seats)
        if world.max_usd_per_hour_micro is None
        else Snapshot(
            now=0.0,
            waiting=tuple(moved),
            seats=world.seats,
            instance_types=world.instance_types,
            max_usd_per_hour_micro=world.max_usd_per_hour_micro,
        )
    )
    kept = {uid: place for uid, place in places(plan).items() if place in own}
    assert kept.items() <= places(again).items()
