"""How threads of GNU OpenMP wait for each other, decided before PyTorch is imported."""

from __future__ import annotations

import os

_SPINS = "GOMP_SPINCOUNT"
_BRIEFLY = "1000"
"""What libgomp itself takes where it knows of more threads than processors."""


def wait_briefly() -> None:
    """Let idle threads of PyTorch sleep soon, instead of spinning for milliseconds.

    libgomp takes all processors for free. Where others use them too, a thread that spins at a
    barrier keeps the one that it waits for from running: on two cores with ten processes,
    15 images through a small detector took 100 to 250 s, and 8 to 10 s with this.

    A setting of the user is kept; where PyTorch was imported before, nothing changes.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault(_SPINS, _BRIEFLY)
