"""How large a checkpoint may be in every respect, so that no file can exhaust the machine.

The largest official detector that we know of (yolov8x, not stripped) has 0.6 GB, a pickle below
1 MiB, below 300 000 opcodes, below 3 000 modules and 12 levels of nesting.
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
"""Open marks on the pickle reader's stack, that is literal nesting of lists, dicts and tuples."""

MAX_INTEGER_BYTES = 32
"""Size of an integer in a pickle."""

MAX_NAME = 256
"""Characters of a module, class, attribute or child name."""

MAX_DEPTH = 64
"""Nesting of values and of modules."""

MAX_VALUES = 100_000
"""Plain values of one checkpoint after shared parts were expanded; a text counts by its length."""

MAX_MODULES = 20_000
"""Modules of one network after shared parts were expanded."""

MAX_ENTRIES = 1_000_000
"""Attributes, weights and children of all modules, counted as often as they are gone through."""

MAX_DIMENSIONS = 8
"""Dimensions of a tensor."""

MAX_ATTRIBUTE_TENSOR = 1024
"""Elements of a tensor that is a plain attribute instead of a parameter or a buffer."""

MAX_CLASS_NAME = 128
"""Characters of the name of a detected class."""

MAX_JSON_BYTES = 16 << 20
"""Size of the header of our own safetensors form."""
