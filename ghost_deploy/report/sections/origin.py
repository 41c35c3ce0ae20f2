"""Where the artifacts come from, what machine was measured on, and what was read."""

from __future__ import annotations

from collections.abc import Iterator

from ghost_deploy.core.bundle import Artifact
from ghost_deploy.report.blocks import BundleFacts
from ghost_deploy.report.cells import Block, Cell, Facts, Line, Section, Tree
from ghost_deploy.report.view import View

__all__ = ["files", "lineage", "machine"]

_At = tuple[str | int, ...]

_MACHINE = (
    ("processor", "text", ("machine", "cpu")),
    ("logical CPUs", "count", ("machine", "cpus")),
    ("of them for this container", "count", ("cpu_quota",)),
    ("instruction sets", "list", ("machine", "cpu_flags")),
    ("memory", "gib", ("machine", "memory_bytes")),
    ("board", "text", ("machine", "board")),
    ("Jetson", "text", ("machine", "jetson")),
    ("power mode", "text", ("power_mode",)),
    ("NVIDIA GPUs", "list", ("machine", "nvidia_gpus")),
    ("NVIDIA driver", "text", ("machine", "nvidia_driver")),
    ("clock governors", "list", ("governors",)),
    ("load before the run", "score", ("load_before",)),
    ("system", "text", ("machine", "system")),
    ("distribution", "text", ("machine", "distribution")),
    ("measured at", "date", ("measured_at",)),
)


def machine(view: View) -> Iterator[Section]:
    """What every latency document was measured on."""
    for index in range(len(view.report.latency)):
        at: _At = ("latency", index, "snapshot")
        rows: list[tuple[str | Cell, Line]] = [
            (words, (view.look.cell(form, *at, *steps),))
            for words, form, steps in _MACHINE
            if view.look.value(*at, *steps) not in ("", 0, None, [], ())
        ]
        rows.append(("packages", _named(view, (*at, "packages"))))
        yield Section(f"machine{f'-{index + 1}' if index else ''}", ("Machine",), [Facts(rows)])


def lineage(view: View) -> Iterator[Section]:
    """From the checkpoint to each artifact, with hashes and tools."""
    blocks: list[Block] = []
    for index, bundle in enumerate(view.report.bundles):
        blocks += [_model(view, index), _tree(view, index, bundle)]
    if blocks:
        lead: Line = ("Each artifact under what it was made from; hashes are sha256, shortened.",)
        yield Section("lineage", ("Lineage",), blocks, lead)


def files(view: View) -> Iterator[Section]:
    """The files that this report was made of."""
    look = view.look
    rows: list[tuple[str | Cell, Line]] = [
        (
            look.cell("text", "sources", i, "name"),
            (
                look.cell("text", "sources", i, "kind"),
                " ",
                look.cell("hash", "sources", i, "sha256"),
            ),
        )
        for i in range(len(view.report.sources))
    ]
    if rows:
        yield Section("files", ("Made from",), [Facts(rows)])


def _model(view: View, index: int) -> Facts:
    look, at = view.look, ("bundles", index, "document")
    spec: _At = (*at, "spec")
    rows: list[tuple[str | Cell, Line]] = [
        ("bundle", (look.cell("text", "bundles", index, "name"),)),
        ("model", (look.cell("text", *spec, "name"), ", ", look.cell("text", *spec, "family"))),
        ("classes", (look.cell("list", *spec, "class_names"),)),
        ("input", (look.cell("count", *spec, "input", "size_hw", 0), " x ",
                   look.cell("count", *spec, "input", "size_hw", 1), " pixels")),
        ("weights", (look.cell("count", *spec, "parameters"), ", ",
                     look.cell("score", *spec, "gflops"), " GFLOPs")),
    ]  # fmt: skip
    trained = look.value(*at, "source", "trained_with")
    if trained:
        rows.append(("trained with", (look.cell("text", *at, "source", "trained_with"),)))
    if look.value(*at, "source", "metrics"):
        rows.append(("recorded by the training", _named(view, (*at, "source", "metrics"))))
    rows.append(("made with", (look.cell("text", *at, "created_with"),)))
    return Facts(rows)


def _tree(view: View, index: int, bundle: BundleFacts) -> Tree:
    look, at = view.look, ("bundles", index, "document")
    source: _At = (*at, "source")
    root: Line = (
        look.cell("text", *source, "file"), " ", look.cell("hash", *source, "sha256")
    )  # fmt: skip
    lines: list[tuple[int, Line]] = [(0, root)]
    left = dict(enumerate(bundle.document.artifacts))
    lines += _children(view, index, left, bundle.document.source.sha256, 1)
    # What names a parent that is not here is listed too, so that nothing is left out.
    lines += [(1, _artifact(view, index, i, artifact)) for i, artifact in left.items()]
    return Tree(lines)


def _children(
    view: View, index: int, left: dict[int, Artifact], parent: str, depth: int
) -> Iterator[tuple[int, Line]]:
    """What was made from `parent`, each once: a hostile bundle may name parents in a circle."""
    own = [i for i, artifact in left.items() if artifact.parent == parent]
    for i in own:
        artifact = left.pop(i, None)
        if artifact is not None:
            yield depth, _artifact(view, index, i, artifact)
            made = artifact.files[artifact.path]
            yield from _children(view, index, left, made, depth + 1)


def _artifact(view: View, index: int, i: int, artifact: Artifact) -> Line:
    look = view.look
    at: _At = ("bundles", index, "document", "artifacts", i)
    line: Line = (
        look.cell("text", *at, "path"), " ", look.cell("hash", *at, "files", artifact.path)
    )  # fmt: skip
    if artifact.tools:
        line = (*line, " by ", *_named(view, (*at, "tools")))
    if artifact.options:
        line = (*line, "; ", *_named(view, (*at, "options")))
    return line


def _named(view: View, at: _At) -> Line:
    """The names and values of a mapping."""
    line: Line = ()
    for name, value in view.look.value(*at).items():
        form = "any" if not isinstance(value, list | dict) else "text"
        joint: Line = (", ",) if line else ()
        line = (*line, *joint, view.look.key(*at, name), " ", view.look.cell(form, *at, name))
    return line or ("-",)
