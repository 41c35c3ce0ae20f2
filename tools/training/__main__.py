"""Train a network of the zoo on generated scenes or on a YOLO data set.

    python -m tools.training --net yolov8n-ghost --scenes 4000 --size 320 --epochs 16 --out run
    python -m tools.training --net yolov8n-ghost --data data.yaml --size 416 --epochs 200 --out run

Run it from the checkout. The result is `run/model.safetensors`, with its accuracy on the held-out
part. `run/state.pt` is written after each epoch; the same command resumes from it.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path

import torch

from ghost_deploy.checkpoints.loading import load_checkpoint
from ghost_deploy.core.errors import GhostDeployError
from ghost_deploy.models.network import DetectionNet
from ghost_deploy.models.zoo_yaml import build_zoo
from tools.training.loop import train
from tools.training.network import describe_network
from tools.training.options import Options
from tools.training.result import evaluate_net, write_result
from tools.training.samples import Data, read_data
from tools.training.scenes import read_scenes


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return the exit status."""
    args = _parser().parse_args(arguments)
    torch.set_num_threads(args.threads)
    try:
        _run(args)
    except GhostDeployError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _run(args: argparse.Namespace) -> None:
    options = Options(
        net=args.net,
        size=args.size,
        epochs=args.epochs,
        small=args.small,
        init=args.init,
        plain=args.plain,
        batch=args.batch,
        rate=args.rate,
        seed=args.seed,
        zoom=args.zoom,
        any_way_up=args.any_way_up,
    )
    options.check()
    build_zoo(options.net, device="meta")  # a wrong name is refused before scenes are drawn
    args.out.mkdir(parents=True, exist_ok=True)
    data = _data(args)
    _say(data.description)

    def report(epoch: int, mean: DetectionNet) -> None:
        if epoch < options.epochs and epoch % args.judge_every == 0:
            spec = describe_network(mean, options, data.class_names, args.name)
            accuracy = evaluate_net(mean, spec, data.held_out)
            _say(f"after {epoch}: mAP50-95 {accuracy.map50_95:.4f}, mAP50 {accuracy.map50:.4f}")

    mean = train(options, data, args.out / "state.pt", say=_say, after_epoch=report)
    spec = describe_network(mean, options, data.class_names, args.name)
    record = write_result(args.out, mean, spec, data, _history(options, args))
    _say(f"{args.out / 'model.safetensors'}: mAP50-95 {record.map50_95:.4f}")


def _data(args: argparse.Namespace) -> Data:
    if args.data is not None:
        return read_data(args.data, args.size)
    return read_scenes(args.scenes, args.held_out, args.size, args.cache or args.out / "cache")


def _command(options: Options, args: argparse.Namespace) -> str:
    """The command that reproduces the weights on another machine, without folders."""
    words = ["python", "-m", "tools.training", "--net", options.net]
    words += ["--data", args.data.name] if args.data else ["--scenes", str(args.scenes)]
    words += ["--small", str(options.small)] if options.small else []
    for name in ("size", "epochs", "plain", "batch", "rate", "seed", "zoom"):
        words += [f"--{name}", f"{getattr(options, name):g}"]
    words += ["--any-way-up"] * options.any_way_up
    words += ["--init", Path(options.init).name] if options.init else []
    words += ["--threads", str(args.threads)] if args.threads > 1 else []
    return shlex.join(words)


def _history(options: Options, args: argparse.Namespace) -> dict[str, str]:
    """The command, the seed and the origin of the initial weights."""
    facts = {"command": _command(options, args), "seed": str(options.seed)}
    if options.init:
        start = load_checkpoint(options.init).source
        how = start.training.get("command", "") or start.trained_with or "unknown"
        facts["start"] = f"{start.file}, sha256 {start.sha256}, from: {how}"
    return facts


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def _parser() -> argparse.ArgumentParser:
    text = (__doc__ or "").strip()
    parser = argparse.ArgumentParser(
        prog="python -m tools.training",
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--scenes", type=int, metavar="N", help="number of generated training scenes"
    )
    source.add_argument("--data", type=Path, metavar="YAML", help="data set with train and val")
    parser.add_argument("--net", required=True, help="name in the zoo, e.g. yolov8n-ghost")
    parser.add_argument("--name", default="", help="of the result; default: name of the network")
    parser.add_argument("--size", type=int, required=True, help="side of the input, pixels")
    parser.add_argument("--small", type=int, default=0, help="side at the start; default: half")
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--plain", type=int, default=0, help="last epochs without mosaic")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1.5e-3, help="largest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--zoom", type=float, default=0.5, help="largest change of scale")
    parser.add_argument("--init", default="", metavar="FILE", help="checkpoint to start from")
    parser.add_argument(
        "--any-way-up",
        action="store_true",
        help="rotate and flip images without a fixed orientation",
    )
    parser.add_argument("--held-out", type=int, default=400, help="scenes to evaluate on")
    parser.add_argument("--cache", type=Path, help="folder of drawn scenes; default: OUT/cache")
    parser.add_argument("--judge-every", type=int, default=5, metavar="EPOCHS")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    return parser


if __name__ == "__main__":
    sys.exit(main())
