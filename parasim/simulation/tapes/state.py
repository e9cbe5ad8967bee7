"""What a waiting program is: its frames, their variables, and what else they hold.

When it applies: to generators that wait in an operation. Two of equal words go on in the same way, when they are told
the same: a program's course follows from where it is and what it can reach (parasim/simulation/chorus/likeness.py).

A variable that is set by the very reply that is waited for is not looked at: nobody can read it any more. What an
expression or a loop holds beside the variables is found among what the generator refers to.
"""

from __future__ import annotations

import dis
import functools
import gc
import types
from collections.abc import Iterable
from typing import Any

from parasim.simulation.chorus.counts import Distinguished
from parasim.simulation.tapes.symbols import Likenesses

__all__ = ["go_on", "words_of"]

_WAITING = {"SEND", "YIELD_VALUE", "RESUME", "JUMP_BACKWARD_NO_INTERRUPT", "JUMP_BACKWARD", "END_SEND", "CACHE"}
_MACHINERY = (types.CodeType, types.FunctionType, types.FrameType, types.CellType, types.GeneratorType)


@functools.lru_cache(maxsize=256)
def _set_by_reply(code: types.CodeType, last: int) -> str | None:
    """The variable that the reply goes into, if that is all that happens to it."""
    for instruction in dis.get_instructions(code):
        if instruction.offset > last and instruction.opname not in _WAITING:
            return str(instruction.argval) if instruction.opname == "STORE_FAST" else None
    return None


def go_on(program: Any, reply: Any) -> Any:
    """The next operation of a program; `StopIteration` at its end.

    Raises
    ------
    Distinguished
        If it fails: it will fail again, with numbers as they should be, or it can't do with them as they are.
    """
    try:
        return program.send(reply)
    except StopIteration:
        raise
    except Exception as failure:
        raise Distinguished(str(failure)) from failure


def words_of(programs: Iterable[Any], likeness: Likenesses) -> tuple[Any, ...]:
    """The state of waiting programs, but for counters and for who their clients are; `likeness` is that of nothing yet.

    Raises
    ------
    UnknownState
        If it can't be told.
    """
    for program in programs:
        waiting = program
        while waiting is not None:
            frame = waiting.gi_frame
            if frame is None:
                break
            words = likeness.words
            words += [id(frame.f_code), frame.f_lasti]
            named = frame.f_locals
            variables = dict(named)
            known = {id(named), *map(id, variables.values())}
            variables.pop(_set_by_reply(frame.f_code, frame.f_lasti) or "", None)
            for name, thing in variables.items():
                words.append(name)
                likeness.take(thing)
            for thing in gc.get_referents(waiting):
                if id(thing) not in known and not isinstance(thing, _MACHINERY):
                    likeness.take(thing)
            waiting = waiting.gi_yieldfrom
    return tuple(likeness.words)
