"""The overflow guard of `overflow` for a model that NNCF quantized."""

from __future__ import annotations
