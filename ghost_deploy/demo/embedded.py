"""The trained detector included in the package.

It was trained on scenes of `ghost_deploy.demo.scenes` with `tools.training` of the source tree; the
record beside it, `model.json`, holds the command. Scenes with seeds below `TRAIN_FROM` were not
used for training.
"""

from __future__ import annotations

from pathlib import Path

MODEL_FILE = Path(__file__).with_name("model.safetensors")
"""The checkpoint, readable by `load_checkpoint`."""

TRAIN_FROM = 10_000
"""Seed of the first training scene; smaller seeds are for evaluation and demos."""
