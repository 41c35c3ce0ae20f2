"""The files of the page."""

from pathlib import Path

__all__ = ["STATIC"]

STATIC = Path(__file__).parent
"""Folder of the page's files."""
