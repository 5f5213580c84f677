"""The demo with broken files, taken ports, and a second demo beside it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from altered import CATALOGUE, PROFILES, Demo, copy_with
from cases import Case, covers
from person import Person

from jupyter_gpu_jit import cli

VAST = """
  - slug: vast
    display_name: Vast
    gpus: 16
    cpu: 8
    memory: 64Gi
"""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A demo whose profiles have one more, which nothing on sale can serve."""
    copy = copy_with(tmp_path_factory.mktemp("vast"), PROFILES, lambda text: text.rstrip() + VAST)
    demo = Demo("--port", "0", copy=copy)
    try:
        yield demo.ready()
    finally:
        demo.end()


@covers("catalogue-broken")
def test_a_broken_catalogue_is_one_sentence(case: Case, tmp_path: Path) -> None:
    copy = copy_with(
        tmp_path, CATALOGUE, lambda text: text.replace("g6.xlarge,4", "g6.xlarge,four")
    )
    demo = Demo("--port", "0", copy=copy)
    try:
        assert demo.ended() == (case.exit_code, [case.says()])
    finally:
        demo.end()


@covers("profiles-broken")
def test_a_hub_with_broken_profiles_ends_with_their_sentence(case: Case, tmp_path: Path) -> None:
    copy = copy_with(tmp_path, PROFILES, lambda text: text.replace("memory:", "memry:", 1))
    demo = Demo("--port", "0", copy=copy)
    try:
        status, said = demo.ended()
        file = copy / "jupyter_gpu_jit/local/data/profiles.yaml"
        assert status == case.exit_code
        assert said[-1].startswith("gpu-jit: JupyterHub ended with status 1: ")
        assert said[-1].endswith(case.says(file=file))
        assert not demo.left()
    finally:
        demo.end()


@covers("profiles-checked")
def test_a_broken_file_of_profiles_is_one_sentence(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "profiles.yaml"
    text = Path(__file__).parents[2].joinpath(PROFILES).read_text()
    file.write_text(text.replace("memory:", "memry:", 1))
    assert cli.main(["validate", str(file)]) == case.exit_code
    assert capsys.readouterr().err.splitlines() == [case.says()]
    file.write_text(text)
    assert cli.main(["validate", str(file)]) == 0


@covers("profile-unservable")
async def test_a_profile_nothing_can_serve_is_refused_at_once(case: Case, demo: Demo) -> None:
    async with Person(demo.url, "vera") as vera:
        quotes = (await vera.api("GET", "gpu-jit/quotes"))["quotes"]
        assert not quotes["vast"]["possible"]
        await vera.start({"profile": "vast"})
        told = [event for _, event in await vera.progress()][-1]
        assert told["failed"]
        assert case.says() in told["message"]
        await vera.until(lambda user: "" not in user["servers"])
        await vera.start({"profile": "cpu"})
        assert (await vera.progress())[-1][1].get("ready"), "another profile is served"
        await vera.stop()


@covers("port-taken")
def test_a_taken_port_is_one_sentence(case: Case) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        demo = Demo("--port", str(port))
        try:
            assert demo.ended() == (case.exit_code, [case.says(port=port)])
        finally:
            demo.end()


@covers("second-demo-same-port")
def test_a_second_demo_on_the_same_port_is_one_sentence(case: Case, demo: Demo) -> None:
    second = Demo("--port", str(demo.port))
    try:
        assert second.ended() == (case.exit_code, [case.says(port=demo.port)])
    finally:
        second.end()
    assert demo.process.poll() is None


@covers("second-demo-another-port")
async def test_two_demos_run_side_by_side(case: Case, demo: Demo) -> None:
    second = Demo("--port", "0")
    try:
        await asyncio.to_thread(second.ready)
        assert second.lines[-1] == case.says(port=second.port)
        async with Person(demo.url, "ann") as ann, Person(second.url, "ann") as other:
            for person in (ann, other):
                await person.start({"profile": "cpu"})
            for person in (ann, other):
                assert (await person.progress())[-1][1].get("ready")
            assert await asyncio.to_thread(second.stop) == 0
            assert not second.left()
            assert (await ann.lab())[0] == 200
            await ann.stop()
    finally:
        second.end()
