"""What is trained: models as layer costs, and the sizes of data. Nothing here imports torch."""

from parasim.workload.data import DATA, DataSpec, build_data
from parasim.workload.models import MODELS, build_model

__all__ = ["DATA", "MODELS", "DataSpec", "build_data", "build_model"]
