"""Everything that touches real hardware. Importing this imports no torch."""

from calibration.crosscheck import crosscheck
from calibration.executor.launch import execute

__all__ = ["crosscheck", "execute"]
