"""The answer of gpu-jit plan and its drawings: rows that belong together, words for each case."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from packing_worlds import kind

from jupyter_gpu_jit.core.drawing import blocks, draw, letter
from jupyter_gpu_jit.core.drawing_html import DARK, LIGHT, page
from jupyter_gpu_jit.core.model import Placement, Plan, Resources, Snapshot
from jupyter_gpu_jit.core.packing import SETTLE_STEPS, solve
from jupyter_gpu_jit.core.plan_answer import answer, answer_json
from jupyter_gpu_jit.core.planfile import read_nodes, read_requests
from jupyter_gpu_jit.core.pricing import NodeCosts

ROOT = Path(__file__).parents[2]
STATUS_CSS = ROOT / "jupyter_gpu_jit/service/static/status.css"
TYPES = (kind("c.large", 0.1), kind("g.large", 1, gpus=4, cpu=8, model="L4"))


def told(requests, nodes=(), plan=None, **more):
    requests = read_requests(requests)
    live = read_nodes(list(nodes), {kind.name: kind for kind in TYPES})
    snapshot = Snapshot(
        now=0.0,
        waiting=tuple(s for r in requests for s in r.sessions()),
        seats=tuple(node.seat for node in live),
        instance_types=TYPES,
    )
    plan = plan or solve(snapshot, steps=SETTLE_STEPS)
    facts = {"seconds": 0.0123, "bare": False, "source": "here", "costs": NodeCosts(), **more}
    return answer(requests, TYPES, live, plan, **facts)


def live(name, *sessions, of="g.large"):
    return {"name": name, "type": of, "zone": "us-east-1a", "sessions": list(sessions)}


def test_letters_go_on_after_z():
    assert [letter(n) for n in (0, 25, 26, 51, 52, 701, 702)] == [
        "A",
        "Z",
        "AA",
        "AZ",
        "BA",
        "ZZ",
        "AAA",
    ]


def test_alike_nodes_are_drawn_once_with_their_count():
    nodes = [live(f"n-{i}", {"gpus": 2, "choices": {"cpu": [1]}}) for i in range(5)]
    found = told([{"cpu": 4, "memory": "16Gi", "count": 3}], nodes)
    assert [len(block.names) for block in blocks(found.existing)] == [5]
    text = draw(found)
    assert "3 x c.large  us-east-1a spot  $0.10/h each" in text
    assert "5 x g.large n-0, n-1, n-2 and 2 more (ready)" in text
    assert "[# #][ ][ ]" in text
    assert "cost   $0.300/h for 3 new nodes" in text


def test_sessions_of_a_request_that_are_refused_alike_are_one_row():
    found = told([{"gpus": 9, "count": 3, "slug": "big"}, {"cpu": 1}])
    (row,) = found.refused
    assert (row.request, row.count) == (0, 3)
    assert "3 x A big: " in draw(found)
    assert "Without a place" in page(found)
    assert answer_json(found)["refused"][0]["count"] == 3


@pytest.mark.parametrize(
    ("plan", "words", "gap"),
    [
        (Plan(proven=True), "no plan is cheaper (proven)", 0.0),
        (
            Plan(usd_per_hour_micro=2_040_000, lower_bound_usd_per_hour_micro=2_000_000),
            "no plan can be cheaper than that; this one costs 2.00% more",
            0.02,
        ),
        (Plan(usd_per_hour_micro=1), "nothing is known about cheaper plans", None),
    ],
)
def test_what_is_known_about_cheaper_plans_is_said(plan, words, gap):
    found = told([{"cpu": 1}], plan=plan)
    assert words in draw(found)
    assert words in page(found)
    assert answer_json(found)["gap"] == gap


def test_root_disks_and_interruptions_are_part_of_the_cost():
    plan = Plan(usd_per_hour_micro=2_000_000, extra_usd_per_hour_micro=11_000)
    found = told([{"cpu": 1}], plan=plan)
    words = "0 new nodes, $0.011 of it root disks and expected interruptions"
    assert f"cost   $2.011/h for {words}" in draw(found)
    assert words in page(found)
    costly = told([{"cpu": 1}], costs=NodeCosts(root_disk=11_000))
    assert answer_json(costly)["nodes"][0]["extra_usd_per_hour"] == 0.011


def test_notes_and_bare_figures_are_said():
    found = told([{"cpu": 1}], plan=Plan(notes=("fell back <b>",)), bare=True)
    assert "note: fell back <b>" in draw(found)
    assert "figures of the catalogue alone" in draw(found)
    assert "fell back &lt;b&gt;" in page(found)


def test_a_node_without_any_size_is_drawn_empty():
    found = told([{"cpu": 1}], [live("n-1", of="c.large")], plan=Plan())
    empty = replace(found.existing[0], total=Resources())
    text = draw(replace(found, existing=(empty,)))
    assert "[........................]  0 of 0 CPU" in text
    assert "who  nobody" in text
    assert 'class="full" width="0.00"' in page(replace(found, existing=(empty,)))


def test_every_node_says_why_it_was_chosen():
    found = told([{"cpu": 1}], [live("n-1", of="c.large")])
    assert found.existing[0].why == "free seats on a node that runs already"
    held = told([{"cpu": 1}], [live("n-1", {"slug": "old", "gpus": 3, "count": 1})])
    assert answer_json(held)["existing"][0]["held"][0]["slug"] == "old"
    unknown = Plan(placements=(Placement(session="000000/000000", place="n-1", reason="Else"),))
    assert told([{"cpu": 1}], [live("n-1")], plan=unknown).existing[0].why == "Else"


def test_seats_and_models_are_in_words_too():
    found = told([{"gpus": {"count": 2, "models": ["L4"]}, "slug": "two"}])
    assert "A  1 x two: 2 GPUs (L4), 1 CPU, 1 GiB" in draw(found)
    assert "[A A][ ][ ]  2 of 4 L4" in draw(found)
    assert page(found).count('class="seat free"') == 2
    sliced = replace(found.nodes[0], layout="mig-1g.10gb")
    assert "2 of 4 L4 in parts (mig-1g.10gb)" in draw(replace(found, nodes=(sliced,)))
    bare = replace(found.nodes[0], gpu_model="")
    assert "[A A][ ][ ]  2 of 4\n" in draw(replace(found, nodes=(bare,)))


def test_equal_questions_give_equal_pages():
    rows = [{"gpus": 1, "count": 5}, {"cpu": 2}]
    assert page(told(rows)) == page(told(rows))
    assert json.dumps(answer_json(told(rows))) == json.dumps(answer_json(told(rows)))


@pytest.mark.parametrize(
    ("ours", "start"), [(LIGHT, r":root \{"), (DARK, r"\[data-bs-theme=\"dark\"\] \{")]
)
def test_the_pages_colours_are_those_of_the_status_page(ours, start):
    css = STATUS_CSS.read_text()
    blocks = re.findall(rf"^{start}(.*?)\}}", css, re.DOTALL | re.MULTILINE)
    theirs = dict(re.findall(r"(--[a-z-]+): ([^;]+);", " ".join(blocks)))
    assert ours == {name: theirs[name] for name in ours}
