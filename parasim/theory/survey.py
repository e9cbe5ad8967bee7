"""The survey's setting: a network of fully connected layers of one width, and what schemes cost on it, in symbols.

L layers of width n, mini-batches of b samples of all workers together, N workers, single precision (4 bytes). Biases,
non-linearities, the loss, updates and reductions are left out. With c seconds per FLOP, alpha seconds per message and
beta seconds per byte of a link in one direction:

* parameters have P = 4 L n**2 bytes, activations at a boundary of layers A = 4 b n;
* forward and backward pass of b samples take T = 6 b L n**2 c on one device.

A row of `ROWS` gives the critical path of b samples, what a worker moves for them, and staleness. Asynchronous schemes
give each worker b / N samples between two exchanges. Schemes with stages have N of them, one per worker.

References
----------
Yook, Lee, Yoo (2020), A survey on parallel training algorithms for deep neural networks, J. Acoust. Soc. Korea 39(6);
SCHEMES 0.3 and the table of section 12; the limit N^ is Seide's (SCHEMES 0.3, S1.5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import sympy

__all__ = ["LIMIT", "ROWS", "SYMBOLS", "Row", "StepCost", "written"]

SYMBOLS: Mapping[str, Any] = {
    name: sympy.Symbol(name, positive=True)
    for name in ("b", "n", "L", "N", "alpha", "beta", "c", "S", "tau", "e", "q", "M", "v", "G", "Z")
}
"""By name. Beside those above: S servers, period tau, e backups, q gradients per update, M micro-batches, v chunks of a
stage, G groups of data, compression Z."""

_b, _n, _L, _N, _alpha, _beta, _c, _S, _tau, _e, _q, _M, _v, _G, _Z = SYMBOLS.values()
_T = 6 * _b * _L * _n**2 * _c
_P = 4 * _L * _n**2
_A = 4 * _b * _n

LIMIT = sympy.Rational(3, 4) * _b * _Z * _c / _beta
"""N^ = 0.75 b Z c / beta: the N at which computing, T / N, takes as long as a ring's 2 P beta / Z, whatever L and n."""


@dataclass(frozen=True, slots=True)
class StepCost:
    """Seconds per b samples, bytes that a worker moves for them, and the mean staleness of their gradients."""

    seconds: float
    nbytes: float
    staleness: float


@dataclass(frozen=True, slots=True)
class Row:
    """What a scheme costs on the survey's network, as expressions in `SYMBOLS`.

    Attributes
    ----------
    section
        Of SCHEMES.
    seconds
        Critical path of b samples.
    nbytes
        Bytes that a worker sends for b samples, and, of schemes with servers, gets from them. Between two boundaries,
        of schemes with stages.
    staleness
        Mean over gradients, and over stages; of AD-PSGD, where it is of the order of one, NaN.
    equal
        When the workers' weights are equal.
    note
        What the expression leaves out.
    """

    section: str
    seconds: Any
    nbytes: Any
    staleness: Any
    equal: str
    note: str = ""

    def at(self, **values: float) -> StepCost:
        """Numbers, with a value for each symbol that occurs, by name.

        Raises
        ------
        KeyError
            If a symbol has no value.
        """
        numbers = {SYMBOLS[name]: value for name, value in values.items()}
        found = []
        for expression in (self.seconds, self.nbytes, self.staleness):
            value = sympy.sympify(expression).subs(numbers)
            if value.free_symbols:
                raise KeyError(f"no value of {', '.join(sorted(map(str, value.free_symbols)))}")
            found.append(float(value))
        return StepCost(*found)


def _ring(nbytes: Any, members: Any) -> Any:
    """Ring all-reduce: 2 (m-1) alpha + 2 (m-1)/m bytes beta."""
    return 2 * (members - 1) * _alpha + 2 * (members - 1) / members * nbytes * _beta


def _servers(workers: Any) -> Any:
    """All push at once, then all pull: 2 alpha + 2 max(1, N/S) P beta."""
    return 2 * _alpha + 2 * sympy.Max(1, workers / _S) * _P * _beta


def written(expression: Any) -> tuple[str, str]:
    """As text and as LaTeX, the way people write it: computing, messages and bytes one after the other.

    What has none of the three is written as one product, unless the sum of its terms is shorter.
    """
    if expression is sympy.nan:
        return "of order 1", "O(1)"
    if isinstance(expression, sympy.Max):
        each = [written(way) for way in sorted(expression.args, key=lambda way: not way.has(_c))]
        inner = ", ".join(text for text, _ in each), ", ".join(formula for _, formula in each)
        return f"max({inner[0]})", rf"\max\left({inner[1]}\right)"
    whole = sympy.expand(expression)
    rates = [rate for rate in (_c, _alpha, _beta) if whole.has(rate)]
    parts = [sympy.factor(whole.coeff(rate)) * rate for rate in rates] or _terms(whole)
    plain = [part.replace(sympy.Max, lambda *ways: sympy.Max(*map(sympy.factor, ways))) for part in parts]
    texts = [sympy.sstr(part, order="grlex").replace("Max(", "max(") for part in plain]
    return " + ".join(texts), " + ".join(map(sympy.latex, plain))


def _terms(whole: Any) -> list[Any]:
    """What grows with the samples, and what does not, as products: activations and parameters."""
    if whole.has(_b) and whole.coeff(_b, 0) != 0:
        return [sympy.factor(whole.coeff(_b)) * _b, sympy.factor(whole.coeff(_b, 0))]
    return [min(sympy.factor(whole), whole, key=lambda each: len(sympy.sstr(each)))]


_EXCHANGE = 2 * _alpha + 2 * _P * _beta  # push and fetch of one worker
_BOUNDARY = _alpha + _A * _beta
_LATE = (_N - 1) / 2  # mean of N - 1 - k over stages k
_AVERAGED = Row(
    "S6", _T / _N + _ring(_P, _N) / _tau, 2 * (_N - 1) / _N * _P / _tau, sympy.Integer(0), "every period tau"
)
_ELASTIC = Row("S8", _T / _N + _EXCHANGE / _tau, 2 * _P / _tau, sympy.Integer(0), "never", "others at the server")
_FLUSHED = Row(
    "S26",
    (1 + (_N - 1) / _M) * _T / _N + 2 * (_N - 1) * (_alpha + _A / _M * _beta),
    2 * _A,
    sympy.Integer(0),
    "sharded",
    "recomputing takes 4/3 of the computing",
)
_STREAMED = "first and last mini-batches; updates"
_ONE_RING = Row("S3", _T / _N + _ring(_P, _N), 2 * (_N - 1) / _N * _P, sympy.Integer(0), "yes")
_PUSHED = Row("S9", _T / _N + _EXCHANGE, 2 * _P, _N - 1, "no", "others at the server")
_LOCAL = Row(
    "S12", _T / _N + _EXCHANGE / _tau, 2 * _P / _tau, _N - 1, "no", "others at the server; staleness in commits"
)
_ALONE = Row("S5", _T / _N, sympy.Integer(0), sympy.Integer(0), "at the end", "what is sent once, at the end")

ROWS: Mapping[str, Row] = {
    "sequential": Row("S1", _T, sympy.Integer(0), sympy.Integer(0), "-"),
    "parameter_server": Row("S2", _T / _N + _servers(_N), 2 * _P, sympy.Integer(0), "yes"),
    "allreduce": _ONE_RING,
    "accumulation": replace(_ONE_RING, section="S4.3"),
    "pipe_sgd": Row("S4.4", sympy.Max(_T / _N, _ring(_P, _N)), 2 * (_N - 1) / _N * _P, sympy.Integer(1), "yes"),
    "backup_workers": Row(
        "S4.1", _T / _N + _servers(_N + _e), 2 * _P * (_N + _e) / _N, sympy.Integer(0), "yes", "stragglers"
    ),
    "one_shot": _ALONE,
    "ensemble": replace(_ALONE, equal="never"),
    "local_sgd": _AVERAGED,
    "bmuf": _AVERAGED,
    "easgd": _ELASTIC,
    "eamsgd": _ELASTIC,
    "downpour": _PUSHED,
    "dcasgd": replace(_PUSHED, section="S13"),
    "dynsgd": _LOCAL,
    "agn": _LOCAL,
    "softsync": Row("S11", _T / _N + _EXCHANGE, 2 * _P, (_N - 1) / _q, "no", "others at the server"),
    "dpsgd": Row("S18", sympy.Max(_T / _N, _EXCHANGE), 2 * _P, sympy.Integer(0), "no", "a ring; mixing"),
    "adpsgd": Row("S19", sympy.Max(_T / _N, _alpha + _P * _beta), _P, sympy.nan, "no", "others that ask"),
    "sgp": Row("S20", _T / _N + _alpha + _P * _beta, _P, sympy.Integer(0), "no", "one peer"),
    "osgp": Row("S20", sympy.Max(_T / _N, _alpha + _P * _beta), _P, sympy.Integer(0), "no", "one peer"),
    "layerwise": Row("S21", _T + 2 * (_N - 1) * _BOUNDARY, 2 * _A, sympy.Integer(0), "sharded"),
    "tensor_parallel": Row(
        "S22",
        _T / _N + 2 * _L * ((_N - 1) * _alpha + (_N - 1) / _N * _A * _beta),
        2 * _L * (_N - 1) / _N * _A,
        sympy.Integer(0),
        "sharded",
        "split by outputs",
    ),
    "gpipe": _FLUSHED,
    "pipedream_flush": _FLUSHED,
    "interleaved_1f1b": Row(
        "S28", (1 + (_N - 1) / (_v * _M)) * _T / _N, 2 * _v * _A, sympy.Integer(0), "sharded", "transfers"
    ),
    "zb_h1": Row("S28", (1 + (_N - 1) / (3 * _M)) * _T / _N, 2 * _A, sympy.Integer(0), "sharded", "transfers"),
    "pipelined_backprop": Row("S25", sympy.Max(_T / _N, _BOUNDARY), 2 * _A, 2 * _LATE, "sharded", _STREAMED),
    "spectrain": Row("S29", sympy.Max(_T / _N, _BOUNDARY), 2 * _A, _LATE, "sharded", f"{_STREAMED}; predictions"),
    "pipedream": Row("S27", sympy.Max(_T / _N, _BOUNDARY), 2 * _A, _LATE, "sharded", _STREAMED),
    "pipedream_2bw": Row("S28", sympy.Max(_T / _N, _BOUNDARY), 2 * _A, sympy.Integer(1), "sharded", _STREAMED),
    "ddg": Row("S30", _T / 3 + 2 * _T / 3 / _N, 2 * _A, _LATE, "sharded", "transfers"),
    "fr": Row("S31", _T / 3 + _T / _N, 2 * _A, sympy.Integer(0), "sharded", "transfers; inputs are as late as DDG's"),
    "fdg": Row("S33", _T / _N, 2 * _A, 2 * _LATE, "sharded", "transfers"),
    "zero": Row(
        "S37",
        sympy.Max(_T / _N, 3 * (_L * (_N - 1) * _alpha + (_N - 1) / _N * _P * _beta)),
        3 * (_N - 1) / _N * _P,
        sympy.Integer(0),
        "yes",
        "a unit per layer, all of them gathered twice; what is not hidden",
    ),
    "fdg_data": Row(
        "S36",
        _T / _N,
        2 * _A / _G + 2 * (_G - 1) / _G * _P * _G / _N,
        _N / _G - 1,
        "within the agents of a module",
        "transfers and all-reduce",
    ),
}
"""By scheme."""
