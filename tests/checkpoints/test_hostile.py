"""Attacks in a real checkpoint: refused by an error of ours, and nothing is executed."""

from __future__ import annotations

import io
import os
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ghost_deploy.checkpoints.inspection import inspect_checkpoint
from ghost_deploy.checkpoints.loading import LoadedCheckpoint, load_checkpoint, load_data
from ghost_deploy.checkpoints.records import Call, GlobalRef, PersistentId
from ghost_deploy.checkpoints.user_modules import UserModules
from ghost_deploy.core.errors import (
    CheckpointError,
    CorruptCheckpointError,
    StructureError,
    UnknownClassError,
    UnsafeCheckpointError,
)
from tests.support.assets import needs_assets
from tests.support.forged_checkpoints import (
    archive,
    call,
    changed_checkpoint,
    dumps,
    ghost_pickle,
    ghost_root,
    ghost_storages,
    module_at,
    new,
    part_of,
    tensor_at,
    written,
)

pytestmark = needs_assets

Root = dict[str, Any]
CONV = "model.0.conv"
MARKER = Path("it-ran")


def load(data: bytes) -> LoadedCheckpoint:
    return load_data("forged.pt", data, UserModules())


def system() -> Call:
    return call("posix.system", f"touch {MARKER}")


@pytest.fixture(autouse=True)
def nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Every attack would leave a file in the current folder."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not MARKER.exists()


def state(root: Root, dotted: str) -> dict[str, Any]:
    found: dict[str, Any] = module_at(root, dotted).state
    return found


def in_top_level(root: Root) -> None:
    root["x"] = system()


def in_optimizer(root: Root) -> None:
    root["optimizer"] = {"state": {0: [system()]}}


def in_train_args(root: Root) -> None:
    root["train_args"]["epochs"] = system()


def in_ordered_dict(root: Root) -> None:
    ordered = call("collections.OrderedDict")
    ordered.pairs.append(("x", system()))
    root["x"] = ordered


def in_fork_class(root: Root) -> None:
    layer = module_at(root, "model.2")
    layer.target = GlobalRef("forkpkg.block", "HomeMade")
    layer.state["payload"] = system()


def in_known_class(root: Root) -> None:
    state(root, CONV)["stride"] = system()


def in_child_name(root: Root) -> None:
    part_of(module_at(root, "model.0"), "_modules")["act"] = system()


def in_parameter(root: Root) -> None:
    part_of(module_at(root, CONV), "_parameters")["weight"] = system()


def in_tensor_subclass(root: Root) -> None:
    inner = tensor_at(root, f"{CONV}.weight")
    outer = part_of(module_at(root, CONV), "_parameters")["weight"]
    outer.args = (
        call(
            "torch._utils._rebuild_from_type_v2",
            GlobalRef("torch._utils", "_rebuild_tensor_v2"),
            GlobalRef("evil", "TensorSubclass"),
            inner.args,
            {"payload": system()},
        ),
        *outer.args[1:],
    )


def quiet_tensor_subclass(root: Root) -> None:
    in_tensor_subclass(root)
    outer = part_of(module_at(root, CONV), "_parameters")["weight"]
    outer.args[0].args = (*outer.args[0].args[:3], {})


def in_storage(root: Root) -> None:
    inner = tensor_at(root, f"{CONV}.weight")
    inner.args = (call("torch.storage._load_from_bytes", b"x"), *inner.args[1:])


def in_tensor_hooks(root: Root) -> None:
    inner = tensor_at(root, f"{CONV}.weight")
    hooks = call("collections.OrderedDict")
    hooks.pairs.append((0, GlobalRef("os", "system")))
    inner.args = (*inner.args[:5], hooks)


def in_parameter_state(root: Root) -> None:
    outer = part_of(module_at(root, CONV), "_parameters")["weight"]
    outer.target = GlobalRef("torch._utils", "_rebuild_parameter_with_state")
    outer.args = (*outer.args, {"payload": GlobalRef("os", "system")})


def with_setstate(root: Root) -> None:
    root["x"] = new("random.Random", (3, (1,), None))


def with_build_on_a_value(root: Root) -> None:
    size = call("torch.Size", [1])
    size.state = {"payload": 1}
    root["x"] = size


def with_subprocess(root: Root) -> None:
    root["x"] = Call("new", GlobalRef("subprocess", "Popen"), (["touch", str(MARKER)],))


def with_eval(root: Root) -> None:
    root["x"] = call("builtins.eval", f"open('{MARKER}', 'w')")


def with_python2_eval(root: Root) -> None:
    root["x"] = call("__builtin__.eval", f"open('{MARKER}', 'w')")


def with_getattr_chain(root: Root) -> None:
    root["x"] = call("builtins.getattr", GlobalRef("os", "path"), "system")


def with_getattr_of_class(root: Root) -> None:
    root["x"] = call("builtins.getattr", module_at(root, CONV), "__class__")


def with_getattr_of_nothing(root: Root) -> None:
    root["x"] = call("builtins.getattr")


def with_copyreg(root: Root) -> None:
    root["x"] = call(
        "copyreg._reconstructor", GlobalRef("os", "_wrap_close"), GlobalRef("builtins", "object"), 0
    )


def with_partial(root: Root) -> None:
    root["x"] = call("functools.partial", GlobalRef("os", "system"))


def with_import(root: Root) -> None:
    root["x"] = call("importlib.import_module", "evil")


def with_pip(root: Root) -> None:
    root["x"] = call("ultralytics.utils.checks.check_requirements", "evil")


def with_jit(root: Root) -> None:
    root["x"] = call("torch.jit.load", "evil.pt")


def with_hub(root: Root) -> None:
    root["x"] = call("torch.hub.load", "evil/repository", "x")


def with_numpy_load(root: Root) -> None:
    root["x"] = call("numpy.load", "x.npy", None, True)


def forward_hook(root: Root) -> None:
    hooks = call("collections.OrderedDict")
    hooks.pairs.append((0, GlobalRef("os", "system")))
    state(root, CONV)["_forward_hooks"] = hooks


def forward_hook_in_a_plain_dict(root: Root) -> None:
    state(root, CONV)["_forward_pre_hooks"] = {0: GlobalRef("os", "system")}


def compiled_call(root: Root) -> None:
    state(root, CONV)["_compiled_call_impl"] = GlobalRef("os", "system")


def instance_forward(root: Root) -> None:
    state(root, CONV)["forward"] = GlobalRef("os", "system")


def other_bound_forward(root: Root) -> None:
    owner = module_at(root, "model.1")
    state(root, CONV)["forward"] = call("builtins.getattr", owner, "forward")


def split_forward(root: Root) -> None:
    layer = module_at(root, "model.2")
    layer.state["forward"] = call("builtins.getattr", layer, "forward_split")


def fused_forward_with_batch_norm(root: Root) -> None:
    layer = module_at(root, "model.0")
    layer.state["forward"] = call("builtins.getattr", layer, "forward_fuse")


def forward_of_the_network(root: Root) -> None:
    root["model"].state["forward"] = GlobalRef("os", "system")


def function_attribute(root: Root) -> None:
    state(root, "model.2")["gate"] = GlobalRef("os", "system")


def private_function(root: Root) -> None:
    state(root, "model.2")["_gate"] = GlobalRef("torch.nn.functional", "hardsigmoid")


def unknown_function(root: Root) -> None:
    state(root, "model.2")["gate"] = GlobalRef("torch.nn.functional", "hardsigmoid")


def attribute_over_a_child(root: Root) -> None:
    state(root, "model.0")["conv"] = 1


def hidden_module(root: Root) -> None:
    state(root, "model.0")["extra"] = [module_at(root, "model.1")]


def self_reference(root: Root) -> None:
    layer = module_at(root, "model.2")
    part_of(layer, "_modules")["cv1"] = layer


def exponential_modules(root: Root) -> None:
    part_of(module_at(root, "model.2"), "_modules")["m"] = doubled()


def deep_modules(root: Root) -> None:
    node = module_at(root, "model.2.m")
    for _ in range(100):
        node = new(
            "torch.nn.modules.container.Sequential",
            {"_parameters": {}, "_buffers": {}, "_modules": {"0": node}},
        )
    part_of(module_at(root, "model.2"), "_modules")["m"] = node


def billion_laughs(root: Root) -> None:
    state(root, "model.2")["lol"] = laughs()


def billion_laughs_in_yaml(root: Root) -> None:
    root["model"].state["yaml"]["lol"] = laughs()


def list_in_itself(root: Root) -> None:
    knot: list[Any] = []
    knot.append(knot)
    state(root, "model.2")["knot"] = knot


def dict_in_itself(root: Root) -> None:
    knot: dict[str, Any] = {}
    knot["knot"] = knot
    root["train_metrics"] = knot


def overlapping_views(root: Root) -> None:
    """Few bytes seen by many tensors."""
    whole = tensor_at(root, "model.8.cv3.conv.weight")
    outer = part_of(module_at(root, "model.8.cv3.conv"), "_parameters")["weight"]
    for number in range(4000):
        view = Call("reduce", whole.target, (whole.args[0], number % 7, (16000,), (1,), False))
        view.args = (*view.args, call("collections.OrderedDict"))
        view.args = (view.args[0], number, *view.args[2:])
        parameter = Call("reduce", outer.target, (view, False, call("collections.OrderedDict")))
        part_of(module_at(root, CONV), "_parameters")[f"w{number}"] = parameter


UNSAFE: dict[Callable[[Root], None], str] = {
    in_top_level: r"posix\.system",
    in_optimizer: r"posix\.system",
    in_train_args: r"posix\.system",
    in_ordered_dict: r"posix\.system",
    in_fork_class: r"posix\.system",
    in_known_class: r"posix\.system",
    in_child_name: r"posix\.system",
    in_parameter: r"posix\.system",
    in_tensor_subclass: r"_rebuild_from_type_v2|posix\.system",
    quiet_tensor_subclass: "_rebuild_from_type_v2",
    in_storage: "_load_from_bytes",
    in_tensor_hooks: "hooks",
    in_parameter_state: "attributes of its own",
    with_setstate: r"random\.Random",
    with_build_on_a_value: r"torch\.Size",
    with_subprocess: r"subprocess\.Popen",
    with_eval: r"builtins\.eval",
    with_python2_eval: r"builtins\.eval",
    with_getattr_chain: r"'system' of os\.path",
    with_getattr_of_class: "__class__",
    with_getattr_of_nothing: "take nothing of nothing",
    with_copyreg: r"copyreg\._reconstructor",
    with_partial: r"functools\.partial",
    with_import: r"importlib\.import_module",
    with_pip: "check_requirements",
    with_jit: r"torch\.jit\.load",
    with_hub: r"torch\.hub\.load",
    with_numpy_load: r"numpy\.load",
    forward_hook: r"model\.0\.conv\._forward_hooks",
    forward_hook_in_a_plain_dict: r"model\.0\.conv\._forward_pre_hooks",
    compiled_call: "_compiled_call_impl",
    instance_forward: r"model\.0\.conv\.forward",
    other_bound_forward: r"model\.0\.conv\.forward",
    split_forward: r"model\.2\.forward",
    fused_forward_with_batch_norm: r"model\.0\.forward",
    forward_of_the_network: "forward replaces",
    function_attribute: r"holds os\.system",
    private_function: r"_gate holds torch\.nn\.functional\.hardsigmoid",
    attribute_over_a_child: r"model\.0\.conv hides",
    hidden_module: r"model\.0\.extra",
    self_reference: "within itself",
    exponential_modules: "more modules",
    deep_modules: "within itself",
    billion_laughs: "more values|deeper",
    billion_laughs_in_yaml: "more values|deeper",
    list_in_itself: "deeper nesting",
    dict_in_itself: "deeper nesting",
    overlapping_views: "more bytes than the file has",
}


@pytest.mark.parametrize(
    ("attack", "message"), UNSAFE.items(), ids=[attack.__name__ for attack in UNSAFE]
)
def test_an_attack_is_refused(attack: Callable[[Root], None], message: str) -> None:
    with pytest.raises(UnsafeCheckpointError, match=message) as caught:
        load(changed_checkpoint(attack))
    assert caught.value.fix


@pytest.mark.parametrize(
    "attack",
    [in_fork_class, in_tensor_subclass, with_getattr_of_nothing, instance_forward, self_reference],
)
def test_an_attack_is_described(attack: Callable[[Root], None], tmp_path: Path) -> None:
    seen = inspect_checkpoint(written(tmp_path, changed_checkpoint(attack)))
    assert not seen.exportable
    assert seen.problems
    assert "torch.HalfStorage" in seen.names
    assert "ultralytics.nn.modules.head.Detect" in [use.path for use in seen.classes]


def names(value: Any) -> Callable[[Root], None]:
    def change(root: Root) -> None:
        root["model"].state["names"] = value

    change.__name__ = f"names_{len(str(value))}"
    return change


def rename(path: str) -> Callable[[Root], None]:
    def change(root: Root) -> None:
        module, _, name = path.rpartition(".")
        module_at(root, "model.2").target = GlobalRef(module, name)

    return change


def retensor(*fields: tuple[int, Any], at: str = f"{CONV}.weight") -> Callable[[Root], None]:
    """Replace arguments of a tensor record: 0 storage, 1 offset, 2 shape, 3 stride."""

    def change(root: Root) -> None:
        inner = tensor_at(root, at)
        args = list(inner.args)
        for index, value in fields:
            args[index] = value
        inner.args = tuple(args)

    return change


def storage(kind: str = "HalfStorage", key: str = "0", count: int = 432) -> PersistentId:
    return PersistentId(("storage", GlobalRef("torch", kind), key, "cpu", count))


def conv(**attributes: Any) -> Callable[[Root], None]:
    def change(root: Root) -> None:
        state(root, CONV).update(attributes)

    return change


def head(**attributes: Any) -> Callable[[Root], None]:
    def change(root: Root) -> None:
        state(root, "model.22").update(attributes)

    return change


def layer(number: int, **attributes: Any) -> Callable[[Root], None]:
    def change(root: Root) -> None:
        state(root, f"model.{number}").update(attributes)

    return change


def drop(dotted: str, part: str = "_modules") -> Callable[[Root], None]:
    def change(root: Root) -> None:
        owner, _, name = dotted.rpartition(".")
        del part_of(module_at(root, owner), part)[name]

    return change


def top(**values: Any) -> Callable[[Root], None]:
    def change(root: Root) -> None:
        root.update(values)

    return change


def task(root: Root) -> None:
    root["train_args"]["task"] = "segment"


def pose_head(root: Root) -> None:
    module_at(root, "model.22").target = GlobalRef("ultralytics.nn.modules.head", "Pose")


def yolov5_segment(root: Root) -> None:
    root["model"].target = GlobalRef("models.yolo", "SegmentationModel")


def yolov9(root: Root) -> None:
    """Its head has a second pair of branches, for training alone."""
    root["model"].target = GlobalRef("models.yolo", "DetectionModel")
    head = module_at(root, "model.22")
    head.target = GlobalRef("models.yolo", "DualDDetect")
    children = part_of(head, "_modules")
    children["cv4"], children["cv5"] = children["cv2"], children["cv3"]


def classifier(root: Root) -> None:
    """What a classification checkpoint holds beside another root: members of an enumeration."""
    root["model"].target = GlobalRef("ultralytics.nn.tasks", "ClassificationModel")
    member = call("torchvision.transforms.functional.InterpolationMode", "bilinear")
    root["model"].state["transforms"] = new(
        "torchvision.transforms.transforms.Compose", {"transforms": [member]}
    )


def layers_alone(root: Root) -> None:
    root["model"] = part_of(root["model"], "_modules")["model"]


def deep_key(root: Root) -> None:
    nest: Any = ()
    for _ in range(50):
        nest = (nest,)
    state(root, CONV)["kernel_size"] = nest


def module_is_text(root: Root) -> None:
    part_of(module_at(root, "model.0"), "_modules")["conv"] = "conv"


def modules_are_a_list(root: Root) -> None:
    state(root, "model.0")["_modules"] = [1, 2]


def dotted_child(root: Root) -> None:
    children = part_of(module_at(root, "model.0"), "_modules")
    children["a.b"] = children["act"]


def weights_only(root: Root) -> None:
    weights = part_of(module_at(root, CONV), "_parameters")
    root.clear()
    root["model"] = {"model.0.conv.weight": weights["weight"]}


REFUSED: dict[str, tuple[Callable[[Root], None], type[CheckpointError], str]] = {
    "two names": (names({0: "a", 1: "b"}), StructureError, "2 class names"),
    "four names": (names(["a", "b", "c", "d"]), StructureError, "4 class names"),
    "no names": (names({}), StructureError, "class names"),
    "names from 1": (names({1: "a", 2: "b", 3: "c"}), StructureError, "class numbers"),
    "names by text": (names({"0": "a", "1": "b", "2": "c"}), StructureError, "no integers"),
    "a name that is a number": (names({0: "a", 1: 2, 2: "c"}), StructureError, "class 1 = 2"),
    "a name that is a call": (names({0: "a", 1: call("torch.Size", [1]), 2: "c"}), StructureError,
                              "a call of torch.Size"),
    "a deep name": (names({0: "a", 1: ((((),),),), 2: "c"}), StructureError, "a tuple"),
    "a name with a control": (names({0: "a", 1: "b\x1b[2J", 2: "c"}), StructureError, "printable"),
    "a blank name": (names({0: "a", 1: "  ", 2: "c"}), StructureError, "printable"),
    "a long name": (names({0: "a", 1: "b" * 200, 2: "c"}), StructureError, "200 characters"),
    "names are a number": (names(3), StructureError, "class names"),
    "an unknown class": (rename("forkpkg.HomeMade"), UnknownClassError, "forkpkg.HomeMade"),
    "a wrong class": (rename("ultralytics.nn.modules.conv.Conv"), StructureError, "model.2"),
    "a torch class": (rename("torch.nn.modules.conv.Conv2d"), StructureError, "model.2"),
    "a torch class we lack": (rename("torch.nn.modules.rnn.LSTM"), UnknownClassError, "LSTM"),
    "a huge storage": (retensor((0, storage(count=2**40))), CorruptCheckpointError, "declares"),
    "a short storage": (retensor((0, storage(count=431))), CorruptCheckpointError, "declares"),
    "a negative storage": (retensor((0, storage(count=-1))), CorruptCheckpointError, "declares"),
    "another dtype": (retensor((0, storage("FloatStorage"))), CorruptCheckpointError, "declares"),
    "an unknown dtype": (retensor((0, storage("QInt8Storage"))), CorruptCheckpointError, "QInt8"),
    "an integer dtype": (
        retensor((0, storage("ShortStorage"))), CorruptCheckpointError, "unusable type"),
    "a missing storage": (retensor((0, storage(key="999"))), CorruptCheckpointError, "missing"),
    "a deep storage key": (
        retensor((0, PersistentId(("storage", GlobalRef("torch", "HalfStorage"), ((),), "", 1)))),
        CorruptCheckpointError, "missing"),
    "no storage": (retensor((0, 5)), CorruptCheckpointError, "no storage"),
    "a strange persistent id": (
        retensor((0, PersistentId("x"))), CorruptCheckpointError, "no storage"),
    "a huge shape": (retensor((2, (2**30, 2**30, 1, 1))), CorruptCheckpointError, "does not fit"),
    "a negative shape": (retensor((2, (-16, 3, 3, 3))), CorruptCheckpointError, "no sizes"),
    "a shape of text": (retensor((2, ("a",))), CorruptCheckpointError, "no sizes"),
    "too many dimensions": (
        retensor((2, (1,) * 20), (3, (1,) * 20)), CorruptCheckpointError, "no sizes"),
    "negative strides": (retensor((3, (-27, 9, 3, 1))), CorruptCheckpointError, "no sizes"),
    "overlapping strides": (retensor((3, (0, 9, 3, 1))), CorruptCheckpointError, "strides"),
    "strides with gaps": (retensor((3, (54, 18, 6, 2))), CorruptCheckpointError, "strides"),
    "strides of another rank": (retensor((3, (27, 9, 3))), CorruptCheckpointError, "strides"),
    "an offset beyond": (retensor((1, 1)), CorruptCheckpointError, "does not fit"),
    "a negative offset": (retensor((1, -1)), CorruptCheckpointError, "does not fit"),
    "another shape": (
        retensor((2, (8, 6, 3, 3)), (3, (54, 9, 3, 1))), StructureError, r"model\.0"),
    "a tensor of an odd form": (retensor((5, None)), CheckpointError, "hooks|unknown way"),
    "conv channels": (conv(in_channels=4), StructureError, r"model\.0"),
    "conv kernel": (conv(kernel_size=(5, 5)), StructureError, r"model\.0"),
    "conv groups": (conv(groups=0), StructureError, r"model\.0"),
    "conv stride of text": (conv(stride="2"), StructureError, r"model\.0"),
    "conv padding huge": (conv(padding=(10**9, 10**9)), StructureError, r"model\.0"),
    "an unknown function": (unknown_function, StructureError, r"model\.2"),
    "a deep attribute": (deep_key, StructureError, r"model\.0"),
    "head classes": (head(nc=4), StructureError, "model.22"),
    "head bins": (head(reg_max=8), StructureError, "model.22"),
    "head levels": (head(nl=2), StructureError, "model.22"),
    "head inputs": (head(f=[15, 18]), StructureError, "head"),
    "a layer from the future": (layer(3, f=20), StructureError, "layer 3"),
    "a layer from nowhere": (layer(3, f="x"), StructureError, "layer 3"),
    "no conv": (drop("model.0.conv"), StructureError, "model.0"),
    "no weight": (drop(f"{CONV}.weight", "_parameters"), StructureError, "model.0"),
    "no batch norm mean": (drop("model.0.bn.running_mean", "_buffers"), StructureError, "model.0"),
    "no layer 5": (drop("model.5"), StructureError, "numbered"),
    "a module of text": (module_is_text, StructureError, "is not a module"),
    "a list of modules": (modules_are_a_list, StructureError, "_modules of model.0"),
    "a dotted child": (dotted_child, StructureError, "_modules of model.0"),
    "weights alone": (weights_only, StructureError, "state_dict"),
    "no model": (top(model=None), StructureError, "no network"),
    "a model of text": (top(model="yolov8n.pt"), StructureError, "no network"),
    "another task": (task, CheckpointError, "segment"),
    "a classifier": (classifier, CheckpointError, "another task: got classify"),
    "layers alone": (layers_alone, StructureError, "a pickled Sequential"),
    "a pose head": (pose_head, CheckpointError, "pose"),
    "YOLOv5 segmentation": (yolov5_segment, CheckpointError, "segment"),
    "YOLOv9": (yolov9, StructureError, "DualDDetect"),
    "fake quantization": (top(modelopt={"a": 1}), CheckpointError, "fake quantization"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused(
    case: tuple[Callable[[Root], None], type[CheckpointError], str],
) -> None:
    change, kind, message = case
    with pytest.raises(kind, match=message) as caught:
        load(changed_checkpoint(change))
    assert caught.value.fix


def halves(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}e", *values)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused_by_name(value: float) -> None:
    broken = halves(value) + ghost_storages()["0"][2:]
    data = archive(ghost_pickle(), {**ghost_storages(), "0": broken})
    with pytest.raises(CorruptCheckpointError, match=r"model\.0\.conv\.weight .* not finite"):
        load(data)


def test_a_negative_variance_is_refused_by_name() -> None:
    record = tensor_at(ghost_root(), "model.0.bn.running_var", "_buffers")
    key = record.args[0].value[2]
    broken = halves(*[-1.0] * (len(ghost_storages()[key]) // 2))
    data = archive(ghost_pickle(), {**ghost_storages(), key: broken})
    with pytest.raises(CorruptCheckpointError, match=r"model\.0\.bn\.running_var has negative"):
        load(data)


def small_network(attributes: dict[str, Any], child: Call | None = None) -> bytes:
    """A file of a few kilobytes with a network of nothing."""
    parts: dict[str, Any] = {"_parameters": {}, "_buffers": {}, "_modules": {"model": child}}
    network = new("ultralytics.nn.tasks.DetectionModel", {**attributes, **parts})
    network.state["names"] = ["a"]
    return archive(dumps({"model": network}))


def doubled() -> Call:
    parts: dict[str, Any] = {"_parameters": {}, "_buffers": {}}
    node = new("torch.nn.modules.container.Sequential", {**parts, "_modules": {}})
    for _ in range(40):
        children = {"0": node, "1": node}
        node = new("torch.nn.modules.container.Sequential", {**parts, "_modules": children})
    return node


def laughs() -> list[Any]:
    lol: list[Any] = ["lol"]
    for _ in range(40):
        lol = [lol] * 10
    return lol


@pytest.mark.parametrize(
    "data", [small_network({}, doubled()), small_network({"lol": laughs()})], ids=["modules", "lol"]
)
def test_what_unfolds_costs_no_memory(data: bytes) -> None:
    assert len(data) < 10_000
    tracemalloc.start()
    try:
        with pytest.raises(UnsafeCheckpointError, match=r"too large|exceeds a limit"):
            load(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50 << 20


class Hostile(torch.nn.Module):
    def __reduce__(self) -> Any:
        return os.system, (f"touch {MARKER}",)


def test_a_hostile_file_by_torch_itself(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"model": Hostile()}, buffer)
    path = written(tmp_path, buffer.getvalue())
    with pytest.raises(UnsafeCheckpointError, match=r"posix\.system"):
        load_checkpoint(path)
    torch.load(path, weights_only=False)
    assert MARKER.exists(), "the payload is one that would have run"
    MARKER.unlink()
