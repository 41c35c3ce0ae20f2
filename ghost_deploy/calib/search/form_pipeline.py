"""One form from its recipes to its artifacts: built, judged, float fallback, timed, written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import msgspec

from ghost_deploy.calib.executed import executed
from ghost_deploy.calib.forms import Int8Form, int8_form, recipes_for
from ghost_deploy.calib.recipes import Recipe
from ghost_deploy.calib.search.artifact_writer import ArtifactWriter, Int8Candidate
from ghost_deploy.calib.search.float_fallback import FloatFallback
from ghost_deploy.calib.search.protocols import Stopwatch
from ghost_deploy.core.errors import BackendError, ExportError, UnavailableError
from ghost_deploy.core.evidence.int8 import Int8Row, Sensitivity, Trial
from ghost_deploy.core.progress import Progress, silent
from ghost_deploy.runtimes.int8_forms import forms_here

_FAILED = (BackendError, ExportError, UnavailableError)
"""Errors of a recipe that does not suit the model or the machine; the others are still tried."""

_SAME_SPEED = 1.03
"""Ratio of times that counts as equal: two runs of the benchmark differ by as much."""


_HOPELESS = 1.25
"""Multiple of the time of the chosen one from which on no other processor is expected to like a
candidate better."""


@dataclass(frozen=True)
class FormResult:
    """Result of a form.

    Attributes:
        rows: its artifacts.
        trials: all recipes that were tried.
        sensitivity: harm of each layer; None where no layer had to return to float.
    """

    rows: tuple[Int8Row, ...]
    trials: tuple[Trial, ...]
    sensitivity: Sensitivity | None = None


@dataclass(frozen=True)
class FormPipeline:
    """Makes the artifacts of one form after the other.

    Attributes:
        artifacts: writes them, with the builder and the judge.
        stopwatch: times variants that differ in speed.
        fallback: returns layers to float where too much is lost; None returns none.
        repair: also try to correct biases of our own graphs.
        search: try and time all variants; else take the most accurate of the first that is good.
        progress: receives each step.
    """

    artifacts: ArtifactWriter
    stopwatch: Stopwatch
    fallback: FloatFallback | None = None
    repair: bool = True
    search: bool = True
    progress: Progress = silent

    def make(self, form: Int8Form) -> FormResult:
        """Try the recipes of a form and write the best.

        Raises:
            ExportError: none of them worked.
        """
        variants = self._tried(recipes_for(form, repair=self.repair, search=self.search))
        candidates = _built(variants)
        sensitivity: Sensitivity | None = None
        if candidates and not any(map(self._holds, candidates)):
            more, sensitivity = self._fall_back(candidates)
            variants.append(more)
        trials, chosen = self._choose(form, variants)
        if chosen is None:
            raise ExportError(
                f"no int8 file of the form {form.name} could be made",
                got="; ".join(dict.fromkeys(each.problem for each in trials)),
                fix="Leave int8 out, or report this",
            )
        marked = (msgspec.structs.replace(e, chosen=e is chosen.trial) for e in trials)
        rows = self.artifacts.write(form, chosen)
        for other in self._candidates(form, variants, chosen, trials):
            rows.append(self.artifacts.write_candidate(form, other))
        return FormResult(tuple(rows), tuple(marked), sensitivity)

    def _tried(self, recipes: Sequence[Sequence[Recipe]]) -> list[list[Int8Candidate | Trial]]:
        """All variants; without a search the others only while none is good, in the best way."""
        variants: list[list[Int8Candidate | Trial]] = []
        for variant in recipes:
            built = _built(variants)
            best = min(built, key=self._lost, default=None)
            alike: list[Recipe] = []
            if best is not None and not self.search:
                if self._lost(best) <= self.artifacts.max_drop / 2:
                    break
                alike = [each for each in variant if each.is_like(best.recipe)]
            variants.append([*self._until_good(alike or variant)])
        return variants

    def _lost(self, candidate: Int8Candidate) -> float:
        return self.artifacts.judge.facts.reference - candidate.points

    def _holds(self, candidate: Int8Candidate) -> bool:
        return self._lost(candidate) <= self.artifacts.max_drop

    def _until_good(self, variant: Sequence[Recipe]) -> Iterator[Int8Candidate | Trial]:
        """Try the recipes in order; stop at one that loses less than a part of the limit.

        A search, which also has other variants to compare, is content with half of it.
        """
        for recipe in variant:
            tried = self._try(recipe)
            yield tried
            enough = self.artifacts.max_drop / (2 if self.search else 5)
            if isinstance(tried, Int8Candidate) and self._lost(tried) <= enough:
                return

    def _try(self, recipe: Recipe) -> Int8Candidate | Trial:
        """Build a file and judge it; only the trial where that failed."""
        self.progress(recipe.label, 0, 0)
        builder, judge = self.artifacts.builder, self.artifacts.judge
        form = int8_form(recipe.form)
        try:
            built = builder.build(recipe)
            limit = self.artifacts.max_drop
            accuracy = judge.accuracy(form.runtime, built.path, limit, label=recipe.label)
            ran = executed(built.path, builder.spec.input.size_hw) if _runs_here(form) else None
        except _FAILED as error:
            return Trial(form=form.name, recipe=recipe.name, problem=str(error))
        share = ran.share if ran else None
        trial = Trial(form=form.name, recipe=recipe.name, points=accuracy.points, int8_share=share)
        return Int8Candidate(trial, accuracy, recipe, built, ran)

    def _fall_back(
        self, candidates: Sequence[Int8Candidate]
    ) -> tuple[list[Int8Candidate | Trial], Sensitivity | None]:
        """The best of our own graphs with its harmful layers in float."""
        own = [each for each in candidates if each.recipe.via == "qdq"]
        if self.fallback is None or not own:
            return [], None
        start = min(own, key=self._lost).recipe
        found = self.fallback.find(replace(start, correct_bias=False))
        if found.recipe is None:
            return [], found.sensitivity
        corrected = replace(found.recipe, correct_bias=start.correct_bias)
        recipes = dict.fromkeys((found.recipe, corrected))
        return [self._try(each) for each in recipes], found.sensitivity

    def _choose(
        self, form: Int8Form, variants: Sequence[Sequence[Int8Candidate | Trial]]
    ) -> tuple[list[Trial], Int8Candidate | None]:
        """All trials, with times where speed decides, and the candidate to write."""
        timed = self._time(form, variants)
        final = {each.recipe.name: each.trial for each in timed}
        first = (e if isinstance(e, Trial) else e.trial for v in variants for e in v)
        trials = [final.get(each.recipe, each) for each in first]
        reference = self.artifacts.judge.facts.reference
        best = best_trial([each.trial for each in timed], reference, self.artifacts.max_drop)
        return trials, next((each for each in timed if each.trial is best), None)

    def _candidates(
        self,
        form: Int8Form,
        variants: Sequence[Sequence[Int8Candidate | Trial]],
        chosen: Int8Candidate,
        trials: Sequence[Trial],
    ) -> Iterator[Int8Candidate]:
        """The leaders of the other variants: another processor may run one of them faster."""
        if not (form.executed and self.search):
            return
        times = {trial.recipe: trial.time for trial in trials}
        limit = (times.get(chosen.recipe.name) or 0) * _HOPELESS
        for leader in self._leaders(variants):
            time = times.get(leader.recipe.name)
            if leader.recipe.base != chosen.recipe.base and (time is None or time <= limit):
                yield leader

    def _leaders(self, variants: Sequence[Sequence[Int8Candidate | Trial]]) -> list[Int8Candidate]:
        """The most accurate of each variant, if within the limit: the graphs of a variant differ
        in numbers only."""
        built = [group for variant in variants if (group := _built([variant]))]
        leaders = [min(group, key=self._lost) for group in built]
        return [each for each in leaders if self._holds(each)]

    def _time(
        self, form: Int8Form, variants: Sequence[Sequence[Int8Candidate | Trial]]
    ) -> list[Int8Candidate]:
        """All candidates, with the times of the leaders, among which speed decides."""
        candidates, leaders = _built(variants), self._leaders(variants)
        if len(leaders) < 2 or not _runs_here(form) or not self.search:
            return candidates
        try:
            times = self.stopwatch.file_times_ms([each.built.path for each in leaders])
        except _FAILED:
            return candidates
        first = times.get(leaders[0].built.path)
        return [_timed(each, times.get(each.built.path), first) for each in candidates]


def _runs_here(form: Int8Form) -> bool:
    """Whether this processor executes the form in int8, so that times and shares mean something."""
    return form.executed and form.name in forms_here(form.runtime)


def best_trial(trials: Sequence[Trial], reference: float, max_drop: float) -> Trial | None:
    """The fastest of the trials within the limit, else the most accurate; None if all failed.

    Among equally fast ones, and where no time is known, the most accurate.

    Args:
        trials: of one form.
        reference: points of the float model.
        max_drop: points that may be lost.
    """
    usable = [(trial, trial.points) for trial in trials if trial.points is not None]
    good = [(trial, points) for trial, points in usable if reference - points <= max_drop]
    if not good:
        return max(usable, key=lambda pair: pair[1])[0] if usable else None
    times = [trial.time for trial, _ in good if trial.time is not None]
    limit = min(times) * _SAME_SPEED if times else None
    fast = [
        (trial, points)
        for trial, points in good
        if limit is None or (trial.time is not None and trial.time <= limit)
    ]
    return max(fast, key=lambda pair: pair[1])[0]


def _built(variants: Sequence[Sequence[Int8Candidate | Trial]]) -> list[Int8Candidate]:
    return [each for variant in variants for each in variant if isinstance(each, Int8Candidate)]


def _timed(candidate: Int8Candidate, time: float | None, first: float | None) -> Int8Candidate:
    if time is None or first is None:
        return candidate
    return replace(candidate, trial=msgspec.structs.replace(candidate.trial, time=time / first))
