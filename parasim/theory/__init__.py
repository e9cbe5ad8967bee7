"""Closed forms of the literature, used as oracles: what a simulation must meet where things are simple enough.

====================  ================================================================================
`collectives`         alpha-beta-gamma costs of collectives, lower bounds, crossovers
`patterns`            who sends to whom in the rounds of a collective
`overlap`             buckets reduced beside the backward pass, the best size of a bucket
`laws`                laws of random times: exponential, log-normal, gamma, Pareto tail, mixtures ...
`order_statistics`    the slowest, or the k-th fastest, of N workers
`stragglers`          synchronous steps with random stragglers, backup workers, sums of kernels
`queueing`            closed networks: bounds, mean value analysis
`parameter_server`    synchronous steps and asynchronous throughput of parameter servers, saturation
`staleness`           laws of staleness
`pipelines`           bubbles, flow lines, steady states, micro-batches in flight
`limits`              how many workers are worth having
`survey`              the survey's network of equal layers, by scheme, in symbols
`work_depth`          work and depth of operators, Brent's bounds
`convolutions`        the same of convolutions by im2col, FFT and Winograd
====================  ================================================================================

Times are seconds, sizes bytes, rates per second. Every form says in its docstring what it assumes and where it is from.
"""
