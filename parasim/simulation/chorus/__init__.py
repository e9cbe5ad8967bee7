"""A chorus: all actors of a synchronous run advance as one program, their times as arrays.

counts.py, voice.py: the program as nobody's in particular; score.py goes through it; paces.py, gathering.py: seconds of
computes and of collectives; tallies.py, beside.py: sums of the trace; periods.py, likeness.py: steps that are skipped.
"""
