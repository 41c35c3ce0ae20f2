"""Reading where each layer's input comes from, without trusting it."""

from __future__ import annotations

from ghost_deploy.errors import StructureError
from ghost_deploy.models.graph import Route
from ghost_deploy.models.tree import Attribute, ModuleNode

__all__ = ["read_routes", "relative_sources"]

MAX_SOURCES = 64


def read_routes(root: ModuleNode) -> tuple[Route, ...]:
    """The route of every layer, from the attributes `i` and `f` that Ultralytics gives it.

    `f` is one index or a list: negative counts back from the layer itself, others are absolute.

    Raises:
        StructureError: an index is missing, refers to no earlier layer or to one whose output the
            original would not have kept (`save` of the network).
    """
    routes = []
    for index, (name, layer) in enumerate(root.children["model"].children.items()):
        what = f"layer {name} ({layer.class_name})"
        if layer.get("i", index) != index:
            raise _wrong(what, "records another position", layer.get("i"), index)
        source = layer.get("f")
        many = isinstance(source, list)
        sources = source if isinstance(source, list) else [source]
        if not 1 <= len(sources) <= MAX_SOURCES:
            raise _wrong(what, "has an unusable number of inputs", len(sources), "1 to 64")
        absolute = tuple(_absolute(what, index, item) for item in sources)
        routes.append(Route(absolute, many))
    _check_saved(root, routes)
    return tuple(routes)


def relative_sources(index: int, route: Route) -> Attribute:
    """The `f` of a layer at `index`: -1 for the one before it, otherwise absolute."""
    sources: list[Attribute] = [-1 if source == index - 1 else source for source in route.sources]
    return sources if route.many else sources[0]


def _absolute(what: str, index: int, source: Attribute) -> int:
    if type(source) is not int:
        raise _wrong(what, "has an input that is no index", source, "an integer")
    absolute = source + index if source < 0 else source
    # The image itself feeds the first layer only.
    lowest = -1 if index == 0 else 0
    if not lowest <= absolute < max(index, lowest + 1):
        raise _wrong(what, "refers to a layer that is not before it", source, "an earlier layer")
    return absolute


def _check_saved(root: ModuleNode, routes: list[Route]) -> None:
    save = root.get("save")
    if save is None:
        return
    needed = {
        source
        for index, route in enumerate(routes)
        for source in route.sources
        if source != index - 1
    }
    kept = {item for item in save if type(item) is int} if isinstance(save, list) else set()
    if missing := sorted(needed - kept):
        raise _wrong("the network", "does not keep outputs that it uses", save, f"also {missing}")


def _wrong(what: str, problem: str, got: object, expected: object) -> StructureError:
    return StructureError(
        f"{what} {problem}",
        got=f"{got!r:.80}",
        expected=expected,
        fix="The checkpoint contradicts itself: get it again from where it was trained",
    )
