"""`cruor.training.prepare.pool`: every task is answered, whatever becomes of a process."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from cruor.training.prepare.pool import AHEAD, in_processes

DEADLY = 7


def double(number: int) -> int:
    if number == DEADLY:
        os._exit(1)
    if number < 0:
        raise OSError("full")
    return 2 * number


def own_process(number: int) -> int:
    return os.getpid()


@pytest.mark.parametrize("workers", [1, 2])
def test_each_task_comes_with_its_result(workers: int) -> None:
    assert sorted(in_processes(double, range(6), workers)) == [(number, 2 * number) for number in range(6)]


def test_several_workers_are_processes_apart() -> None:
    pids = {pid for _, pid in in_processes(own_process, range(4), 2)}
    assert os.getpid() not in pids
    assert {pid for _, pid in in_processes(own_process, range(4), 1)} == {os.getpid()}


def test_a_task_that_ends_its_process_is_answered_with_none_and_the_others_are_done() -> None:
    found = dict(in_processes(double, range(12), 2))
    assert found == {number: None if number == DEADLY else 2 * number for number in range(12)}


@pytest.mark.parametrize("workers", [1, 2])
def test_what_the_work_raises_is_raised(workers: int) -> None:
    with pytest.raises(OSError, match="full"):
        list(in_processes(double, [1, -1, 2], workers))


def test_no_more_tasks_are_taken_than_are_needed() -> None:
    taken = []

    def tasks() -> Iterator[int]:
        for number in (0, 1, 2, 3, 4, 5, 6, 8, 9, 10):
            taken.append(number)
            yield number

    results = in_processes(double, tasks(), 2)
    next(results)
    assert len(taken) <= 2 * AHEAD
    results.close()  # type: ignore[attr-defined]
