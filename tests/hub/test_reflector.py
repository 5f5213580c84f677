"""The view of the pods: who is woken, and what is remembered of the gone."""

import asyncio

import pytest

from jupyter_gpu_jit.hub.reflector import Board, Watched


def pod(uid, **annotations):
    return {"metadata": {"uid": uid, "annotations": annotations}}


@pytest.fixture
def board():
    return Board()


async def waits(board, key):
    task = asyncio.ensure_future(board.changed(key, timeout_seconds=60))
    await asyncio.sleep(0)
    return task


async def is_done(task):
    for _ in range(3):
        await asyncio.sleep(0)
    done = task.done()
    task.cancel()
    return done


async def test_a_change_wakes_those_who_wait_for_that_pod_only(board):
    pods = Watched({}, board)
    mine, other = await waits(board, "n/a"), await waits(board, "n/b")
    pods["n/a"] = pod("1")
    assert await is_done(mine)
    assert not await is_done(other)


async def test_a_wait_ends_after_its_timeout(board):
    await board.changed("n/a", timeout_seconds=0)
    assert not board._waiting


async def test_a_pod_seen_deleted_is_remembered_as_it_was_last(board):
    pods = Watched({"n/a": pod("1")}, board)
    pods["n/a"] = pod("1", recreate="yes")
    waiter = await waits(board, "n/a")
    pods.pop("n/a", None)
    assert await is_done(waiter)
    departure = board.departure("1")
    assert departure.watched
    assert departure.pod["metadata"]["annotations"] == {"recreate": "yes"}
    assert pods.pop("n/a", None) is None
    assert board.departure("2") is None


async def test_a_pod_that_left_between_two_lists_is_remembered_without_certainty(board):
    pods = Watched({"n/a": pod("1"), "n/b": pod("2"), "n/c": pod("3")}, board)
    left, replaced, same = [await waits(board, f"n/{name}") for name in "abc"]
    pods.replaced_by({"n/b": pod("9"), "n/c": pod("3")})
    assert (await is_done(left), await is_done(replaced)) == (True, True)
    assert not await is_done(same)
    assert not board.departure("1").watched
    assert not board.departure("2").watched
    assert board.departure("3") is None


async def test_a_pod_replaced_by_one_of_the_same_name_has_left(board):
    pods = Watched({"n/a": pod("1")}, board)
    pods["n/a"] = pod("2")
    assert not board.departure("1").watched


async def test_only_so_many_departures_are_remembered(board):
    for number in range(1500):
        board.left(pod(str(number)), watched=True)
    assert board.departure("0") is None
    assert board.departure("1499") is not None
