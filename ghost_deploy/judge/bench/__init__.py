"""Benchmarks: timing of candidates, their figures, and the machine."""
