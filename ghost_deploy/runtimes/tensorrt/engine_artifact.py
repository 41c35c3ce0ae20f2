"""Write a built engine into its bundle: plan, sidecar, layers and the record among the evidence."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ghost_deploy._version import __version__
from ghost_deploy.core.bundle import Artifact, Bundle, BundleWriter
from ghost_deploy.core.evidence.build import BuildRecord, BuildRecords
from ghost_deploy.core.files import write_whole
from ghost_deploy.core.spec import ModelSpec, encode_json
from ghost_deploy.runtimes.tensorrt.build_job import BuildJob
from ghost_deploy.runtimes.tensorrt.engine_builder import BuiltEngine
from ghost_deploy.runtimes.tensorrt.plan_file import Sidecar, write_plan


def record_engine(
    writer: BundleWriter, bundle: Bundle, job: BuildJob, built: BuiltEngine
) -> Bundle:
    """Write the engine's files into a writer's folder and return the draft with its record.

    Args:
        writer: of the bundle that the engine goes into; it has the other artifacts already.
        bundle: what it was built from: gives description, origin and evidence.
        job, built: what was asked for, and what came out.

    Raises:
        ExportError: the disk refuses.
    """
    plan, *others = write_engine(writer.folder, bundle.spec, job, built)
    artifact = writer.add(
        format="tensorrt",
        precision=job.request.precision,
        path=plan,
        parent=job.source.files[job.source.path],
        tools={
            "ghost-deploy": __version__,
            "tensorrt": job.tensorrt,
            "cuda": job.fingerprint.cuda,
        },
        options={
            **job.source.options,
            "route": job.settings.route.name,
            "machine": str(job.fingerprint),
        },
        extra_files=tuple(others),
    )
    bundle = _record(bundle, artifact, job, built)
    document = bundle.document
    return writer.draft(document.spec, document.source, document.created_with, bundle.evidence)


def write_engine(
    folder: Path, spec: ModelSpec, job: BuildJob, built: BuiltEngine
) -> tuple[Path, ...]:
    """Write plan, sidecar and layers; their paths.

    Raises:
        ExportError: the disk refuses.
    """
    path = folder / f"model.{job.request.precision}.plan"
    sidecar = Sidecar(
        spec=spec,
        fingerprint=job.fingerprint,
        precision=job.request.precision,
        route=job.settings.route.name,
        plan_sha256=hashlib.sha256(built.plan).hexdigest(),
        created_with=f"ghost-deploy {__version__}",
    )
    plan, beside = write_plan(path, built.plan, sidecar)
    layers = path.with_name(path.name + ".layers.json")
    write_whole(layers, lambda file: file.write(encode_json(built.layers)))
    return plan, beside, layers


def _record(bundle: Bundle, artifact: Artifact, job: BuildJob, built: BuiltEngine) -> Bundle:
    known = bundle.evidence.build or BuildRecords()
    record = BuildRecord(
        route=job.settings.route.name,
        built_from=job.source.id,
        fingerprint=job.fingerprint,
        workspace_mib=job.settings.workspace_bytes >> 20,
        precisions=built.layers.precisions,
        reformats=built.layers.reformats,
        pinned=built.pinned,
        dla=built.dla,
        timing_cache=built.timing_cache,
        notes=(*job.notes, *built.warnings),
    )
    records = BuildRecords(engines={**known.engines, artifact.id: record})
    return bundle.with_evidence(records)
