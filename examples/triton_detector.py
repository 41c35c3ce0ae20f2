"""A client of the whole detector on a Triton server: image files out, detections back.

    ghost-deploy export out/best --triton models
    tritonserver --model-repository models          # its Python has ghost-deploy[onnxruntime]
    python examples/triton_detector.py server:8001 best_detector image.jpg ...

Needs tritonclient[grpc] and numpy, and nothing of ghost-deploy.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as triton


def detect(client: Any, model: str, files: Sequence[bytes]) -> list[dict[str, Any]]:
    """The detections of each image: boxes, scores, classes, or its error.

    Args:
        client: of the server.
        model: name of the model there.
        files: contents of image files, at most as many as the model's `max_batch_size`.
    """
    images = triton.InferInput("images", [len(files), 1], "BYTES")
    images.set_data_from_numpy(np.array(files, np.object_).reshape(-1, 1))
    answer = client.infer(model, [images], client_timeout=30)
    columns = {name: answer.as_numpy(name) for name in ("boxes", "scores", "classes")}
    results: list[dict[str, Any]] = []
    for row, (count, error) in enumerate(
        zip(answer.as_numpy("count").ravel(), answer.as_numpy("error").ravel(), strict=True)
    ):
        if count < 0:  # this image cannot be used; the others are done
            results.append({"error": error.decode()})
        else:
            results.append({name: column[row, :count] for name, column in columns.items()})
    return results


def main() -> None:
    """Print what is in the images."""
    server, model, *names = sys.argv[1:]
    with triton.InferenceServerClient(server) as client:
        found = detect(client, model, [Path(name).read_bytes() for name in names])
    for name, result in zip(names, found, strict=True):
        print(name, result.get("error", f"{len(result.get('scores', ()))} objects"))


if __name__ == "__main__":
    main()
