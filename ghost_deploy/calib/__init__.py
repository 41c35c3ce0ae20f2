"""Calibration: images, ranges of every tensor, and where a graph is rounded to eight bits.

Nothing is imported here, so that one part is not loaded for another's sake.
"""
