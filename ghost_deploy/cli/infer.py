"""`ghost-deploy infer`: detect objects in images, videos and live streams."""

from __future__ import annotations

import argparse

from ghost_deploy.cli import options
from ghost_deploy.cli.console import Console
from ghost_deploy.cli.live_options import add_live_options, refuse_live_options
from ghost_deploy.cli.save_options import add_save_options
from ghost_deploy.cli.server_options import add_server_options
from ghost_deploy.cli.threshold_options import add_thresholds
from ghost_deploy.core.errors import UsageError

DESCRIPTION = """\
Detect objects with a bundle, in images, videos and live streams. Without -o, --jsonl or --show it
prints a summary only. An image that cannot be read is named and left out; the others are done, and
the exit code is 2 (--on-broken stop: nothing is done).

SOURCE is an image, a folder, a glob, a video, a camera (0, /dev/video0, csi://0), rtsp://, http://
(MJPEG, an image that is polled, HLS), rtmp://, udp://, a GStreamer pipeline that ends in
appsink, - (MJPEG on standard input), raw:WxH (BGR images there), or @list.txt with a source a line.
Of a live source the newest frame is taken and the ones between are dropped and counted; a video is
done frame by frame, and lost frames are told. A lost source is opened again, and stops no other.
"""
EXAMPLES = """\
examples:
  ghost-deploy infer out/best image.jpg
  ghost-deploy infer out/best images -o annotated --jsonl detections.jsonl
  ghost-deploy infer out/best 'images/*.png' --runtime ort --precision fp16 --conf 0.4
  ghost-deploy infer out/best images -o labels --save yolo,csv
  ghost-deploy infer out/best images --json | jq .classes
  ghost-deploy infer out/best images --jsonl - | jq '.detections | length'
  ghost-deploy infer out/best drive.mp4 -o annotated --classes person,car
  ghost-deploy infer out/best aerial.tif --slices 640 -o annotated
  ghost-deploy infer out/best rtsp://camera/stream 0 --jsonl out.jsonl --serve 127.0.0.1:8080
  ghost-deploy infer out/best rtsp://camera/stream --save-uncertain hard --budget 200
  ghost-deploy infer out/best images --runtime kserve --url grpc://server:8001/best_onnx-fp32
  ghost-deploy infer out/best @cameras.txt --fps 5 --skip-still --max-age 500 --mqtt mqtt://broker

A live run ends when all its sources are over (0; 1 if more than 1 % of the frames of a video were
lost; 2 if a source failed or results were lost), or on SIGINT (130), SIGTERM (143) or SIGHUP (129):
frames under way are finished, and every file is closed. A full disk stops a sink, not the run;
--keep limits what is kept. docs/streams.md has all of it.

compiled models are kept in $XDG_CACHE_HOME/ghost-deploy (~/.cache/ghost-deploy), which may be
deleted at any time.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    text = "folder that `export` wrote, a checkpoint, or the address of a model on a server"
    options.add_bundle(parser, help=text)
    parser.add_argument(
        "sources", nargs="+", metavar="SOURCE", help="image, folder, glob, video, camera or address"
    )
    runtime = (
        f"{options.runtime_names()}, or {options.runtime_names(remote=True)} (on a server, with "
        "--url); default: auto, the first of the others that is installed, knows the device and "
        "has an artifact"
    )
    precision = (
        "fp32, fp16, bf16 or int8 (default: the most exact there); fastest: the fastest that "
        "ghost-deploy check has verified on this machine"
    )
    options.add_value(parser, "--runtime", "R", runtime, default="auto")
    options.add_value(parser, "--precision", "P", precision)
    parser.add_argument(
        "-o", "--out", metavar="DIR", help="write annotated images there, or videos of live sources"
    )
    add_save_options(parser)
    options.add_value(
        parser, "--jsonl", "FILE", "append one JSON line a frame; - is standard output"
    )
    options.add_switches(parser, {"--show": "show each image until a key press"})
    add_thresholds(parser)
    options.add_slices(parser)
    failed = "run an artifact even if it failed its comparison with the checkpoint"
    unchecked = "do not check an artifact that was never loaded on this machine"
    options.add_switches(parser, {"--no-check": unchecked, "--allow-failed-parity": failed})
    options.add_image_limits(parser)
    options.add_json(parser)
    options.add_log(parser)
    add_live_options(parser)
    options.add_on(parser)
    options.add_run_options(parser)
    add_server_options(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Detect, write and summarize."""
    from ghost_deploy.stream.sources.uri import parse_sources

    if args.json and args.jsonl == "-":
        raise UsageError(
            "--json and --jsonl - both take standard output", fix="Give --jsonl a file"
        )
    sources = parse_sources(args.sources, console.note)
    if all(source.kind == "images" for source in sources):
        refuse_live_options(args)
        from ghost_deploy.cli.infer_images import run_images

        return run_images(args, [source.target for source in sources], console)
    if args.on_broken == "stop":
        raise UsageError(
            "--on-broken stop is for images alone; videos and cameras go on",
            fix="Leave it out",
        )
    from ghost_deploy.cli.live import run_live

    return run_live(args, sources, console)
