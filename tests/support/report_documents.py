"""Documents for tests: every field filled, hostile names, any number of runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Literal

import cv2
import numpy as np

from ghost_deploy.core.bundle import Artifact, BundleDocument, Source
from ghost_deploy.core.evidence.accuracy import (
    Accuracy,
    AccuracyReport,
    AccuracyRow,
    ClassAccuracy,
    ClassDelta,
    DatasetFacts,
    Interval,
    Reference,
)
from ghost_deploy.core.evidence.compared_images import ComparedImage, ParityBasis
from ghost_deploy.core.evidence.latency import (
    BenchReport,
    BenchRow,
    ImagesUsed,
    LatencyFigures,
    Obtained,
    RunConfig,
    Settings,
)
from ghost_deploy.core.evidence.machine import Machine, PowerFigures, Snapshot
from ghost_deploy.core.evidence.parity import (
    Attribution,
    DetectionFigures,
    ParityReport,
    ParityRow,
    Spread,
    TensorFigures,
)
from ghost_deploy.core.evidence.shown_boxes import HardImage, ShownBox
from ghost_deploy.core.evidence.threshold_report import (
    ClassThreshold,
    ScoreRange,
    ThresholdReport,
)
from ghost_deploy.core.spec import HeadSpec, InputSpec, ModelSpec, Thresholds
from ghost_deploy.core.thresholds import ChosenThresholds
from ghost_deploy.judge.accuracy.recorded import Recorded
from ghost_deploy.judge.bench.ratios import compared
from ghost_deploy.judge.bench.statistics import summarize
from ghost_deploy.judge.parity.gate import GATES
from ghost_deploy.report.assemble import assemble
from ghost_deploy.report.material import Material
from ghost_deploy.report.report_document import BundleFacts, Report, SourceFile
from tests.support.stored_evidence import as_json

HOSTILE = "<script>alert(1)</script>"
NAMES = (HOSTILE, '"><img src=x onerror=alert(2)>', "{{ 7*7 }} | `x` http://evil.example/")
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)

Status = Literal["passed", "failed", "skipped", "reference"]


@dataclass(frozen=True)
class Run:
    """One thing that was run: `ms` is its time, `delta` what it lost in points."""

    runtime: str = "ort"
    precision: str = "fp32"
    form: str = ""
    ms: float = 20.0
    delta: float = 0.0
    interval: tuple[float, float] = (-0.02, 0.03)
    accuracy: Status | None = "passed"
    parity: Literal["passed", "failed", "skipped"] | None = "passed"
    timed: Literal["measured", "skipped", "failed"] | None = "measured"
    subject: str = "ghost"
    baseline: bool = False
    walks: bool = True
    batch: int = 1
    power: bool = False

    @property
    def format(self) -> str:
        return {"ort": "onnx", "openvino": "openvino"}.get(self.runtime, self.runtime)

    @property
    def artifact(self) -> str:
        return "-".join(filter(None, (self.format, self.precision, self.form)))

    @property
    def sha256(self) -> str:
        return f"{abs(hash((self.subject, self.artifact))):x}".ljust(64, "0")[:64]


USUAL = (
    Run("ort", "fp32", ms=20.0),
    Run("ort", "fp16", ms=22.0, delta=-0.013),
    Run("openvino", "fp32", ms=12.0),
    Run("openvino", "bf16", ms=9.0, parity="skipped", accuracy="skipped", timed="skipped"),
    Run("openvino", "fp16", ms=9.5, delta=-0.031, interval=(-0.12, 0.04)),
    Run("ort", "int8", form="ort-x86", ms=8.0, delta=-1.62, accuracy="failed"),
)


def material(
    runs: Sequence[Run] = USUAL,
    names: Sequence[str] = NAMES,
    *,
    samples: int = 40,
    images: int = 2,
    parity: bool = True,
    accuracy: bool = True,
    latency: bool = True,
) -> Material:
    """What would be read of those runs, without the kinds that are False."""
    found = Material()
    if accuracy:
        found.accuracy.append(accuracy_report(runs, names, images))
    if parity:
        found.parity.append(parity_report(runs))
    if latency:
        found.latency.append(bench_report(runs, samples))
    found.bundles.append(bundle_facts(runs, names))
    found.sources.append(SourceFile(name=f"a {HOSTILE}.json", kind="accuracy", sha256="ab" * 32))
    return found


def make_report(runs: Sequence[Run] = USUAL, names: Sequence[str] = NAMES, **given: int) -> Report:
    """The report of those runs."""
    return assemble(material(runs, names, **given), now=NOW)  # type: ignore[arg-type]


def bench_report(runs: Sequence[Run], samples: int = 40) -> BenchReport:
    rows = [_bench_row(run, samples) for run in runs if run.timed]
    return BenchReport(
        rows=tuple(compared(rows)),
        images=ImagesUsed(source=f"images {HOSTILE}", count=8),
        settings=Settings(duration_s=2.5, rounds=4),
        snapshot=Snapshot(
            measured_at="2026-01-02T03:04:05+00:00",
            machine=Machine(
                system="Linux 6.1",
                architecture="x86_64",
                cpus=2,
                cpu=f"CPU 9000 {HOSTILE}",
                cpu_flags=("avx2", "avx512_vnni"),
                memory_bytes=17_179_869_184,
                nvidia_gpus=("GPU 4",),
            ),
            cpu_quota=0,
            governors=("performance",),
            load_before=0.25,
            power_mode="15W",
            packages={"numpy": "2.4.6", HOSTILE: "1"},
        ),
        warnings=("the machine is noisy: 12%",),
    )


def _bench_row(run: Run, samples: int) -> BenchRow:
    rng = np.random.default_rng(round(1000 * run.ms))
    parts = {"decode": 0.06, "pre": 0.05, "run": 0.85, "post": 0.04}
    rounds = [
        {
            name: run.ms * share * rng.gamma(40, 1 / 40, samples // 4)
            for name, share in parts.items()
        }
        for _ in range(4)
    ]
    times = {name: [each[name].tolist() for each in rounds] for name in parts if run.walks}
    if run.walks:
        times["end_to_end"] = [sum(each.values()).tolist() for each in rounds]
    times["run_alone"] = [each["run"].tolist() for each in rounds]
    rates = [1000 / run.ms * float(rng.uniform(0.98, 1.02)) for _ in rounds]
    power = PowerFigures(
        samples=12, watts=8.125, joules_per_image=0.075, gpu_load=41.0, temperature_c=51.5
    )
    figures = LatencyFigures(
        stages={name: summarize([t for r in given for t in r]) for name, given in times.items()},
        throughput=1000 / run.ms if run.walks else None,
        run_throughput=1200 / run.ms,
        spread=0.031,
        cpu_cores=1.87,
        load_ms=240.4,
        first_run_ms=31.25,
        start_bytes=90 << 20,
        peak_bytes=190 << 20,
        samples=times,
        rates=rates if run.walks else [],
        run_rates=rates,
        power=power if run.power else None,
    )
    obtained = Obtained(
        device="cpu", version="1.2.3", precision=run.precision, compute="f32", threads=2,
        notes=(f"note of 1 {HOSTILE}",),
    )  # fmt: skip
    done = run.timed == "measured"
    return BenchRow(
        subject=run.subject,
        baseline=run.baseline,
        artifact=run.artifact,
        sha256=run.sha256,
        bytes=3_500_000,
        model=run.subject,
        family="yolov8-ghost",
        config=RunConfig(runtime=run.runtime, precision=run.precision, batch=run.batch),
        status=run.timed or "skipped",
        reason="" if done else "this CPU has no bf16 arithmetic",
        obtained=obtained if done else None,
        figures=figures if done else None,
    )


def _accuracy(level: float, names: Sequence[str]) -> Accuracy:
    recall = np.linspace(0, 1, 101)
    return Accuracy(
        protocol="COCO (pycocotools 2.0.11): conf 0.001",
        images=24,
        boxes=312,
        map50_95=level,
        map50=min(1.0, level + 0.25),
        map75=level,
        recall=level + 0.1,
        classes=tuple(
            ClassAccuracy(
                name=name,
                boxes=100 + k,
                ap50_95=level + 0.001 * k,
                ap50=level + 0.2,
                recall=0.7,
                curve=tuple(np.round(1 - (1 - level) * recall ** (k % 5 + 1), 4).tolist()),
            )
            for k, name in enumerate(names)
        ),
    )


def accuracy_report(
    runs: Sequence[Run], names: Sequence[str] = NAMES, images: int = 2, level: float = 0.6123
) -> AccuracyReport:
    rows = [_accuracy_row(run, names, level) for run in runs if run.accuracy]
    return AccuracyReport(
        model="ghost",
        checkpoint=f"best {HOSTILE}.pt",
        checkpoint_sha256="cd" * 32,
        data=DatasetFacts(
            name=f"data {HOSTILE}.yaml",
            form="yolo",
            split="val",
            images=24,
            negatives=3,
            boxes=dict.fromkeys(names, 100),
            crowds=1,
            fingerprint="ef" * 32,
            notes=("2 broken labels left out",),
        ),
        reference=Reference(
            name="eager (PyTorch 2.13.0) in fp32",
            kind="checkpoint",
            accuracy=_accuracy(level, names),
        ),
        rows=tuple(rows),
        resamples=500,
        confidence=0.95,
        recorded=Recorded(
            recorded=0.62, measured=0.61, protocol="p", tolerance=0.5, agrees=True,
            sentence="agrees with the training: 0.62",
        ),
        tools={"numpy": "2.4.6"},
        conf=0.25,
        hard_images=tuple(_hard_image(k, len(names)) for k in range(images)) if rows else (),
        thresholds=threshold_report(names),
    )  # fmt: skip


def threshold_report(names: Sequence[str] = NAMES) -> ThresholdReport:
    """Of the first class nothing was chosen."""
    curve = tuple(np.round(1 - np.linspace(0, 1, 101) ** 3, 4).tolist())
    between = ScoreRange(low=0.31, high=0.52)
    classes = [
        ClassThreshold(
            name=name, boxes=100 + k, conf=0.4 + 0.5 * k / len(names), interval=between,
            precision=curve[70], recall=0.7, f1=0.68, precision_interval=between,
            recall_interval=between, curve=curve,
        )
        for k, name in enumerate(names[1:], 1)
    ]  # fmt: skip
    kept = ClassThreshold(name=names[0], boxes=3, conf=0.25, reason=f"few {HOSTILE}", recall=0.0)
    return ThresholdReport(
        chosen=ChosenThresholds(
            conf=(0.25, *(each.conf for each in classes)), kept=(0,), metric="f1",
            data=f"data {HOSTILE}.yaml (val)", fingerprint="ef" * 32, images=24, boxes=312,
            run="onnx-fp32 on ort", date="2026-11-30T12:00:00+00:00",
        ),
        default=0.25,
        classes=(kept, *classes),
        confidence=0.95,
        resamples=500,
    )  # fmt: skip


def _accuracy_row(run: Run, names: Sequence[str], level: float) -> AccuracyRow:
    skipped = run.accuracy == "skipped"
    interval = Interval(low=run.interval[0], high=run.interval[1])
    failed = f"lost {-run.delta:.2f} points of mAP50-95, at most 1 allowed"
    return AccuracyRow(
        artifact=run.artifact,
        sha256=run.sha256,
        runtime=run.runtime,
        precision=run.precision,
        status=run.accuracy or "skipped",
        max_drop=1.0 if run.precision == "int8" else 0.1,
        reasons=(failed,) if run.accuracy == "failed" else ("no bf16",) if skipped else (),
        accuracy=None if skipped else _accuracy(level + run.delta / 100, names),
        delta=None if skipped else run.delta,
        interval=None if skipped else interval,
        classes=() if skipped else tuple(
            ClassDelta(delta=run.delta + 0.01 * k, interval=interval) for k in range(len(names))
        ),
    )  # fmt: skip


def _hard_image(k: int, classes: int) -> HardImage:
    image = np.random.default_rng(k).integers(0, 255, (60, 80, 3), np.uint8)
    data = cv2.imencode(".jpg", image)[1].tobytes()
    found = ShownBox(xyxy=(4.5, 5.0, 30.0, 40.2), class_id=0, score=0.8125, state="found")
    false = ShownBox(
        xyxy=(40.0, 8.0, 79.0, 50.0), class_id=classes - 1, score=0.26, state="false", alone=True
    )
    missed = ShownBox(xyxy=(2.0, 2.0, 20.0, 20.0), class_id=0, score=None, state="missed")
    return HardImage(
        name=f"image {k} {HOSTILE}.jpg",
        size_hw=(60, 80),
        row=0,
        differences=1,
        reference_wrong=1,
        candidate_wrong=2,
        reference=(found, missed),
        candidate=(found, false, missed),
        jpeg=data,
    )


def parity_report(runs: Sequence[Run]) -> ParityReport:
    return ParityReport(
        model="ghost",
        checkpoint="best.pt",
        checkpoint_sha256="cd" * 32,
        reference="eager (PyTorch 2.13.0), fp32",
        semantics="Ultralytics 8.4.190",
        sizes_hw=((416, 416),),
        thresholds=Thresholds(),
        rows=tuple(_parity_row(run) for run in runs if run.parity),
        evidence=ParityBasis(
            source="images", strength="good", images=24, detections=409,
            sentence="Compared on 24 images with 409 detections",
        ),
        images=(ComparedImage(name="a.jpg", sha256="0" * 12),),
        tools={"numpy": "2.4.6"},
    )  # fmt: skip


def _parity_row(run: Run) -> ParityRow:
    spread = Spread(count=9, max=0.0023, mean=0.001, p99=0.002)
    ran = run.parity != "skipped"
    failed = run.parity == "failed"
    blame = Attribution(stage="graph", sentence="raw scores are 0.3 apart", image="a.jpg")
    return ParityRow(
        artifact=run.artifact,
        sha256=run.sha256,
        runtime=run.runtime,
        precision=run.precision,
        status=run.parity or "skipped",
        gate=GATES[run.precision],
        reasons=("score difference 0.3 > 0.01",) if failed else () if ran else ("no bf16",),
        tensor=TensorFigures(compared=9, score=spread, box_px=spread) if ran else None,
        detections=DetectionFigures(
            reference=409, candidate=409, matched=409, score=spread, box_px=spread, min_iou=0.987
        )
        if ran
        else None,
        attribution=blame if failed else None,
    )


def bundle_facts(runs: Sequence[Run], names: Sequence[str] = NAMES) -> BundleFacts:
    spec = ModelSpec(
        name="ghost",
        family="yolov8-ghost",
        class_names=tuple(names),
        input=InputSpec(size_hw=(416, 416)),
        head=HeadSpec(decoder="dfl", strides=(8, 16, 32)),
        parameters=1_719_549,
        gflops=2.168,
    )
    artifacts = {
        run.artifact: Artifact(
            format=run.format,
            precision=run.precision,
            path=f"{run.artifact}/model {HOSTILE}.bin",
            files={f"{run.artifact}/model {HOSTILE}.bin": run.sha256},
            parent="cd" * 32,
            tools={"onnx": "1.23.2"},
            options={"size": "416x416"},
            form=run.form,
        )
        for run in runs
        if not run.baseline
    }
    evidence = {
        f"int8 {HOSTILE}": {
            "share_of_multiply_adds": 0.985,
            "method": "histogram of 12",
            "sensitivity": [{"layer": f"model.{k}", "points": -0.1 * k} for k in range(3)],
        }
    }
    document = BundleDocument(
        spec=spec,
        source=Source(
            file=f"best {HOSTILE}.pt", sha256="cd" * 32, trained_with="ultralytics 8.4.190",
            metrics={"mAP50-95": 0.56539},
        ),
        artifacts=tuple(artifacts.values()),
        created_with="ghost-deploy 0.1",
        evidence=as_json(evidence),
    )  # fmt: skip
    return BundleFacts(name=f"out {HOSTILE}", document=document)
