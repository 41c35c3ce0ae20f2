"""TensorRT engines: what they were built from, for which machine, with what result."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from ghost_deploy.core.evidence.build import BuildRecords
from ghost_deploy.report.blocks import At, Block, DocumentView, Line, Section
from ghost_deploy.report.sections.field_table import Field, field_table, notes, numbered
from ghost_deploy.report.view import ReportView

_ENGINES = (
    Field("engine", "", "key"),
    Field("built from", "built_from", "text"),
    Field("route", "route", "text"),
    Field("layers", "precisions", "counts"),
    Field("reformats", "reformats", "count"),
    Field("layers held in a type", "pinned", "count"),
    Field("workspace MiB", "workspace_mib", "count"),
    Field("timing cache", "timing_cache", "text"),
)
_MACHINES = (
    Field("engine", "", "key"),
    Field("TensorRT", "fingerprint/tensorrt", "text"),
    Field("CUDA", "fingerprint/cuda", "text"),
    Field("compute capability", "fingerprint/compute_capability", "text"),
    Field("GPU", "fingerprint/gpu", "text"),
    Field("DLA", "fingerprint/dla", "count"),
    Field("platform", "fingerprint/platform", "text"),
)


def build(view: ReportView) -> Iterator[Section]:
    """A section for each bundle with engines."""
    for index, bundle in enumerate(view.report.bundles):
        if bundle.read(BuildRecords):
            at: At = ("bundles", index, "document", "evidence", BuildRecords.KIND)
            yield build_section(view, at, numbered("build", index))


def build_section(
    view: DocumentView, at: At, name: str, only: Collection[str] | None = None
) -> Section:
    """Show the engines of one document.

    Args:
        view: has the document.
        at: its place there.
        name: anchor of the section.
        only: ids of the engines to show; all when None.
    """
    engines = view.find(*at, "engines") or {}
    places: list[At] = [(*at, "engines", each) for each in engines if only is None or each in only]
    blocks: list[Block] = [field_table(view, places, _ENGINES)]
    blocks.append(field_table(view, places, _MACHINES, caption="The machine that an engine is for"))
    lines: list[Line] = []
    for place in places:
        lines += _dla(view, place)
        lines += [(view.key(*place), ": ", *note) for note in view.listed(*place, "notes")]
    return Section(name, ("TensorRT engines",), [*blocks, *notes(lines)])


def _dla(view: DocumentView, place: At) -> Iterator[Line]:
    """The layers that a DLA core leaves to the GPU."""
    at = (*place, "dla")
    if view.find(*at) is None:
        return
    text = (
        ": of {layers:count} layers {fallbacks:length} fall back from DLA {core:count} to the GPU, "
        "{switches:count} switches"
    )
    yield (view.key(*place), *view.line(text, *at))
    for i in range(len(view.value(*at, "fallbacks"))):
        yield view.line("on the GPU: {name:text} ({type:text})", *at, "fallbacks", i)
