"""Ten everyday tasks, each beside the lines that Ultralytics and supervision take for it.

    python examples/ten_tasks.py best.pt images data.yaml video.mp4

`detector` is `gd.load("out/best")`, a bundle that `gd.export` made (the last task); `model` is
`YOLO("best.onnx")`. The tests run all of this, and compare the numbers of lines.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import cv2

import ghost_deploy as gd


def print_objects(detector: gd.Detector, image: str) -> None:
    """Print what is in an image.

    With Ultralytics:
        result = model(image)[0]
        for box in result.boxes:
            print(result.names[int(box.cls)], float(box.conf), box.xyxy[0].tolist())
    """
    for found in detector(image):
        print(found.name, found.confidence, found.xyxy)


def choose_settings(detector: gd.Detector, image: str) -> gd.Detections:
    """Other thresholds and some classes, for one call.

    With Ultralytics:
        ids = [i for i, name in model.names.items() if name == "WBC"]
        return model(image, conf=0.5, iou=0.6, max_det=20, classes=ids)[0]
    """
    found: gd.Detections = detector(image, conf=0.5, iou=0.6, max_det=20, classes=["WBC"])
    return found


def draw_boxes(detector: gd.Detector, image: str, target: str) -> None:
    """Write the image with boxes and labels.

    With Ultralytics:
        model(image)[0].save(target)
    """
    cv2.imwrite(target, detector(image).draw(image))


def count_in_folder(detector: gd.Detector, folder: str) -> Counter[str]:
    """How many objects of each class a folder shows.

    With Ultralytics:
        counts = Counter()
        for result in model(folder, stream=True):
            counts.update(result.names[int(i)] for i in result.boxes.cls)
        return counts
    """
    return Counter(name for found in detector.detect(folder) for name in found.names)


def select_large(detector: gd.Detector, image: str) -> gd.Detections:
    """The certain and large ones.

    With Ultralytics and supervision:
        detections = sv.Detections.from_ultralytics(model(image)[0])
        return detections[(detections.confidence > 0.5) & (detections.area > 5000)]
    """
    found: gd.Detections = detector(image)
    return found[(found.confidence > 0.5) & (found.area > 5000)]


def write_json(detector: gd.Detector, image: str, target: Path) -> None:
    """Boxes, scores and names for another program.

    With Ultralytics:
        target.write_text(model(image)[0].to_json())
    """
    target.write_text(json.dumps(detector(image).to_dicts()))


def infer_batch(detector: gd.Detector, paths: list[str]) -> list[int]:
    """Several images at once: paths, arrays, PIL images.

    With Ultralytics:
        return [len(result.boxes) for result in model(paths)]
    """
    return [len(found) for found in detector(paths)]


def count_tracked(detector: gd.Detector, video: str) -> int:
    """How many different objects a video shows.

    With Ultralytics:
        ids = set()
        for result in model.track(video, stream=True):
            if result.boxes.id is not None:
                ids.update(result.boxes.id.int().tolist())
        return len(ids)
    """
    ids = set[int]()
    for result in gd.stream(video, detector, track=True):
        ids.update(each.track_id for each in result.detections if each.track_id)
    return len(ids)


def measure_accuracy(bundle: gd.Bundle, data: str) -> float:
    """mAP50-95 of an exported model.

    With Ultralytics:
        return YOLO("best.onnx").val(data=data).box.map
    """
    return max(row.accuracy.map50_95 for row in gd.validate(bundle, data).rows if row.accuracy)


def export_model(checkpoint: str, out: Path) -> gd.Bundle:
    """For ONNX Runtime and OpenVINO.

    With Ultralytics:
        YOLO(checkpoint).export(format="onnx")
        YOLO(checkpoint).export(format="openvino")
    """
    return gd.export(checkpoint, out, formats=["onnx", "openvino"])


def main(checkpoint: str, folder: str, data: str, video: str) -> None:
    """Do all of it."""
    bundle = export_model(checkpoint, Path("out/best"))
    image, *others = map(str, sorted(Path(folder).glob("*.jpg")))
    with gd.load(bundle) as detector:
        print_objects(detector, image)
        print(choose_settings(detector, image), select_large(detector, image))
        draw_boxes(detector, image, "annotated.jpg")
        write_json(detector, image, Path("detections.json"))
        print(count_in_folder(detector, folder), infer_batch(detector, others[:4]))
        print(count_tracked(detector, video), "objects in the video")
    print("mAP50-95", measure_accuracy(bundle, data))


if __name__ == "__main__":
    main(*sys.argv[1:])
