"""Writes the chosen int8 files into the bundle, with a row of the report for each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import msgspec

from ghost_deploy.calib.forms import DerivedForm, Int8Form, OtherPlacement
from ghost_deploy.calib.quantize.int8_files import BuiltFile, write_model
from ghost_deploy.calib.recipes import Recipe
from ghost_deploy.calib.search.int8_builder import Int8Builder
from ghost_deploy.calib.search.left_out import keep_or_remove
from ghost_deploy.calib.search.protocols import AccuracyJudge
from ghost_deploy.calib.search.tool_versions import versions
from ghost_deploy.core.bundle import CANDIDATE, BundleWriter
from ghost_deploy.core.errors import ExportError
from ghost_deploy.core.evidence.int8 import Executed, FileAccuracy, Int8Row, Trial

_CANDIDATE_NOTE = "a candidate: ghost-deploy check decides where the bundle runs whether to take it"


@dataclass(frozen=True)
class Int8Candidate:
    """A file that was built and judged.

    Attributes:
        trial: its result.
        judged: its accuracy.
        recipe: how it was built.
        built: the file.
        executed: what of it ran in int8; None where no runtime here runs its form.
    """

    trial: Trial
    judged: FileAccuracy
    recipe: Recipe
    built: BuiltFile
    executed: Executed | None = None

    @property
    def points(self) -> float:
        """Its accuracy, 0 to 100."""
        return self.judged.points


@dataclass(frozen=True)
class ArtifactWriter:
    """Writes chosen files.

    Attributes:
        writer: of the bundle.
        builder: of the files.
        judge: of their accuracy.
        parent: sha256 of the fp32 ONNX file.
        max_drop: points that may be lost.
        keep_limit: points; a file of a form of another vendor that surely loses more is not kept.
            None keeps all.
        placements: also write the other placements of a form, for the device to time.
    """

    writer: BundleWriter
    builder: Int8Builder
    judge: AccuracyJudge
    parent: str
    max_drop: float
    placements: bool = True
    keep_limit: float | None = None

    def write(self, form: Int8Form, chosen: Int8Candidate) -> list[Int8Row]:
        """Write a file and the forms derived from it; one row for each artifact."""
        folder, builder = self.writer.folder, self.builder
        built = chosen.built.move(folder / form.path)
        sides = tuple(
            write(builder.model, builder.spec, builder.statistics, chosen.recipe.method, folder)
            for write in form.side_files
        )
        row = self._row(form, form.name, chosen, built, sides, chosen.judged)
        rows, notes = [], list[str]()
        for derived in form.derived:
            try:
                file, accuracy = self._derive(form, derived, chosen)
            except ExportError as error:
                notes.append(f"no file of the form {derived.name}: {error.what}: {error.got}")
            else:
                rows.append(self._row(form, derived.name, chosen, file, (), accuracy))
        for placement in form.placements if self.placements else ():
            try:
                rows += self._placement_rows(form, placement, chosen)
            except ExportError as error:
                notes.append(f"without the placement {placement.name}: {error.what}: {error.got}")
        return [msgspec.structs.replace(row, notes=(*row.notes, *notes)), *rows]

    def write_candidate(self, form: Int8Form, other: Int8Candidate) -> Int8Row:
        """Write another file of a form, for the machine that runs the bundle to time."""
        name = f"{form.name}{CANDIDATE}{re.sub('[^a-z0-9]+', '-', other.recipe.base.lower())}"
        ending = ".onnx" if form.format == "onnx" else f"_{form.format}_model"
        built = other.built.move(self.writer.folder / f"model.int8.{name}{ending}")
        row = self._row(form, name, other, built, (), other.judged)
        return msgspec.structs.replace(row, notes=(*row.notes, _CANDIDATE_NOTE))

    def _derive(
        self, form: Int8Form, derived: DerivedForm, chosen: Int8Candidate
    ) -> tuple[BuiltFile, FileAccuracy]:
        """The file of a derived form and its accuracy."""
        assert chosen.built.graph is not None, "derived forms are converted from our own graphs"
        model = derived.convert(chosen.built.graph.model)
        path = write_model(model, self.writer.folder / derived.path)
        label = f"{derived.name}/{chosen.recipe.name}"
        accuracy = self.judge.accuracy(form.runtime, path, self.max_drop, label=label)
        return BuiltFile(path, (), chosen.built.graph), accuracy

    def _placement_rows(
        self, form: Int8Form, placement: OtherPlacement, chosen: Int8Candidate
    ) -> list[Int8Row]:
        """Rows of another placement and the forms derived from it; none if it is no other.

        Raises:
            ExportError: a file cannot be made, or loses too much: a bundle holds only those that
                may be used. Files that passed stay.
        """
        assert chosen.built.graph is not None, "placements are of our own graphs"
        recipe = replace(chosen.recipe, options=placement.change(chosen.recipe.options))
        name = f"{form.name}-{placement.name}"
        graph = self.builder.quantized(recipe, replace(form.convention, form=name))
        if graph.placement.reads == chosen.built.graph.placement.reads:
            return []
        built = form.write(graph, self.builder.new_folder(), self.builder.spec)
        label = f"{name}/{recipe.name}"
        accuracy = self.judge.accuracy(form.runtime, built.path, self.max_drop, label=label)
        self._require(accuracy.points)
        other = replace(chosen, recipe=recipe, judged=accuracy, built=built)
        built = built.move(self.writer.folder / f"model.int8.{name}.onnx")
        row, rows = self._row(form, name, other, built, (), accuracy), []
        for derived in form.derived:
            own = replace(derived, name=derived.name.replace(form.name, name, 1))
            file, derived_accuracy = self._derive(form, own, other)
            drop = self._drop(derived_accuracy.points)
            if drop <= self.max_drop:
                rows.append(self._row(form, own.name, other, file, (), derived_accuracy))
            else:
                file.path.unlink()
                note = f"without {own.name}: it loses {drop:.2f} points"
                row = msgspec.structs.replace(row, notes=(*row.notes, note))
        return [row, *rows]

    def _drop(self, points: float) -> float:
        return self.judge.facts.reference - points

    def _require(self, points: float) -> None:
        if self._drop(points) > self.max_drop:
            raise ExportError(
                "it loses too much",
                got=f"{self._drop(points):.2f} points",
                expected=f"at most {self.max_drop:g}",
                fix="Use the others",
            )

    def _row(
        self,
        form: Int8Form,
        name: str,
        chosen: Int8Candidate,
        built: BuiltFile,
        sides: tuple[Path, ...],
        accuracy: FileAccuracy,
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
            head=built.spec.head if built.spec else None,
            input=built.spec.input if built.spec else None,
        )
        drop = self._drop(accuracy.points)
        status: Literal["passed", "failed"] = "passed" if drop <= self.max_drop else "failed"
        row = Int8Row(
            artifact=artifact.id,
            sha256=artifact.files[artifact.path],
            form=name,
            judged_on=form.runtime,
            recipe=chosen.recipe.name,
            status=status,
            points=accuracy.points,
            drop=drop,
            drop_low=accuracy.low,
            drop_high=accuracy.high,
            images=accuracy.images,
            max_drop=self.max_drop,
            planned_share=built.planned_share,
            executed=chosen.executed,
            kept_float=tuple(sorted(chosen.recipe.options.float_nodes)),
            notes=(*form.notes, *_planned(form, built)),
        )
        return keep_or_remove(
            self.writer, artifact, row, self.keep_limit if form.left_out else None
        )


def _planned(form: Int8Form, built: BuiltFile) -> Iterator[str]:
    """What no runtime here executes is told as planned."""
    if not form.executed and built.graph is not None:
        yield f"{built.graph.conversions} remain between int8 and float layers, as planned"
