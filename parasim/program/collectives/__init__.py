"""Collectives as programs: schedules as data, and one program that runs any of them.

A schedule (ring.py, torus.py, ...) is a pure function from a member's index to its rounds (rounds.py); `ALGORITHMS` is
the table of them; `expand` turns a `Collective` into the program of one member.
"""

from parasim.program.collectives.algorithms import ALGORITHMS, DEFAULTS, Algorithm, check, schedule
from parasim.program.collectives.expand import expand
from parasim.program.collectives.rounds import Move, Round

__all__ = ["ALGORITHMS", "DEFAULTS", "Algorithm", "Move", "Round", "check", "expand", "schedule"]
