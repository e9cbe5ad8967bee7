"""The real runtime: a scheme's programs on processes over torch.distributed, and their launchers."""
