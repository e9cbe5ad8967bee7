"""Everything that touches real hardware. Importing this imports no torch."""

from calibration.executor.launch import execute

__all__ = ["execute"]
