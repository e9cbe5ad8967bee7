"""The inbox of a rank's loop: nothing is lost, and no wait outlasts its timer."""

import random
import threading
import time

from calibration.executor.inbox import Inbox

ITEMS = 4000


def test_short_waits_end_whatever_threads_put_meanwhile():
    """A wait of microseconds that an item ends too early, or not at all, must not become one without end."""
    inbox = Inbox()
    taken = {"item": 0, "timer": 0}
    inbox.running = 1

    def took(kind: str) -> None:
        taken[kind] += 1

    def feed() -> None:
        draws = random.Random(0)
        for _ in range(ITEMS):
            inbox.put(took, "item")
            end = time.perf_counter() + draws.uniform(0, 4e-5)
            while time.perf_counter() < end:
                pass

    feeder = threading.Thread(target=feed)
    feeder.start()
    draws = random.Random(1)
    timers = 0
    while taken["item"] < ITEMS:
        inbox.at(time.monotonic() + 1e-4 + draws.uniform(0, 3e-5), lambda: took("timer"))
        timers += 1
        while taken["timer"] < timers:
            item = inbox.take(lambda: 1.0)
            assert item is not None
            item()
    feeder.join()
    assert taken == {"item": ITEMS, "timer": timers}


def test_items_come_in_order_and_calm_is_asked_when_nothing_is_under_way():
    inbox = Inbox()
    came: list[int] = []
    for number in range(5):
        inbox.put(came.append, number)
    inbox.soon(came.append, -1)
    while (item := inbox.take(lambda: 0.0)) is not None:
        item()
    assert came == [-1, 0, 1, 2, 3, 4]
