"""Measurements of artifacts, as typed documents in a bundle."""
