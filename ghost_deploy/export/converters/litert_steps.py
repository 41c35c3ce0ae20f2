"""The steps of litert-torch; loaded by `converter_main` in the interpreter that has it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from typing import Any


def convert(
    say: Callable[[str], None], *, program: str, out: str, input_name: str, output_name: str
) -> dict[str, str]:
    """Convert a program of torch.export to a LiteRT file.

    Args:
        say: takes what is being done.
        program: file of the program, from one tensor to one.
        out: file to write.
        input_name, output_name: names of the tensors in its signature.

    Returns:
        Versions of the packages.
    """
    say("importing litert-torch")
    import litert_torch
    import torch

    class Named(torch.nn.Module):
        """The program with a name for its output; litert-torch takes that of a dictionary."""

        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, images: torch.Tensor) -> dict[str, Any]:
            return {output_name: self.inner(images)}

    if input_name != "images":
        raise ValueError(f"the input is called {input_name!r}, not 'images'")
    loaded = torch.export.load(program)
    (image,) = loaded.example_inputs[0]
    say("converting")
    litert_torch.convert(Named(loaded.module()), sample_kwargs={"images": image}).export(out)
    names = ("litert-torch", "litert-converter", "torch")
    return {name: metadata.version(name) for name in names}


STEPS = {"convert": convert}
