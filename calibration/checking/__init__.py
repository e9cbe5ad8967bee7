"""Predicted beside measured: what `calibration.crosscheck` is made of."""
