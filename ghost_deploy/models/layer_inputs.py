"""The inputs of the layers: reading and checking their indices."""

from __future__ import annotations

from ghost_deploy.core.errors import StructureError
from ghost_deploy.models.network import BACKBONE_PLACES, LayerInput
from ghost_deploy.models.tree import Attribute, ModuleNode

MAX_SOURCES = 64


def read_layer_inputs(root: ModuleNode) -> tuple[LayerInput, ...]:
    """Read the input of each layer from Ultralytics' attributes `i` and `f`.

    `f` is an index or a list: negative indices are relative to the layer, others absolute. With a
    whole backbone as first layer, indices are the places described in `DetectionNet`.

    Raises:
        StructureError: an index is missing, does not refer to an earlier layer, or refers to one
            whose output the original does not keep (`save` of the network).
    """
    layer_inputs = []
    layers = root.children["model"].children
    offset = BACKBONE_PLACES - 1 if layers["0"].get("backbone") is True else 0
    for place, (name, layer) in enumerate(layers.items(), offset):
        what = f"layer {name} ({layer.class_name})"
        if layer.get("i", place) != place:
            raise _wrong(what, "records another position", layer.get("i"), place)
        source = layer.get("f")
        many = isinstance(source, list)
        sources = source if isinstance(source, list) else [source]
        if not 1 <= len(sources) <= MAX_SOURCES:
            raise _wrong(what, "has an unusable number of inputs", len(sources), "1 to 64")
        absolute = tuple(_absolute(what, place, item, place == offset) for item in sources)
        layer_inputs.append(LayerInput(absolute, many))
    _check_saved(root, layer_inputs, offset)
    return tuple(layer_inputs)


def relative_sources(place: int, route: LayerInput) -> Attribute:
    """Return the `f` of a layer at `place`: -1 for the layer before it, otherwise absolute."""
    first = -1 in route.sources
    sources: list[Attribute] = [
        -1 if first or source == place - 1 else source for source in route.sources
    ]
    return sources if route.many else sources[0]


def _absolute(what: str, place: int, source: Attribute, is_first: bool) -> int:
    if type(source) is not int:
        raise _wrong(what, "has an input that is no index", source, "an integer")
    # The image is the only input of the first layer, and of no other.
    if is_first and source == -1:
        return -1
    absolute = source + place if source < 0 else source
    if is_first or not 0 <= absolute < place:
        raise _wrong(what, "refers to a layer that is not before it", source, "an earlier layer")
    return absolute


def _check_saved(root: ModuleNode, layer_inputs: list[LayerInput], offset: int) -> None:
    save = root.get("save")
    if save is None:
        return
    needed = {
        source
        for place, route in enumerate(layer_inputs[1:], offset + 1)
        for source in route.sources
        if source != place - 1
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
