"""One form from its recipes to its artifact: tried, judged, mended if asked, written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import msgspec

from ghost_deploy.calib.executed import executed
from ghost_deploy.calib.forms import Form
from ghost_deploy.calib.search.accuracy_judge import Progress
from ghost_deploy.calib.search.artifact_writer import ArtifactWriter, Int8Candidate
from ghost_deploy.calib.search.float_fallback import FallbackOptions, find_float_layers
from ghost_deploy.calib.search.recipes import JUDGES, Recipe, best, recipes_for
from ghost_deploy.calib.search.speed import file_times_ms
from ghost_deploy.core.errors import BackendError, ExportError, UnavailableError
from ghost_deploy.core.evidence.int8 import Int8Row, Sensitivity, Trial

__all__ = ["FormPipeline", "FormResult"]

_FAILED = (BackendError, ExportError, UnavailableError)
"""What a recipe that does not suit the model or the machine raises: the others go on."""


@dataclass(frozen=True)
class FormResult:
    """What came of a form.

    Attributes:
        rows: its artifacts.
        trials: what was tried.
        sensitivity: which layers are to blame; None where no layer had to be returned to float.
    """

    rows: tuple[Int8Row, ...]
    trials: tuple[Trial, ...]
    sensitivity: Sensitivity | None = None


@dataclass(frozen=True)
class FormPipeline:
    """Makes the artifacts of one form after the other.

    Attributes:
        deposit: where they go, with what makes and judges them.
        repair: corrections of our own graphs may be tried.
        search: for layers to return to float where too much is lost; None returns none.
        progress: told of each step.
    """

    deposit: ArtifactWriter
    repair: bool = True
    search: FallbackOptions | None = None
    progress: Progress | None = None

    def make(self, form: Form) -> FormResult:
        """Try the recipes of a form and write the best.

        Raises:
            ExportError: none of them worked.
        """
        variants = [[*self._until_good(v)] for v in recipes_for(form, repair=self.repair)]
        tried = [each for variant in variants for each in variant]
        kept = [each for each in tried if isinstance(each, Int8Candidate)]
        sensitivity: Sensitivity | None = None
        if self.search and kept and not any(map(self._holds, kept)):
            more, sensitivity = self._mended(kept, self.search)
            kept += [each for each in more if isinstance(each, Int8Candidate)]
            variants.append(more)
            tried += more
        timed = self._time([[e for e in v if isinstance(e, Int8Candidate)] for v in variants], kept)
        chosen = self._best(timed)
        if chosen is None:
            problems = [each.problem for each in tried if isinstance(each, Trial)]
            raise ExportError(
                f"no int8 file of the form {form} could be made",
                got="; ".join(dict.fromkeys(problems)),
                fix="Leave int8 out, or report this",
            )
        final = {each.recipe.name: each.trial for each in timed}
        first = (each if isinstance(each, Trial) else each.trial for each in tried)
        trials = [final.get(each.recipe, each) for each in first]
        marked = [msgspec.structs.replace(e, chosen=e is chosen.trial) for e in trials]
        return FormResult(tuple(self.deposit.write(form, chosen)), tuple(marked), sensitivity)

    @property
    def _bar(self) -> float:
        return self.deposit.max_drop

    def _lost(self, kept: Int8Candidate) -> float:
        points = kept.trial.points
        assert points is not None, "what is kept was judged"
        return self.deposit.judge.facts.reference - points

    def _holds(self, kept: Int8Candidate) -> bool:
        return self._lost(kept) <= self._bar

    def _until_good(self, variant: Sequence[Recipe]) -> Iterator[Int8Candidate | Trial]:
        """Try the recipes in order; stop at one that loses less than half of what it may."""
        for recipe in variant:
            tried = self._try(recipe)
            yield tried
            if isinstance(tried, Int8Candidate) and self._lost(tried) <= self._bar / 2:
                return

    def _try(self, recipe: Recipe) -> Int8Candidate | Trial:
        """Make a file and judge it; a trial alone where that failed."""
        if self.progress:
            self.progress(recipe.label, 0, 0)
        shop, judge = self.deposit.shop, self.deposit.judge
        try:
            made = shop.make(recipe)
            points = judge.points(JUDGES[recipe.form], made.path, label=recipe.label)
            ran = executed(made.path, shop.spec.input.size_hw) if recipe.runs_here else None
        except _FAILED as error:
            return Trial(form=recipe.form, recipe=recipe.name, problem=str(error))
        share = ran.share if ran else None
        trial = Trial(form=recipe.form, recipe=recipe.name, points=points, int8_share=share)
        return Int8Candidate(trial, recipe, made, ran)

    def _mended(
        self, kept: Sequence[Int8Candidate], search: FallbackOptions
    ) -> tuple[list[Int8Candidate | Trial], Sensitivity | None]:
        """The best of our own graphs with its harmful layers in float."""
        own = [each for each in kept if each.recipe.via == "qdq"]
        if not own:
            return [], None
        start = min(own, key=self._lost).recipe
        shop, judge = self.deposit.shop, self.deposit.judge
        found = find_float_layers(shop, judge, start.plain(), search, self.progress)
        if found.recipe is None:
            return [], found.sensitivity
        repaired = replace(found.recipe, correct_bias=start.correct_bias)
        recipes = dict.fromkeys((found.recipe, repaired))
        return [self._try(each) for each in recipes], found.sensitivity

    def _time(
        self, variants: Sequence[Sequence[Int8Candidate]], kept: Sequence[Int8Candidate]
    ) -> list[Int8Candidate]:
        """The same with times of those among which speed decides, where the form runs here.

        That is the most accurate of each variant, if it loses little enough: within a variant the
        graphs differ in numbers only.
        """
        leaders = [min(variant, key=self._lost) for variant in variants if variant]
        leaders = [each for each in leaders if self._holds(each)]
        if len(leaders) < 2 or not leaders[0].recipe.runs_here:
            return list(kept)
        judge = self.deposit.judge
        try:
            times = file_times_ms(
                [each.made.path for each in leaders],
                [each.path for each in judge.data.images],
                judge.options,
                self.progress,
            )
        except _FAILED:
            return list(kept)
        first = times.get(leaders[0].made.path)
        return [_timed(each, times.get(each.made.path), first) for each in kept]

    def _best(self, kept: Sequence[Int8Candidate]) -> Int8Candidate | None:
        trials = [each.trial for each in kept]
        found = best(trials, self.deposit.judge.facts.reference, self._bar)
        return next((each for each in kept if each.trial is found), None)


def _timed(kept: Int8Candidate, time: float | None, first: float | None) -> Int8Candidate:
    if time is None or first is None:
        return kept
    return replace(kept, trial=msgspec.structs.replace(kept.trial, time=time / first))
