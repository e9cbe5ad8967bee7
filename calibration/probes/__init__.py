"""Micro-benchmarks of this machine: compute, links, collectives, contention."""
