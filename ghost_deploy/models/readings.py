"""The readings of a checkpoint: where children and shapes fit several definitions.

A checkpoint holds the parts of a module, not its `forward`. Two definitions with the same parts and
another arithmetic, such as a bottleneck with and without addition, fit the same module. A *reading*
says for each such kind of module which definition it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias


class Kind(NamedTuple):
    """The modules of one class of a checkpoint that fit one definition.

    Attributes:
        class_path: `module.Class` as named in the checkpoint.
        definition: class name of the first definition of the class that fits them.
    """

    class_path: str
    definition: str


Choices: TypeAlias = Mapping[Kind, str]
"""The class name of the definition to use for a kind; kinds that are absent are not decided.

Where the chosen definition does not fit a module of the kind, the first one is used: exchanging the
activation, for example, has no meaning for a module without one.
"""


@dataclass(frozen=True)
class OpenChoice:
    """A kind of which more than one definition fits.

    Attributes:
        kind: the modules.
        options: class names of the definitions that fit at least one of them, the first one of the
            registry first.
        origins: the origin of each option, in plain words.
        used: the option in use.
        certain: whether the name of the class and its parts are those of the first option, so that
            it is taken unless recorded statistics say otherwise.
        chosen: whether the option was given, rather than taken because it is certain.
        modules: names of the modules, in the order of the network.
    """

    kind: Kind
    options: tuple[str, ...]
    origins: tuple[str, ...]
    used: str
    certain: bool
    chosen: bool
    modules: tuple[str, ...] = ()

    @property
    def decided(self) -> bool:
        """Whether the option in use is more than a guess."""
        return self.certain or self.chosen

    @property
    def used_origin(self) -> str:
        """The origin of the option in use."""
        return self.origins[self.options.index(self.used)]
