"""From what probes recorded to numbers with intervals."""
