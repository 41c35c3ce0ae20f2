"""Limits of a checkpoint: no file can exhaust memory or time.

The largest official detector known to us (yolov8x, not stripped) has 0.6 GB, a pickle below 1 MiB,
fewer than 300 000 opcodes, fewer than 3 000 modules and 12 levels of nesting.
"""

from __future__ import annotations

MAX_FILE_BYTES = 2 << 30
"""Size of a checkpoint file."""

MAX_MEMBERS = 65_535
"""Members of the zip archive; one for each tensor storage."""

MAX_PICKLE_BYTES = 16 << 20
"""Size of `data.pkl`."""

MAX_OPCODES = 2_000_000
"""Opcodes that the pickle reader executes."""

MAX_MARKS = 256
"""Open marks on the stack of the pickle reader: nesting of lists, dicts and tuples."""

MAX_INTEGER_BYTES = 32
"""Size of an integer in a pickle."""

MAX_NAME = 256
"""Characters of a module, class, attribute or child name."""

MAX_DEPTH = 64
"""Nesting of values and of modules."""

MAX_VALUES = 100_000
"""Plain values of one checkpoint with shared parts expanded; a text counts by its length."""

MAX_MODULES = 20_000
"""Modules of one network with shared parts expanded."""

MAX_ENTRIES = 1_000_000
"""Attributes, weights and children of all modules, counted at each visit."""

MAX_DIMENSIONS = 8
"""Dimensions of a tensor."""

MAX_ATTRIBUTE_TENSOR = 1024
"""Elements of a tensor that is a plain attribute, neither parameter nor buffer."""

MAX_CLASS_NAME = 128
"""Characters of a class name."""

MAX_JSON_BYTES = 16 << 20
"""Size of the header of our own safetensors form."""
