"""Reading a pod: what it says of its start, and when it has failed."""

import pytest

from jupyter_gpu_jit.hub import facts


def pod(*, init=(), containers=(), phase="Pending", node="", deleting=False, ip="10.0.0.1"):
    meta = {"creationTimestamp": "2026-01-01T00:00:00Z", "annotations": None}
    if deleting:
        meta["deletionTimestamp"] = "2026-01-01T00:01:00Z"
    status = {"phase": phase, "podIP": ip, "containerStatuses": list(containers)}
    status["initContainerStatuses"] = list(init)
    return {"metadata": meta, "spec": {"nodeName": node}, "status": status}


def container(kind, name="notebook", *, ready=False, **state):
    return {"name": name, "ready": ready, "state": {kind: state}}


RUNS = container("running", ready=True)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, False),
        (pod(phase="Running", containers=[RUNS]), True),
        (pod(phase="Running", containers=[RUNS], deleting=True), False),
        (pod(phase="Running", containers=[RUNS], ip=None), False),
        (pod(phase="Running", containers=[RUNS, container("running", "sidecar")]), False),
        (pod(phase="Running"), False),
        (pod(containers=[RUNS]), False),
        ({"metadata": {}, "spec": {}}, False),
    ],
)
def test_a_server_can_be_asked_when_all_its_containers_are_ready(given, expected):
    assert facts.is_running(given) is expected


def test_what_the_container_does_is_read():
    assert facts.facts_of(None) is None
    assert facts.facts_of(pod()).container == ""
    told = facts.facts_of(pod(node="n1", containers=[container("running")]))
    assert (told.node_name, told.container, told.trouble) == ("n1", "running", "")


@pytest.mark.parametrize(
    ("reason", "trouble"),
    [("ContainerCreating", ""), ("PodInitializing", ""), ("ImagePullBackOff", "ImagePullBackOff")],
)
def test_only_what_keeps_it_from_going_on_is_trouble(reason, trouble):
    waiting = container("waiting", reason=reason)
    assert facts.facts_of(pod(containers=[waiting])).trouble == trouble
    step = container("waiting", "step", reason=reason)
    assert facts.facts_of(pod(init=[step])).trouble == trouble


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (pod(), ""),
        (pod(containers=[RUNS]), ""),
        (pod(containers=[container("terminated", exitCode=3)]), "exit code 3"),
        (pod(containers=[container("terminated", exitCode=0)]), "exit code 0"),
        (pod(containers=[container("terminated", reason="OOMKilled", exitCode=137)]), "memory"),
        (pod(init=[container("terminated", "step", exitCode=0)]), ""),
        (pod(init=[container("terminated", "step", exitCode=2)]), "exit code 2"),
    ],
)
def test_a_container_that_ended_too_early_is_told(given, words):
    said = facts.why_ended(given)
    assert words in said
    assert bool(said) == bool(words)


def test_variables_are_those_of_the_notebook():
    env = [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {}}]
    spec = {"containers": [{"name": "x", "env": [{"name": "A", "value": "9"}]}]}
    assert facts.environment({"spec": spec}, "A") == ""
    spec["containers"].append({"name": "notebook", "env": env})
    assert facts.environment({"spec": spec}, "A") == "1"
    assert facts.environment({"spec": spec}, "B") == ""
    assert facts.environment({"spec": spec}, "C") == ""
