"""A process that runs cases: ``python -m parasim.study.worker CHANNEL LIFE``, two file descriptors.

CHANNEL carries cases here and outcomes back. LIFE is the reading end of a pipe whose other end only the parent has: it
ends when the parent does, however that happens, and this process with it.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from multiprocessing.connection import Connection

from parasim.metrics.outcome import Outcome
from parasim.study.cases import Case

__all__ = ["main", "work"]


def main() -> None:
    """Run what comes, until nothing comes any more."""
    channel, life = Connection(int(sys.argv[1])), int(sys.argv[2])
    threading.Thread(target=_die_with_parent, args=(life,), daemon=True).start()
    while True:
        try:
            case = channel.recv()
        except EOFError:
            return
        channel.send(work(case))


def work(case: Case) -> tuple[Outcome, list[str]]:
    """The outcome of a case, and the warnings that came with it."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        outcome, _ = case.run()
    return outcome, list(dict.fromkeys(str(warning.message) for warning in told))


def _die_with_parent(life: int) -> None:
    os.read(life, 1)
    os._exit(1)


if __name__ == "__main__":
    main()
