"""Who plays, as arrays of records: what one event touches lies together.

A *pair* is a worker and a server, numbered server by server. A *task* is what goes on at once: workers' main lanes come
first, then the talks of all pairs, then the servers' lanes. A *kind* is a compute of one server's tapes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["HOST", "KIND", "LABEL", "LANE", "NONE", "PAIR", "RANK", "SERVER", "WORKER", "make"]

NONE = -1
"""No task, no lane, no pair, no message."""

RANK = np.dtype([
    ("head", "i4"), ("tail", "i4"),  # tasks that go on, in order; NONE: none
    ("asleep", "i4"),  # 1: it is not among those that are to be stepped
    ("host", "i4"),
    ("computing", "i4"), ("moving", "i4"),  # computes that run, messages under way
    ("since_compute", "f8"), ("computed", "f8"), ("since_move", "f8"), ("moved", "f8"),  # seconds, of any lane
    ("end", "f8"),  # of its last row
])  # fmt: skip
"""By rank."""

WORKER = np.dtype([
    ("line", "i4"),  # where it is in its tape
    ("talks", "i4"),  # that are not over
    ("waiting", "i4"),  # 1: for them
    ("mark", "f8"), ("waited", "f8"),  # what had moved when its wait began; what has moved in its waits (seconds)
])  # fmt: skip

SERVER = np.dtype([
    ("first", "i4"), ("last", "i4"),  # pairs whose requests wait for whoever serves everybody, in order
    ("low", "i4"), ("high", "i4"),  # its first kind, and the one after its last
    ("head", "i4"), ("tail", "i4"),  # lanes whose computes wait for others, in order
    ("latest", "i8"), ("updates", "i8"),  # version at which the last gradient was applied, updates by gradients
    ("noted", "i8"),  # where its next gradient is noted
])  # fmt: skip

PAIR = np.dtype([
    ("line", "i4"),  # where its talk is
    ("request", "i4"), ("reply", "i4"),  # the messages that are under way, or wait
    ("announced", "i4"), ("offered", "i4"),  # 1: the request waits for the server's lane, the reply for the worker
    ("expecting", "i4"),  # 1: the worker waits for the reply
    ("next", "i4"),  # of those that wait for whoever serves everybody
    ("asked", "i8"), ("told", "i8"), ("held", "i8"),  # numbers: of the request, of the reply, that the worker holds
])  # fmt: skip

LANE = np.dtype([
    ("line", "i4"),  # where it is in its tape
    ("idle", "i4"),  # 1: it waits for a request
    ("client", "i4"),  # the worker that it serves
    ("kind", "i4"), ("following", "i4"), ("before", "i4"),  # of its compute, and of those that wait
])  # fmt: skip
"""Of servers: one for each pair, or one each."""

KIND = np.dtype([
    ("running", "i4"), ("waiting", "i4"), ("still", "i4"),  # how many; `still`: while those that wait are gone through
    ("label", "i4"),
    ("seconds", "f8"),  # without noise
])  # fmt: skip

LABEL = np.dtype([("drawn", "i8")])
"""Computes that are counted together: where the factor of the next one is."""

HOST = np.dtype([
    ("alone", "i4"),  # the task that computes and has met no other
    ("since", "f8"), ("seconds", "f8"),  # when it began, how long it takes
    ("started", "i8"),  # computes so far
])  # fmt: skip


def make(count: int, kind: np.dtype[Any]) -> Any:
    """So many records, all zero."""
    return np.zeros(count, kind).view(np.recarray)
