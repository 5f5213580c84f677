"""gpu-jit plan from outside: its answer adds up, its drawings show it, bad input is a sentence."""

import json
import re
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from pathlib import Path

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_gpu_jit import cli
from jupyter_gpu_jit.cli.plan import policy
from jupyter_gpu_jit.core.packing.policy import DEFAULT_EXCLUDED_FAMILIES

ROOT = Path(__file__).parents[1]
TEN_PODS = ROOT / "examples/ten-pods.json"
ANSWER = json.loads((ROOT / "docs/wire/plan-answer.json").read_text())


def offer(usd, zone="z-1", capacity="on-demand", **more):
    return {"zone": zone, "capacity_type": capacity, "usd_per_hour": usd, **more}


def kind(name, cpu, memory, *offerings, **more):
    size = {"cpu": cpu, "memory": memory, "pods": 20}
    return {"type": name, "allocatable": size, "offerings": list(offerings), **more}


CATALOGUE = [
    kind("c.large", "3920m", "7Gi", offer(0.2), offer(0.21, "z-2")),
    kind("g.small", "7910m", "30Gi", offer(0.75), gpus=1, gpu_model="T4"),
    kind("g.large", "47810m", "180Gi", offer(3.9), offer(4.0, "z-2"), gpus=4, gpu_model="T4"),
    kind("a.huge", "95690m", "1000Gi", offer(21.9), gpus=8, gpu_model="A100"),
]
REQUESTS = [
    {"count": 7, "slug": "one", "gpus": 1, "cpu": 6, "memory": "20Gi"},
    {"count": 2, "slug": "four", "gpus": {"count": 4, "models": ["T4"]}, "cpu": 20},
    {"count": 9, "slug": "cpu", "cpu": "1900m", "memory": "3Gi", "zones": ["z-2"]},
    {"count": 2, "slug": "too-many", "gpus": 16},
]
NODES = [
    {"name": "old", "type": "g.large", "zone": "z-1", "sessions": [{"gpus": 1, "cpu": 4}]},
    {"name": "coming", "type": "c.large", "zone": "z-2", "ready": False},
]
SPOT = [{"type": "g.small", "zone": "z-2", "usd_per_hour": 0.3, "interruptions_per_hour": 0.02}]
PARTS = {"requests": REQUESTS, "catalogue": CATALOGUE, "nodes": NODES, "spot": SPOT}


@pytest.fixture
def files(tmp_path):
    """Writes the parts to files; the command's words for them."""

    def write(**parts):
        words = []
        for name, body in parts.items():
            file = tmp_path / f"{name}.json"
            file.write_text(body if isinstance(body, str) else json.dumps(body))
            words += [str(file)] if name == "requests" else [f"--{name}", str(file)]
        return words

    return write


def answered(capsys, *words):
    assert cli.main(["plan", *map(str, words), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator(ANSWER).validate(answer)
    return answer


# --- the checker: knows the files and the answer, and nothing of the planner -----------------


def number(quantity):
    """A quantity of the files used here as a number."""
    value, unit = re.fullmatch(r"([0-9.]+)(m|Mi|Gi|)", str(quantity)).groups()
    factor = {"": 1, "m": Fraction(1, 1000), "Mi": 1 << 20, "Gi": 1 << 30}[unit]
    return Fraction(value) * factor


def needs(request):
    gpus = request.get("gpus", 0)
    return (
        number(request.get("cpu", 1)),
        number(request.get("memory", "1Gi")),
        gpus["count"] if isinstance(gpus, dict) else gpus,
        1,
    )


def has(kind):
    size = kind["allocatable"]
    return (number(size["cpu"]), number(size["memory"]), kind.get("gpus", 0), size["pods"])


def total(rows):
    return tuple(sum((n * size[k] for size, n in rows), Fraction(0)) for k in range(4))


def sold(catalogue, spot):
    prices = {
        (k["type"], o["zone"], o["capacity_type"]): o["usd_per_hour"]
        for k in catalogue
        for o in k["offerings"]
        if o.get("available", True)
    }
    return prices | {(s["type"], s["zone"], "spot"): s["usd_per_hour"] for s in spot}


def check(answer, requests, catalogue, *, nodes=(), spot=()):
    """Re-adds everything that the answer says."""
    kinds = {k["type"]: k for k in catalogue}
    prices = sold(catalogue, spot)
    placed = Counter()
    live = {node["name"]: node for node in nodes}
    assert {node["name"] for node in answer["existing"]} == set(live)
    for node in [*answer["nodes"], *answer["existing"]]:
        rows = [(needs(requests[s["request"]]), s["count"]) for s in node["sessions"]]
        rows += [
            (needs(s), s.get("count", 1)) for s in live.get(node["name"], {}).get("sessions", ())
        ]
        room, taken = has(kinds[node["type"]]), total(rows)
        assert all(used <= there for used, there in zip(taken, room, strict=True))
        free = (number(node["free"]["cpu"]), number(node["free"]["memory"]), node["free"]["gpus"])
        assert free == tuple(there - used for used, there in zip(taken, room, strict=True))[:3]
        for offering in [node, *node["also"]]:
            key = (offering["type"], offering["zone"], offering["capacity_type"])
            assert offering["usd_per_hour"] == prices[key]
            assert all(used <= there for used, there in zip(taken, has(kinds[key[0]]), strict=True))
        for session in node["sessions"]:
            request = requests[session["request"]]
            placed[session["request"]] += session["count"]
            assert node["zone"] in request.get("zones", [node["zone"]])
            if isinstance(request.get("gpus"), dict):
                assert node["gpu_model"] in request["gpus"]["models"]
    for row in answer["refused"]:
        placed[row["request"]] += row["count"]
        assert row["message"]
        assert sum(each["offerings"] for each in row["excluded"]) > 0
    assert dict(placed) == {i: r.get("count", 1) for i, r in enumerate(requests)}
    for name in ("usd_per_hour", "extra_usd_per_hour"):
        total_cost = sum(Fraction(str(node[name])) for node in answer["nodes"])
        assert total_cost == Fraction(str(answer[name]))
    cost = answer["usd_per_hour"] + answer["extra_usd_per_hour"]
    assert answer["cost_usd_per_hour"] == pytest.approx(cost, abs=1e-9)
    assert answer["lower_bound_usd_per_hour"] <= answer["cost_usd_per_hour"]
    gap = answer["cost_usd_per_hour"] / answer["lower_bound_usd_per_hour"] - 1
    assert answer["gap"] == pytest.approx(gap, abs=1e-5)


def test_the_answer_adds_up(files, capsys):
    answer = answered(capsys, *files(**PARTS))
    check(answer, REQUESTS, CATALOGUE, nodes=NODES, spot=SPOT)
    assert {row["slug"] for row in answer["refused"]} == {"too-many"}
    # Free seats first: three GPUs on the old node, CPU sessions on the one that is coming.
    used = {
        n["name"]: Counter({s["slug"]: s["count"] for s in n["sessions"]})
        for n in answer["existing"]
    }
    assert used["old"]["one"] == 3
    assert used["coming"]["cpu"] == 2
    assert any(n["capacity_type"] == "spot" for n in answer["nodes"])
    rates = {
        n.get("interruptions_per_hour") for n in answer["nodes"] if n["capacity_type"] == "spot"
    }
    assert rates == {0.02}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda a: a["nodes"][0].update(usd_per_hour=0.1),
        lambda a: a["nodes"][0].update(type="c.large"),
        lambda a: a["nodes"][0]["sessions"][0].update(count=9),
        lambda a: a["nodes"].pop(),
        lambda a: a["existing"].pop(),
        lambda a: a["refused"].clear(),
        lambda a: a.update(usd_per_hour=a["usd_per_hour"] - 0.1),
        lambda a: a.update(extra_usd_per_hour=9.0),
        lambda a: a.update(gap=0.5),
    ],
)
def test_the_checker_notices_a_wrong_answer(spoil, files, capsys):
    answer = answered(capsys, *files(**PARTS))
    spoil(answer)
    with pytest.raises((AssertionError, KeyError)):
        check(answer, REQUESTS, CATALOGUE, nodes=NODES, spot=SPOT)


def test_one_file_with_all_parts_is_the_same(files, capsys):
    apart = answered(capsys, *files(**PARTS))
    together = answered(capsys, *files(requests=PARTS))
    for answer in (apart, together):
        answer.pop("seconds")
        answer.pop("catalogue")
    assert apart == together


def test_an_option_goes_before_the_files_own_part(files, capsys):
    cheaper = [kind("x.large", 64, "500Gi", offer(0.01))]
    words = files(requests={"requests": [{"cpu": 2}], "catalogue": CATALOGUE}, catalogue=cheaper)
    (node,) = answered(capsys, *words)["nodes"]
    assert node["type"] == "x.large"


def test_ten_pods_cost_what_the_exact_optimum_costs(capsys):
    answer = answered(capsys, TEN_PODS, "--bare")
    kinds = Counter(node["type"] for node in answer["nodes"])
    assert kinds == {"g4dn.4xlarge": 3, "g6.48xlarge": 2}
    assert answer["usd_per_hour"] == pytest.approx(30.313, abs=0.001)
    assert answer["proven"]
    assert answer["gap"] == 0


def test_bare_figures_are_those_of_the_catalogue_alone(files, capsys):
    words = files(**PARTS)
    usual, bare = answered(capsys, *words), answered(capsys, *words, "--bare")
    assert bare["extra_usd_per_hour"] == 0 < usual["extra_usd_per_hour"]
    check(bare, REQUESTS, CATALOGUE, nodes=NODES, spot=SPOT)
    # A root disk on each node; on Spot also what restarts are expected to cost.
    extra = {n["capacity_type"]: n["extra_usd_per_hour"] for n in usual["nodes"]}
    assert 0 < extra["on-demand"] < extra["spot"]


def test_families_left_out_of_the_packaged_catalogue_may_be_in_a_given_one(files, capsys):
    old = [kind("p3.2xlarge", 7, "50Gi", offer(3), gpus=1)]
    (node,) = answered(capsys, *files(requests=[{"gpus": 1}], catalogue=old))["nodes"]
    assert node["type"] == "p3.2xlarge"
    assert policy(bare=False, packaged=True).excluded_families == DEFAULT_EXCLUDED_FAMILIES


# --- what people see -------------------------------------------------------------------------


def test_the_drawing_shows_seats_cost_and_reasons(files, capsys):
    assert cli.main(["plan", *files(**PARTS), "--bare"]) == 0
    text = capsys.readouterr().out
    assert text.isascii()
    assert "[#][A][A][A]" in text
    assert "old (ready)" in text
    assert "2 x D too-many: " in text
    assert re.search(r"cost   \$[0-9.]+/h for [0-9]+ new nodes\nbound  \$[0-9.]+/h: ", text)


def test_the_page_stands_alone_and_shows_hostile_words_as_words(files, capsys):
    hostile = "<script>alert(1)</script>\N{BLACK HEART SUIT}"
    requests = [{"slug": "a", "cpu": 1, "display_name": hostile}]
    assert cli.main(["plan", *files(requests=requests), "--html"]) == 0
    page = capsys.readouterr().out
    assert page.isascii()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&#9829;" in page
    assert not re.search(r"https?://|src=|@import|url\(", page)


def test_lint_reads_requests_and_profiles_files(files, tmp_path, capsys):
    assert cli.main(["plan", str(TEN_PODS), "--lint"]) == 0
    assert "8 CPU just misses the 7.91 CPU of g4dn.2xlarge" in capsys.readouterr().out
    profiles = tmp_path / "profiles.yaml"
    profiles.write_text("profiles:\n- {slug: big, gpus: 1, cpu: 8, memory: 16Gi}\n")
    assert cli.main(["plan", str(profiles), "--lint", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["slug"], found["trimmed"]["cpu"]) == ("big", "7900m")
    assert cli.main(["plan", *files(requests=[{"gpus": 8, "cpu": 2}]), "--lint"]) == 0
    assert "None of 1 just misses" in capsys.readouterr().out


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path):
    command = f"{sys.executable} -m jupyter_gpu_jit plan {TEN_PODS} --html | true"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


# --- bad input -------------------------------------------------------------------------------


def refused(capsys, *words):
    assert cli.main(["plan", *map(str, words)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert re.fullmatch(r"gpu-jit: [^\n]+\n", said.err)
    return said.err


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"requests": "[{"}, "cannot be read as JSON"),
        ({"requests": "9" * 5000}, "cannot be read as JSON: its values are too large"),
        ({"requests": "[" * 100_000}, "cannot be read as JSON: its values are too large"),
        ({"requests": "\0"}, "cannot be read as JSON"),
        ({"requests": [{"gpsu": 1}]}, 'requests.json: requests[0].gpsu: did you mean "gpus"?'),
        ({"requests": {"catalog": []}}, 'requests.json: "catalog": did you mean "catalogue"?'),
        ({"requests": [{}], "catalogue": [{}]}, "catalogue.json: catalogue[0].type: is missing."),
        (
            {"requests": [{}], "spot": [{"type": "g4dn.xlagre", "zone": "a"}]},
            'spot.json: spot[0].type: there is no instance type "g4dn.xlagre"; did you mean "g4dn',
        ),
        ({"requests": [{}], "nodes": [{}]}, "nodes.json: nodes[0].name: is missing."),
    ],
)
def test_bad_input_is_a_sentence_with_file_path_and_nearest_name(parts, told, files, capsys):
    assert told in refused(capsys, *files(**parts))


def test_files_that_cannot_be_read_are_a_sentence(tmp_path, capsys, monkeypatch):
    assert "cannot be read: No such file" in refused(capsys, tmp_path / "none.json")
    assert "cannot be read: Is a directory" in refused(capsys, tmp_path)
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe\x00")
    assert "no text in UTF-8" in refused(capsys, binary)
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [\n b")
    assert "cannot be read as YAML" in refused(capsys, broken)
    monkeypatch.setattr("jupyter_gpu_jit.cli.plan._MOST_MIB", 0)
    assert "is larger than 0 MiB" in refused(capsys, TEN_PODS)


@settings(
    deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(end=st.integers(0, 1500), name=st.sampled_from(sorted(PARTS)))
def test_truncated_files_never_give_a_traceback(end, name, files, capsys):
    whole = json.dumps(PARTS[name])
    words = files(**{**PARTS, name: whole[: min(end, len(whole) - 1)]})
    assert "cannot be read as JSON" in refused(capsys, *words)
