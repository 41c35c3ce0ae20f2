"""The lineage of the artifacts, the machine, and the files that were read."""

from __future__ import annotations

from collections.abc import Iterator

from ghost_deploy.core.bundle import Artifact
from ghost_deploy.report.blocks import NOTHING, At, Block, Cell, FactList, Line, Section, Tree
from ghost_deploy.report.report_document import BundleFacts
from ghost_deploy.report.sections.field_table import numbered
from ghost_deploy.report.view import ReportView

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


def machine(view: ReportView) -> Iterator[Section]:
    """The machine of each latency document."""
    for index in range(len(view.report.latency)):
        at: At = ("latency", index, "snapshot")
        rows: list[tuple[str | Cell, Line]] = [
            (words, (view.cell(form, *at, *steps),))
            for words, form, steps in _MACHINE
            if view.value(*at, *steps) not in ("", 0, None, [], ())
        ]
        rows.append(("packages", _named(view, (*at, "packages"))))
        yield Section(numbered("machine", index), ("Machine",), [FactList(rows)])


def lineage(view: ReportView) -> Iterator[Section]:
    """From the checkpoint to each artifact, with hashes and tools."""
    blocks: list[Block] = []
    for index, bundle in enumerate(view.report.bundles):
        blocks += [_model(view, index), _tree(view, index, bundle)]
    if blocks:
        lead: Line = ("Each artifact under what it was built from; hashes are sha256, shortened.",)
        yield Section("lineage", ("Lineage",), blocks, lead)


def files(view: ReportView) -> Iterator[Section]:
    """The source files of the report."""
    rows = [
        (
            view.cell("text", "sources", i, "name"),
            view.line("{kind:text} {sha256:hash}", "sources", i),
        )
        for i in range(len(view.report.sources))
    ]
    if rows:
        yield Section("files", ("Sources",), [FactList(rows)])


def _model(view: ReportView, index: int) -> FactList:
    at: At = ("bundles", index, "document")
    lines = {
        "bundle": "{name:text}",
        "model": "{document/spec/name:text}, {document/spec/family:text}",
        "classes": "{document/spec/class_names:list}",
        "input": "{document/spec/input/size_hw/0:count} x {document/spec/input/size_hw/1:count} "
        "pixels",
        "weights": "{document/spec/parameters:count}, {document/spec/gflops:score} GFLOPs",
    }
    if view.value(*at, "source", "trained_with"):
        lines["trained with"] = "{document/source/trained_with:text}"
    lines["created with"] = "{document/created_with:text}"
    if view.value("bundles", index, "signed_by"):
        lines["signed"] = "{signed_by:list}"
    rows = [(name, view.line(text, "bundles", index)) for name, text in lines.items()]
    if view.value(*at, "source", "metrics"):
        rows.append(("recorded by the training", _named(view, (*at, "source", "metrics"))))
    return FactList(rows)


def _tree(view: ReportView, index: int, bundle: BundleFacts) -> Tree:
    at = ("bundles", index, "document")
    source: At = (*at, "source")
    lines = [(0, view.line("{file:text} {sha256:hash}", *source))]
    left = dict(enumerate(bundle.document.artifacts))
    lines += _children(view, index, left, bundle.document.source.sha256, 1)
    # Artifacts with an unknown parent are listed too, so that nothing is left out.
    lines += [(1, _artifact(view, index, i, artifact)) for i, artifact in left.items()]
    return Tree(lines)


def _children(
    view: ReportView, index: int, left: dict[int, Artifact], parent: str, depth: int
) -> Iterator[tuple[int, Line]]:
    """Artifacts built from `parent`, each once: parents may form a circle."""
    own = [i for i, artifact in left.items() if artifact.parent == parent]
    for i in own:
        artifact = left.pop(i, None)
        if artifact is not None:
            yield depth, _artifact(view, index, i, artifact)
            made = artifact.files[artifact.path]
            yield from _children(view, index, left, made, depth + 1)


def _artifact(view: ReportView, index: int, i: int, artifact: Artifact) -> Line:
    at: At = ("bundles", index, "document", "artifacts", i)
    line: Line = (
        view.cell("text", *at, "path"), " ", view.cell("hash", *at, "files", artifact.path)
    )  # fmt: skip
    if artifact.tools:
        line = (*line, " by ", *_named(view, (*at, "tools")))
    if artifact.options:
        line = (*line, "; ", *_named(view, (*at, "options")))
    return line


def _named(view: ReportView, at: At) -> Line:
    """The names and values of a mapping."""
    line: Line = ()
    for name, value in view.value(*at).items():
        form = "any" if not isinstance(value, list | dict) else "text"
        joint: Line = (", ",) if line else ()
        line = (*line, *joint, view.key(*at, name), " ", view.cell(form, *at, name))
    return line or NOTHING
