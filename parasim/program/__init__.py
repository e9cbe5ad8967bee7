"""The language that schemes are written in: operations, buffers, groups, collectives, the context."""
