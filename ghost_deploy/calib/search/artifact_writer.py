"""Writes the chosen int8 files into the bundle, with a row of the report for each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from ghost_deploy.calib.forms import DerivedForm, Int8Form
from ghost_deploy.calib.quantize.int8_files import BuiltFile, write_model
from ghost_deploy.calib.recipes import Recipe
from ghost_deploy.calib.search.int8_builder import Int8Builder
from ghost_deploy.calib.search.protocols import AccuracyJudge
from ghost_deploy.calib.search.tool_versions import versions
from ghost_deploy.core.bundle import BundleWriter
from ghost_deploy.core.errors import ExportError
from ghost_deploy.core.evidence.int8 import Executed, Int8Row, Trial


@dataclass(frozen=True)
class Int8Candidate:
    """A file that was built and judged.

    Attributes:
        trial: its result.
        points: its accuracy, 0 to 100.
        recipe: how it was built.
        built: the file.
        executed: what of it ran in int8; None where no runtime here runs its form.
    """

    trial: Trial
    points: float
    recipe: Recipe
    built: BuiltFile
    executed: Executed | None = None


@dataclass(frozen=True)
class ArtifactWriter:
    """Writes chosen files.

    Attributes:
        writer: of the bundle.
        builder: of the files.
        judge: of their accuracy.
        parent: sha256 of the fp32 ONNX file.
        max_drop: points that may be lost.
    """

    writer: BundleWriter
    builder: Int8Builder
    judge: AccuracyJudge
    parent: str
    max_drop: float

    def write(self, form: Int8Form, chosen: Int8Candidate) -> list[Int8Row]:
        """Write a file and the forms derived from it; one row for each artifact."""
        folder, builder = self.writer.folder, self.builder
        built = chosen.built.move(folder / form.path)
        sides = tuple(
            write(builder.model, builder.spec, builder.statistics, chosen.recipe.method, folder)
            for write in form.side_files
        )
        row = self._row(form, form.name, chosen, built, sides, chosen.points)
        rows = []
        for derived in form.derived:
            try:
                rows.append(self._derived_row(form, derived, chosen))
            except ExportError as error:
                note = f"no file of the form {derived.name}: {error.what}: {error.got}"
                row = msgspec.structs.replace(row, notes=(*row.notes, note))
        return [row, *rows]

    def _derived_row(self, form: Int8Form, derived: DerivedForm, chosen: Int8Candidate) -> Int8Row:
        assert chosen.built.graph is not None, "derived forms are converted from our own graphs"
        model = derived.convert(chosen.built.graph.model)
        path = write_model(model, self.writer.folder / derived.path)
        label = f"{derived.name}/{chosen.recipe.name}"
        points = self.judge.points(form.runtime, path, label=label)
        built = BuiltFile(path, (), chosen.built.graph)
        return self._row(form, derived.name, chosen, built, (), points)

    def _row(
        self,
        form: Int8Form,
        name: str,
        chosen: Int8Candidate,
        built: BuiltFile,
        sides: tuple[Path, ...],
        points: float,
    ) -> Int8Row:
        """Record a file of the form `name` in the bundle."""
        artifact = self.writer.add(
            format=form.format,
            precision="int8",
            path=built.path,
            parent=self.parent,
            tools=versions(),
            options={"size": "{}x{}".format(*self.builder.spec.input.size_hw)},
            extra_files=(*built.extra_files, *sides),
            form=name,
        )
        drop = self.judge.facts.reference - points
        status: Literal["passed", "failed"] = "passed" if drop <= self.max_drop else "failed"
        return Int8Row(
            artifact=artifact.id,
            sha256=artifact.files[artifact.path],
            form=name,
            judged_on=form.runtime,
            recipe=chosen.recipe.name,
            status=status,
            points=points,
            drop=drop,
            max_drop=self.max_drop,
            planned_share=built.planned_share,
            executed=chosen.executed,
            kept_float=tuple(sorted(chosen.recipe.options.float_nodes)),
            notes=form.notes,
        )
