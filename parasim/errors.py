"""One tree of errors; a leaf says who is to blame.

``ScenarioError``: the user's input is wrong (the CLI exits with 2). ``ProgramError``: a scheme broke the contract
of the language. ``DeadlockError``: a run can't go on, with the table of who waits for what. ``CalibrationError``:
measured data can't be used. ``ExecutionError``: a real process failed.
"""

from __future__ import annotations

__all__ = [
    "CalibrationError",
    "DeadlockError",
    "ExecutionError",
    "ParasimError",
    "ProgramError",
    "ScenarioError",
    "ScenarioWarning",
]


class ParasimError(Exception):
    """Base of every error that parasim raises on purpose."""


class ScenarioError(ParasimError, ValueError):
    """The user's input is wrong; the message is one line, ``file:line:column: key: what (what to do)``."""


class ScenarioWarning(UserWarning):
    """Something of the user's input has no effect; the message is one line that says where and what."""


class ProgramError(ParasimError):
    """A scheme's program broke a rule of the language (parasim/program/ops.py)."""


class DeadlockError(ParasimError):
    """No actor can go on and some are unfinished; the message is a table of rank, program, lane, operation, since."""


class CalibrationError(ParasimError):
    """Measured data can't be fitted or used."""


class ExecutionError(ParasimError):
    """A real run failed; the message carries the error of the rank that failed first."""
