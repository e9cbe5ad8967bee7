"""The survey's table: as SCHEMES 12 has it, as the schemes' own closed forms say, and as the simulator finds."""

import itertools
import math

import pytest
import sympy

from parasim.study.critical import Rates, critical_path
from parasim.theory.limits import data_parallel_limit
from parasim.theory.survey import LIMIT, ROWS, SYMBOLS, written
from tests.schemes_setup import make, run, steady

TABLE = {  # SCHEMES 12, as it stands there: seconds, bytes per worker, for b samples (of S9, S11: b_i each)
    "sequential": ("6*b*L*n**2*c", "0"),
    "parameter_server": ("6*b*L*n**2*c/N + 2*alpha + 8*L*n**2*beta*Max(1, N/S)", "8*L*n**2"),
    "allreduce": ("6*b*L*n**2*c/N + 2*(N-1)*alpha + 8*L*n**2*beta*(N-1)/N", "8*L*n**2*(N-1)/N"),
    "local_sgd": ("6*b*L*n**2*c/N + (2*(N-1)*alpha + 8*L*n**2*beta*(N-1)/N)/tau", "8*L*n**2/tau"),
    "bmuf": ("6*b*L*n**2*c/N + (2*(N-1)*alpha + 8*L*n**2*beta*(N-1)/N)/tau", "8*L*n**2/tau"),
    "easgd": ("6*b*L*n**2*c/N + (2*alpha + 8*L*n**2*beta)/tau", "8*L*n**2/tau"),
    "downpour": ("N*(6*(b/N)*L*n**2*c + 2*alpha + 8*L*n**2*beta)/N", "8*L*n**2"),
    "softsync": ("N*(6*(b/N)*L*n**2*c + 2*alpha + 8*L*n**2*beta)/N", "8*L*n**2"),
    "dpsgd": ("Max(6*b*L*n**2*c/N, 2*alpha + 8*L*n**2*beta)", "8*L*n**2"),
    "adpsgd": ("Max(6*b*L*n**2*c/N, alpha + 4*L*n**2*beta)", "4*L*n**2"),
    "osgp": ("Max(6*b*L*n**2*c/N, alpha + 4*L*n**2*beta)", "4*L*n**2"),
    "layerwise": ("6*b*L*n**2*c + 2*(N-1)*(alpha + 4*b*n*beta)", "8*b*n"),
    "tensor_parallel": ("6*b*L*n**2*c/N + 2*L*((N-1)*alpha + 4*b*n*beta*(N-1)/N)", "8*L*b*n*(N-1)/N"),
    "gpipe": ("(1+(N-1)/M)*6*b*L*n**2*c/N + 2*(N-1)*(alpha + 4*(b/M)*n*beta)", "8*b*n"),
    "pipedream": ("Max(6*b*L*n**2*c/N, alpha + 4*b*n*beta)", "8*b*n"),
    "pipedream_2bw": ("Max(6*b*L*n**2*c/N, alpha + 4*b*n*beta)", "8*b*n"),
    "ddg": ("2*b*L*n**2*c + 4*b*L*n**2*c/N", "8*b*n"),
    "fr": ("2*b*L*n**2*c + 6*b*L*n**2*c/N", "8*b*n"),
    "fdg": ("6*b*L*n**2*c/N", "8*b*n"),
    "fdg_data": ("6*(b/G)*L*n**2*c/(N/G)", "8*(b/G)*n + 8*(L/(N/G))*n**2*(G-1)/G"),
}
ROUNDED = {"local_sgd", "bmuf"}  # the table's bytes are those of many workers
# options, what they are in the table; and of the path: "sum", or one of two ("max"), or "computing" alone
CASES = {
    "sequential": ({}, {}, "sum"),
    "parameter_server": ({"servers": 2}, {"S": 2}, "sum"),
    "allreduce": ({"overlap": False}, {}, "sum"),
    "backup_workers": ({"backups": 1, "servers": 1}, {"e": 1, "S": 1}, "sum"),
    "accumulation": ({}, {}, "sum"),
    "pipe_sgd": ({}, {}, "max"),
    "one_shot": ({}, {}, "sum"),
    "ensemble": ({}, {}, "sum"),
    "local_sgd": ({"period": 2}, {"tau": 2}, "sum"),
    "bmuf": ({"period": 2}, {"tau": 2}, "sum"),
    "easgd": ({"period": 2}, {"tau": 2}, "sum"),
    "eamsgd": ({"period": 2}, {"tau": 2}, "sum"),
    "downpour": ({}, {}, "sum"),
    "dcasgd": ({}, {}, "sum"),
    "dynsgd": ({"local_steps": 2}, {"tau": 2}, "sum"),
    "agn": ({"local_steps": 2}, {"tau": 2}, "sum"),
    "softsync": ({}, {"q": 1}, "sum"),
    "dpsgd": ({}, {}, "max"),
    "adpsgd": ({}, {}, "max"),
    "sgp": ({}, {}, "sum"),
    "osgp": ({}, {}, "max"),
    "layerwise": ({}, {}, "sum"),
    "tensor_parallel": ({}, {}, "sum"),
    "gpipe": ({"micro_batches": 8, "recompute": False}, {"M": 8}, "sum"),
    "pipedream_flush": ({"micro_batches": 8}, {"M": 8}, "sum"),
    "interleaved_1f1b": ({"micro_batches": 8, "chunks": 2}, {"M": 8, "v": 2}, "computing"),
    "zb_h1": ({"micro_batches": 8}, {"M": 8}, "computing"),
    "pipelined_backprop": ({}, {}, "computing"),
    "spectrain": ({}, {}, "computing"),
    "pipedream": ({}, {}, "computing"),
    "pipedream_2bw": ({"micro_batches": 8}, {"M": 8}, "computing"),
    "ddg": ({}, {}, "computing"),
    "fr": ({}, {}, "computing"),
    "fdg": ({}, {}, "computing"),
    "fdg_data": ({}, {"G": 2}, "computing"),
    "zero": ({"stage": 3}, {}, "max"),
}
EXCHANGES = {"dpsgd": (0.5, 1.0), "adpsgd": (2.0, 2.0)}
"""Messages and bytes on the path over the table's: D-PSGD sends both ways at once; AD-PSGD asks, then is answered."""
AVERAGED = {"pipedream_2bw": 8}
"""Its step is of M micro-batches of b samples."""
QUICK, SLOW = Rates(1e-3, 1e-9, 1e-9), Rates(1e-9, 1.0, 1.0)  # computing decides; exchanging does


@pytest.mark.parametrize("scheme", TABLE)
def test_rows_are_those_of_the_table(scheme):
    seconds, nbytes = (sympy.sympify(text, locals=dict(SYMBOLS)) for text in TABLE[scheme])
    row = ROWS[scheme]
    assert sympy.simplify(row.seconds - seconds) == 0
    many = sympy.limit(row.nbytes, SYMBOLS["N"], sympy.oo) if scheme in ROUNDED else row.nbytes
    assert sympy.simplify(many - nbytes) == 0


def test_backup_workers_without_backups_are_the_server_and_all_sums_shrink_to_one_worker():
    plain = ROWS["backup_workers"].seconds.subs(SYMBOLS["e"], 0)
    assert sympy.simplify(plain - ROWS["parameter_server"].seconds) == 0
    for scheme in ("allreduce", "local_sgd", "layerwise", "tensor_parallel", "gpipe", "ddg", "fdg"):
        assert sympy.simplify(ROWS[scheme].seconds.subs(SYMBOLS["N"], 1) - ROWS["sequential"].seconds) in (0, None)


def test_the_limit_is_where_the_ring_takes_as_long_as_computing():
    b, c, beta, compression, workers = (SYMBOLS[name] for name in ("b", "c", "beta", "Z", "N"))
    ring = ROWS["allreduce"].seconds
    computing, wire = sympy.expand(ring).coeff(c) * c, sympy.limit(sympy.expand(ring).coeff(beta), workers, sympy.oo)
    (found,) = sympy.solve(sympy.Eq(computing, wire * beta / compression), workers)
    assert sympy.simplify(found - LIMIT) == 0
    numbers = {b: 64, compression: 4, c: 1e-9, beta: 1e-8}
    assert float(LIMIT.subs(numbers)) == pytest.approx(data_parallel_limit(64, 1e9, 1e8, 4))


def scenario_of(scheme, layers, width, batch, workers, **cluster):
    """The survey's network with a batch of all workers together; their number is one of one scheme."""
    options, _, _ = CASES[scheme]
    count = 1 if scheme == "sequential" else workers
    count += options.get("backups", 0)
    sharded = ROWS[scheme].equal == "sharded"
    size = batch if sharded or scheme == "sequential" else batch // (2 if scheme == "fdg_data" else workers)
    more = {"modules": workers // 2} if scheme == "fdg_data" else {}
    more |= {} if scheme == "sequential" else {"workers": count}
    model = {"kind": "mlp", "width": width, "depth": layers}
    size *= AVERAGED.get(scheme, 1)
    settings = {"kind": scheme, "hosts": count + 2, "model": model, "batch": size, "trace": "aggregate"}
    return {**settings, **options, **more, **cluster}


def values_of(scheme, layers, width, batch, workers, **wire):
    """Values of the symbols of its row."""
    return {"L": layers, "n": width, "b": batch, "N": workers, **CASES[scheme][1], **wire}


POINTS = [(4, 8, 64, 2), (8, 8, 128, 4), (8, 16, 64, 4), (8, 24, 192, 8)]


@pytest.mark.parametrize("scheme", CASES)
def test_the_schemes_own_forms_are_the_rows(scheme):
    """Coefficients of c, alpha and beta, at enough values of L, n, b and N for polynomials of their degrees."""
    kind = CASES[scheme][2]
    points = [point for point in POINTS if point[3] > 2 or scheme != "dpsgd"]  # a ring of two has one neighbour each
    points = [point for point in points if CASES[scheme][1].get("v", 1) * point[3] <= point[0]]  # chunks are layers
    for point, rates in itertools.product(points, (QUICK, SLOW) if kind == "max" else (QUICK,)):
        path = critical_path(make(**scenario_of(scheme, *point)), rates)
        unit = {"c": 0.0, "alpha": 0.0, "beta": 0.0}
        times = AVERAGED.get(scheme, 1)
        flops, messages, nbytes = (
            times * ROWS[scheme].at(**values_of(scheme, *point, **{**unit, name: 1.0})).seconds for name in unit
        )
        if kind != "max" or rates is QUICK:
            assert path.flops == pytest.approx(flops, rel=1e-12)
        if kind == "sum" or rates is SLOW:
            more, larger = EXCHANGES.get(scheme, (1.0, 1.0))
            assert path.messages == pytest.approx(more * messages, rel=1e-12)
            assert path.nbytes == pytest.approx(larger * nbytes, rel=1e-12)
        elif kind == "max":
            assert (path.messages, path.nbytes) == (0, 0)


FREE = {"bandwidth": 1e15, "latency": 1e-12}
LINKS = {"bandwidth": 1e8, "latency": 1e-5}
SIMULATED = {  # what can't be had exactly with several workers is checked with one
    **dict.fromkeys(CASES, 4),
    **dict.fromkeys(("easgd", "eamsgd", "downpour", "dcasgd", "dynsgd", "agn", "softsync"), 1),
    "sequential": 1,
    "interleaved_1f1b": 2,
}
UNEVEN = {"pipedream_flush", "adpsgd"}  # stages wait for links; one worker asks another that is busy


@pytest.mark.parametrize("scheme", CASES)
def test_the_simulator_agrees(scheme):
    """More samples, slower links and longer cables add what the row says; updates and reductions cancel."""
    workers, kind = SIMULATED[scheme], CASES[scheme][2]
    computing = kind == "computing" or scheme in UNEVEN
    base = {"c": 1e-9, **(FREE if computing or kind == "max" else LINKS)}
    if scheme == "gpipe":
        base |= {"bandwidth": 1e9, "latency": 1e-7}  # shorter than passes
    layers, width, batch = 4, 32, 64

    def both(samples=batch, **changed):
        wire = {**base, **changed}
        cluster = {"memory_bandwidth": 1e18, "flops": 1 / wire.pop("c"), **wire, "cores": 2}
        settings = scenario_of(scheme, layers, width, samples, workers, **cluster)
        found = steady(settings.pop("kind"), settings.pop("hosts"), steps=4, **settings)[0]
        wire = {"c": 1 / cluster["flops"], "alpha": 2 * wire["latency"], "beta": 1 / wire["bandwidth"]}
        row = ROWS[scheme].at(**values_of(scheme, layers, width, samples, workers, **wire)).seconds
        if scheme == "tensor_parallel":  # additions of what is scattered, which the survey leaves out
            row += wire["c"] * layers * width * samples * (workers - 1) / workers
        return found / AVERAGED.get(scheme, 1), row

    changes = [{"samples": 4 * batch}]
    if workers > 1 and not computing and kind == "sum":
        changes += [{"latency": 2 * base["latency"]}, {"bandwidth": 0.9 * base["bandwidth"]}]
    first = both()
    for change in changes:
        second = both(**change)
        assert second[0] - first[0] == pytest.approx(second[1] - first[1], rel=1e-6), change


@pytest.mark.parametrize(("scheme", "messages", "nbytes"), [("dpsgd", 0.5, 1), ("osgp", 1, 1)])
def test_the_simulator_agrees_where_exchanging_takes_longer(scheme, messages, nbytes):
    found, expected = [], []
    for latency, bandwidth in ((1e-3, 1e5), (2e-3, 1e5), (1e-3, 9e4)):
        settings = scenario_of(scheme, 4, 32, 64, 4, bandwidth=bandwidth, latency=latency, cores=2)
        found.append(steady(settings.pop("kind"), settings.pop("hosts"), memory_bandwidth=1e18, **settings)[0])
        wire = {"c": 1e-9, "alpha": messages * 2 * latency, "beta": nbytes / bandwidth}
        expected.append(ROWS[scheme].at(**values_of(scheme, 4, 32, 64, 4, **wire)).seconds)
    for place in (1, 2):
        assert found[place] - found[0] == pytest.approx(expected[place] - expected[0], rel=1e-9)


@pytest.mark.parametrize("scheme", [name for name in CASES if name not in ("adpsgd", "osgp", "sgp", "dpsgd")])
def test_the_simulator_moves_the_bytes_of_the_rows(scheme):
    """Of schemes with servers, what these send back counts for the worker; between stages, of an inner boundary."""
    values, sent = CASES[scheme][1], []
    chunks = values.get("v", 1)
    for steps in (8, 16):
        settings = scenario_of(scheme, 4, 32, 64, 4 // chunks, steps=steps)
        summary = run(settings.pop("kind"), settings.pop("hosts"), **settings).summary
        workers = summary["workers"] - values.get("e", 0)
        teams = [(summary["bytes_sent_per_worker_per_step"], summary["workers"])]
        teams += [(role["bytes_sent_per_step"], role["actors"]) for role in summary["roles"].values()]
        sent.append(steps * sum(nbytes * actors for nbytes, actors in teams) / workers)
    moved = (sent[1] - sent[0]) / 8 / AVERAGED.get(scheme, 1)
    stages = workers // values.get("G", 1)
    nbytes = ROWS[scheme].at(**values_of(scheme, 4, 32, 64, 4 // chunks, c=0, alpha=0, beta=0)).nbytes
    if ROWS[scheme].section in ("S21", "S25", "S26", "S27", "S28", "S29", "S30", "S31", "S33"):
        nbytes *= (chunks * stages - 1) / (chunks * stages)
    if scheme == "fdg_data":
        shared = 8 * (4 / stages) * 32**2 / 2
        nbytes = shared + (nbytes - shared) * (stages - 1) / stages
    assert moved == pytest.approx(nbytes, rel=1e-9)


def test_rows_are_written_for_people():
    text, formula = written(ROWS["allreduce"].seconds)
    assert text == "6*L*b*c*n**2/N + 2*alpha*(N - 1) + 8*L*beta*n**2*(N - 1)/N"
    assert r"\alpha" in formula
    assert written(ROWS["pipedream"].seconds)[0] == "max(6*L*b*c*n**2/N, alpha + 4*b*beta*n)"
    assert written(ROWS["adpsgd"].staleness) == ("of order 1", "O(1)")
    assert math.isnan(ROWS["adpsgd"].at(L=1, n=1, b=1, N=2, c=1, alpha=1, beta=1).staleness)
    with pytest.raises(KeyError, match="no value of S"):
        ROWS["parameter_server"].at(L=1, n=1, b=1, N=2, c=1, alpha=1, beta=1)
