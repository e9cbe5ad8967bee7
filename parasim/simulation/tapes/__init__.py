"""Tapes: asynchronous workers and their servers, recorded once and played for all in one compiled loop.

symbols.py: numbers and ranks of nobody in particular; contexts.py, state.py, services.py, recording.py, totals.py: what
a worker, and a server's lane, does from operation to operation, and the proof that all others do the same; sheets.py,
records.py, company.py, ways.py: tapes, actors and routes as arrays; clock.py, heaps.py, shares.py, wires.py,
stations.py, playing.py: the loop; sums.py, perform.py: the sums of the trace, and the run.
"""
