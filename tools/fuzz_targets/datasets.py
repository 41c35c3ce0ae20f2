"""Labelled data sets."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import msgspec

from tools.fuzz_targets.target import SIDE, Target, small_scene


class _DataSetTarget(Target):
    """A labelled data set of two images."""

    def make(self) -> Sequence[bytes]:
        for split in ("images", "labels"):
            (self.folder / split).mkdir()
        for index in range(2):
            cv2.imwrite(str(self.folder / "images" / f"{index}.png"), small_scene(index))
            label = self.folder / "labels" / f"{index}.txt"
            label.write_text("0 0.5 0.5 0.2 0.2\n1 0.2 0.2 0.1 0.1\n")
        return self.documents()

    def documents(self) -> Sequence[bytes]:
        """The valid descriptions."""
        raise NotImplementedError

    def _open(self, file: str) -> object:
        from ghost_deploy.judge.datasets.open_dataset import open_dataset

        return len(open_dataset(self.folder / file, skip_broken=True).images)


class DataYamlTarget(_DataSetTarget):
    """`data.yaml` of the YOLO form."""

    name = "data-yaml"
    tokens = (
        b"&a ",
        b"*a",
        b"!!int x",
        b"!!float .inf",
        b"2024-02-30",
        b"{",
        b"[",
        b"- ",
        b": ",
        b"\t",
        b"!!binary x",
        b"? ",
        b"|\n",
        b">\n",
        b"---\n",
        b"<<: *a",
        b"9" * 5000,
        b"[" * 300,
        b"!!set",
        b"!!python/object/apply:os.system [id]",
        b"\xef\xbb\xbf",
        b"\x00",
        b"\n",
        b"names:",
        b"path:",
        b"0x_",
        b"1:2:3",
        b"..",
        b"/",
        b"~",
        b"%YAML 9.9\n",
        b"\xff\xfe",
    )

    def documents(self) -> Sequence[bytes]:
        return [
            b"path: .\nval: images\nnames: [a, b]\n",
            b"path: .\nval: [images]\nnames: {0: a, 1: b}\nnc: 2\ndownload: null\n",
        ]

    def run(self, data: bytes) -> object:
        (self.folder / "data.yaml").write_bytes(data)
        return self._open("data.yaml")


class LabelsTarget(_DataSetTarget):
    """A label file of the YOLO form."""

    name = "labels"
    tokens = (
        b"nan ",
        b"inf ",
        b"1e999 ",
        b"-",
        b"0x1 ",
        b"9" * 400,
        b"\n",
        b"\x00",
        b"\xff",
        b"1 ",
    )

    def documents(self) -> Sequence[bytes]:
        (self.folder / "data.yaml").write_bytes(b"path: .\nval: images\nnames: [a, b]\n")
        return [b"0 0.5 0.5 0.2 0.2\n1 0.2 0.2 0.1 0.1\n", b"0 0.1 0.1 0.5 0.1 0.5 0.5\n", b""]

    def run(self, data: bytes) -> object:
        (self.folder / "labels" / "0.txt").write_bytes(data)
        return self._open("data.yaml")


class CocoTarget(_DataSetTarget):
    """Labels of the COCO form."""

    name = "coco"
    is_json = True

    def documents(self) -> Sequence[bytes]:
        images = [
            {"id": i, "file_name": f"{i}.png", "width": SIDE, "height": SIDE} for i in range(2)
        ]
        notes = [
            {"id": 1, "image_id": 0, "category_id": 3, "bbox": [4, 5, 10, 12.5], "iscrowd": 0},
            {"id": 2, "image_id": 1, "category_id": 7, "bbox": [0, 0, 64, 64], "area": 4096},
        ]
        categories = [{"id": 3, "name": "a"}, {"id": 7, "name": "b"}]
        document = {"images": images, "annotations": notes, "categories": categories}
        return [msgspec.json.encode(document)]

    def run(self, data: bytes) -> object:
        (self.folder / "labels.json").write_bytes(data)
        return self._open("labels.json")
