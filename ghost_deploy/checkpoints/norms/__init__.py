"""Recorded batch norm statistics as evidence of the arithmetic of a checkpoint."""
