"""The simulated runtime: virtual time, processors, network, noise."""
