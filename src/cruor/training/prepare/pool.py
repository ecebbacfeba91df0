"""Work over several processes, a little ahead of what is asked for, and past a process that dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.connection import wait as wait_for_end
from typing import TypeVar

AHEAD = 2
"""Tasks a worker that are under way or done and not yet taken: what memory holds and a kill costs."""

Task = TypeVar("Task")
Result = TypeVar("Result")


def in_processes(
    work: Callable[[Task], Result], tasks: Iterable[Task], workers: int
) -> Iterator[tuple[Task, Result | None]]:
    """Do tasks in processes of their own and yield each with its result as it is done.

    Args:
        work: a function that can be pickled; what it raises is raised here.
        tasks: taken one by one, as they are needed.
        workers: processes; 1 works in this process.

    Yields:
        A task and its result; None where a process died of it (a decoder that crashes, too little memory).
    """
    remaining = iter(tasks)
    if workers == 1:
        yield from ((task, work(task)) for task in remaining)
        return
    while lost := (yield from _until_a_process_dies(work, remaining, workers)):
        for task in lost:  # one process for each: whichever dies again is to blame
            if (yield from _until_a_process_dies(work, iter([task]), 1)):
                yield task, None


def _until_a_process_dies(
    work: Callable[[Task], Result], tasks: Iterator[Task], workers: int
) -> Generator[tuple[Task, Result | None], None, list[Task]]:
    """Yield results; return the tasks that were under way when a process died."""
    lost: list[Task] = []
    # Spawned, not forked: a fork copies the threads' locks of pyarrow and torch as they happen to be.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin)
    under_way: dict[Future[Result], Task] = {}

    def start(count: int) -> None:
        for task in islice(tasks, count):
            try:
                under_way[pool.submit(work, task)] = task
            except BrokenProcessPool:
                lost.append(task)

    try:
        start(AHEAD * workers)
        while under_way:
            done, _ = wait(under_way, return_when=FIRST_COMPLETED)
            for future in done:
                task = under_way.pop(future)
                try:
                    result = future.result()
                except BrokenProcessPool:
                    lost.append(task)
                    continue
                yield task, result
                if not lost:
                    start(1)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return lost


def _begin() -> None:
    """Set up a process: it ends with its parent, and leaves an interrupt to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.filterwarnings("ignore", module="pydicom")
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed parent tells nobody, and its processes would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for_end([parent.sentinel])
        os._exit(1)
