"""Run a command and write to stdout, as JSON, how long it took and how much memory it held at most.

A process of its own, and a small one: a child's peak begins at what its parent holds while it is started, so
a parent with a network in memory would be measured in place of the child.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

RSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes in a unit of ru_maxrss."""


def main() -> None:
    start = time.perf_counter()
    child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    status = os.waitstatus_to_exitcode(status)
    print(json.dumps({"seconds": seconds, "peak_bytes": usage.ru_maxrss * RSS_UNIT, "status": status}))


if __name__ == "__main__":
    main()
