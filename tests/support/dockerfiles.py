"""Instructions of a Dockerfile, without Docker."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Instruction:
    """One instruction: its name in capitals, and the rest with its lines joined."""

    name: str
    rest: str

    @property
    def words(self) -> list[str]:
        """The rest as words: of the JSON form, or as a shell splits it."""
        return json.loads(self.rest) if self.rest.startswith("[") else shlex.split(self.rest)

    @property
    def commands(self) -> list[str]:
        """The commands of a RUN, as written between `&&`."""
        return [part.strip() for part in self.rest.split("&&")]


def instructions(path: Path) -> list[Instruction]:
    """All instructions in their order; comments and empty lines are left out."""
    lines = [line for line in path.read_text().splitlines() if line.strip()]
    text = "\n".join(line for line in lines if not line.startswith("#"))
    joined = re.sub(r"\\\n\s*", "", text).splitlines()
    return [Instruction(*line.split(maxsplit=1)) for line in joined]


def comment_commands(path: Path) -> list[str]:
    """The commands in comments, those that are indented, with their lines joined."""
    lines = [line for line in path.read_text().splitlines() if line.startswith("#")]
    text = "\n".join(line.removeprefix("#") for line in lines)
    joined = re.sub(r"\\\n\s*", "", text).splitlines()
    return [line.strip() for line in joined if line.startswith("   ")]
