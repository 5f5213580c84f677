"""A disk without room: what a limit on the size of files does as any user, root or not."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import pytest
from altered import Demo, limit_files
from cases import Case, covers
from person import Person

from jupyter_gpu_jit import cli
from jupyter_gpu_jit.cli import offline


@covers("disk-full-at-start")
def test_a_demo_without_room_ends_with_one_sentence(case: Case, tmp_path: Path) -> None:
    demo = Demo("--port", "0", room=512, TMPDIR=str(tmp_path))
    try:
        status, said = demo.ended()
        assert (status, said[-1]) == (case.exit_code, case.says())
        assert not any("Traceback" in line for line in said)
        assert list(tmp_path.iterdir()) == [], "nothing is left"
        assert not demo.left()
    finally:
        demo.end()


@covers("disk-full-everywhere")
def test_a_demo_without_any_folder_ends_with_one_sentence(case: Case) -> None:
    demo = Demo("--port", "0", room=0)
    try:
        assert demo.ended() == (case.exit_code, [case.says()])
    finally:
        demo.end()


@covers("disk-full-at-start")
def test_a_device_without_room_is_told_the_same_way(
    case: Case, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def write(_: object) -> int:
        with Path("/dev/full").open("w") as full:
            full.write("x")
        return 0

    monkeypatch.setattr(offline, "validate", write)
    assert cli.main(["validate", "x"]) == case.exit_code
    assert capsys.readouterr().err.splitlines() == [case.says()]


@covers("disk-full-at-start")
@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOENT])
def test_other_trouble_with_files_is_not_called_a_full_disk(
    case: Case, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> int:
        raise ExceptionGroup(case.name, [OSError(number, "planted")])

    monkeypatch.setattr(offline, "validate", fail)
    with pytest.raises(ExceptionGroup):
        cli.main(["validate", "x"])


@covers("disk-full-while-running")
async def test_a_disk_that_fills_up_is_told_and_got_over(case: Case) -> None:
    demo = Demo("--port", "0")
    try:
        await asyncio.to_thread(demo.ready)
        async with Person(demo.url, "ann") as ann:
            limit_files(demo.processes(), 0)
            said = await asyncio.to_thread(demo.said, "disk: ")
            assert said == case.says(folder=demo.folder)
            # The hub answers at once: nobody waits for what cannot begin.
            async with asyncio.timeout(15):
                await ann.start({"profile": "cpu"}, status=(400, 403, 500, 503))
            limit_files(demo.processes(), -1)
            said = await asyncio.to_thread(demo.said, "disk: ")
            assert said == f"disk: room again in {demo.folder}"
            await ann.start({"profile": "cpu"})
            assert (await ann.progress())[-1][1].get("ready")
            assert demo.process.poll() is case.exit_code
            await ann.stop()
        assert await asyncio.to_thread(demo.stop) == 0
        assert not demo.left()
    finally:
        demo.end()
