"""How long the rest of a run will take: what its machine was measured to need, corrected by what trainings took.

All times are in seconds: of one worker for what a worker does, by the clock for a stage.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from statistics import fmean

import numpy as np

from bench.cluster import Workers
from bench.data.splits import fold_names
from bench.evaluation.robustness import ALTERATIONS, MOST_IMAGES
from bench.finalists.baselines import TRAINED
from bench.finalists.learning_curve import DRAWS, SHARES
from bench.models import small_cnn
from bench.models.backbones import Backbone, get_backbone
from bench.run.courses import Curve
from bench.run.record import PrecisionRecord
from bench.run.request import Request
from bench.run.results import TrialLog, TrialRecord
from bench.stats.metrics import get_metric
from bench.train.job import TrainingJob
from bench.train.precision import suffix_depth
from bench.trial import TrialConfig

STAGES = {
    "start": "Start",
    "search": "Search",
    "finalists": "Finalists",
    "outer": "Outer folds",
    "evaluation": "Evaluation",
    "report": "Report",
}
"""The stages that are shown, in their order."""

BUILDING = 6.0
"""A backbone in a worker that has not had it yet: loading libraries and weights, tracing."""
TRIAL, EXPORT = 0.1, 1.0
"""A trial, and a training that is exported, beside its epochs."""
HEAD = 2e-5
"""An epoch of the head, per image."""
STOPPED_EARLY = 0.7
"""Share of its epochs that a trial has under ASHA, on average."""
MODEL, ALTERED = 3.0, 24
"""The evaluation: a model file that is scored; and how often altered images pass through the winner."""
EVALUATION, REPORT = 15.0, 15.0
"""What the evaluation computes beside the workers, and the report."""
PER_GPU = 30.0
"""How many times as fast as two CPU cores a GPU is taken to be before anything is measured."""
SURE = 10.0
"""Seconds of work after which what it took counts as much as what had been expected of it."""

Kind = tuple[str, int]
"""Backbone and unfreeze depth, which decide how long a training takes."""


ALL, LACKING = ("", 0), ("", 1)
"""In place of a kind: all trainings, and the share of features that the cache lacks."""
FORWARD = -1
"""In place of a depth: passes through the frozen backbone."""


def _kind(config: TrialConfig) -> Kind:
    return config.backbone, config.unfreeze_depth


def after(stage: str) -> list[str]:
    """The stages that follow a stage."""
    return list(STAGES)[list(STAGES).index(stage) + 1 :]


def left_of(expected: float, elapsed: float) -> float:
    """Seconds left of what was ``expected`` to take so long; a tenth of that if it takes longer."""
    return max(expected - elapsed, expected / 10)


def corrected(before: float, took: float, expected: float) -> float:
    """How many times as long as expected work takes: ``before`` it was known that some of it ``took`` so long."""
    return (before * SURE + took) / (SURE + expected)


class Forecast:
    """How long each stage of a run will take, by what is known at the time.

    Args:
        request: of the run.
        workers: where it runs.
        precision: of each backbone, with the milliseconds that were measured; a guess stands in for what was not.

    Attributes:
        log: the trials so far; grows.
    """

    def __init__(
        self, request: Request, workers: Workers, precision: Mapping[str, PrecisionRecord] | str | None = None
    ) -> None:
        self._request, self._settings, self._workers = request, request.settings, workers
        self._precision = precision if isinstance(precision, Mapping) else {}
        self._metric = get_metric(request.settings.metric)
        self.log = TrialLog(request.run)
        counts = request.table["split"].value_counts()
        self._images = {split: int(counts.get(split, 0)) for split in ("train", "val", "test")}
        self._policies = request.space.policies
        self._folds = len(fold_names(request.table, request.settings.folds))
        self._jobs = (0.0, 0.0)
        self._learned: tuple[int, Mapping[Kind, float]] = (-1, {})
        self._heads: dict[int, int] = {}
        self._ended: tuple[int, Mapping[TrialConfig | bool | None, tuple[float, float]]] = (-1, {})

    def _guess(self, backbone: Backbone, milliseconds: float) -> float:
        """Seconds of what the table of backbones has at 96 pixels on two CPU cores."""
        speed = max(self._workers.threads / 2, PER_GPU * self._workers.gpus)
        return milliseconds / 1000 * (self._request.sizes[backbone.name] / 96) ** 2 / speed

    def _measured(self, backbone: Backbone, part: str, precision: str = "") -> float | None:
        known = self._precision.get(backbone.name)
        times = known.measured.get(part, {}) if known else {}
        found = times.get(precision or str(getattr(known, part, "")))
        return None if found is None else found / 1000

    def forward(self, backbone: Backbone, precision: str = "") -> float:
        """An image through a frozen backbone, in the precision that was chosen unless one is given."""
        return self._paces().get((backbone.name, FORWARD), 1.0) * self._forward(backbone, precision)

    def _forward(self, backbone: Backbone, precision: str = "") -> float:
        found = self._measured(backbone, "prefix", precision)
        return self._guess(backbone, backbone.cost[0]) if found is None else found

    def step(self, backbone: Backbone, depth: int) -> float:
        """An image in a training step of a suffix."""
        timed = backbone.suffix_cost(suffix_depth(self._request.space.depths))
        found = self._measured(backbone, "suffix")
        if found is None or not timed:
            return self._guess(backbone, backbone.suffix_cost(depth))
        return found * backbone.suffix_cost(depth) / timed

    def filling(self, backbone: Backbone, policy: str, views: int) -> float:
        """So many views of the pool through a backbone; less where an earlier run's are mostly in the cache."""
        return self._pace(LACKING) * self._passed(policy, views) * self.forward(backbone)

    def _passed(self, policy: str, views: int) -> int:
        """Images that so many views are of: one view where the policy alters nothing."""
        return self._pool * (min(views, 1) if self._policies[policy].identity else views)

    @property
    def _pool(self) -> int:
        return self._images["train"] + self._images["val"]

    @property
    def _views(self) -> int:
        return min(self._settings.views, self._request.epochs)

    def _epochs(self, kind: Kind, images: int, head: float, tuned: float) -> float:
        """So many epochs of the head and of the suffix, on so many images, as expected before any training."""
        step = self.step(get_backbone(kind[0]), kind[1]) if kind[1] else 0.0
        return TRIAL + HEAD * images * head + step * (images + self._images["val"] / 3) * tuned

    def training(self, kind: Kind, images: int, share: float = 1.0, config: TrialConfig | None = None) -> float:
        """A training of a ``share`` of its epochs on features that are there, at the pace of the trials so far.

        It has as many epochs as trials to the end had so far, or the trial of ``config``, where there was one.
        """
        head, tuned = self._reached(kind[1], config)
        return self._pace(kind) * self._epochs(kind, images, share * head, share * tuned)

    def _reached(self, depth: int, config: TrialConfig | None) -> tuple[float, float]:
        """Epochs of the head and of the suffix until both gain no more: all, before a trial of this kind has ended."""
        known = len(self.log.records)
        if self._ended[0] != known:
            self._ended = known, self._epochs_to_the_end()
        found = self._ended[1]
        return found.get(config) or found[depth > 0]

    def _epochs_to_the_end(self) -> Mapping[TrialConfig | bool | None, tuple[float, float]]:
        """Of trials that were not stopped early, by configuration; and by whether there is a suffix their mean.

        What is allowed counts as one trial of the mean, where there are others to tell.
        """
        most = float(self._request.epochs)
        found: dict[TrialConfig | bool | None, tuple[float, float]] = {}
        counted = {False: [(most, 0.0)], True: [(most, most)]}
        for record in self._records:
            if record.state == "completed":
                found[record.config] = head, tuned = self._phases(record)
                counted[record.config.unfreeze_depth > 0].append((head, tuned))
        for deep, epochs in counted.items():
            heads, tunings = zip(*epochs, strict=True)
            found[deep] = fmean(heads), fmean(tunings)
        return found

    def _phases(self, record: TrialRecord) -> tuple[int, int]:
        """Epochs of the head and of the suffix that a trial had; the head has all where epochs.csv does not tell."""
        if not record.config.unfreeze_depth:
            return record.epochs, 0
        if record.trial not in self._heads and (curve := self.log.epochs.curves.get(Curve("trial", str(record.trial)))):
            self._heads[record.trial] = sum(one.phase == "head" for one in curve)
        head = self._heads.get(record.trial, min(record.epochs, self._request.epochs))
        return head, record.epochs - head

    @property
    def _records(self) -> list[TrialRecord]:
        return [record for record in self.log.records.copy() if record.state != "failed"]

    def _pace(self, kind: Kind) -> float:
        """How many times as long as expected trainings of this backbone and depth take."""
        paces = self._paces()
        return paces.get(kind, paces[ALL])

    def _paces(self) -> Mapping[Kind, float]:
        """How many times as long as expected trainings take, by kind and all, and passes through each backbone."""
        known = len(self.log.records)
        if self._learned[0] == known:
            return self._learned[1]
        records = self._records
        sums: dict[Kind, tuple[float, float]] = {}
        filled: dict[tuple[str, str], float] = {}

        def add(kind: Kind, took: float, expected: float) -> None:
            before = sums.get(kind, (0.0, 0.0))
            sums[kind] = before[0] + took, before[1] + expected

        for record in records:
            kind = _kind(record.config)
            expected = self._epochs(kind, self._images["train"], *self._phases(record))
            for key in (kind, ALL):
                add(key, _trained(record), expected)
            pair = record.config.backbone, record.config.augmentation
            filled[pair] = filled.get(pair, 0.0) + record.spent.get("filling", 0.0)
        for (name, policy), took in filled.items():
            expected = self._passed(policy, self._views) * self._forward(get_backbone(name))
            lacking = took > 0.02 * expected
            add(LACKING, expected if lacking else 0.0, expected)
            if lacking:
                add((name, FORWARD), took, expected)
        overall = corrected(1.0, *sums.get(ALL, (0.0, 0.0)))
        once = {ALL, LACKING, *((name, FORWARD) for name, _ in filled)}
        paces = {kind: corrected(1.0 if kind in once else overall, *both) for kind, both in sums.items()}
        self._learned = known, {ALL: overall, **paces}
        return self._learned[1]

    def job_ended(self, took: float, expected: float) -> None:
        """A training after the search has ended."""
        self._jobs = self._jobs[0] + took, self._jobs[1] + expected

    @property
    def pace_of_jobs(self) -> float:
        """How many times as long as expected trainings after the search take.

        What is no training takes its square root: half of the excess is the machine's, which may be over by then.
        """
        return corrected(1.0, *self._jobs)

    @property
    def _share(self) -> float:
        """Of its epochs that a trial has, on average."""
        return STOPPED_EARLY if self._settings.scheduler == "asha" else 1.0

    def _usual_trial(self, images: int) -> float:
        """A trial on so many images, by what is expected of all kinds and by the trials so far."""
        records, depths = self._records, self._request.space.depths or (0,)
        kinds = [(one.name, depth) for one in self._request.backbones for depth in depths]
        first = fmean(self.training(kind, images, self._share) for kind in kinds)
        scale = images / max(1, self._images["train"])
        return (first + scale * sum(map(_trained, records))) / (1 + len(records))

    def search(self, running: Collection[tuple[TrialConfig, float]] = ()) -> float:
        """Until the search ends; ``running`` are the trials that run, each with its seconds so far."""
        records, done, train = self._records, len(self.log.current), self._images["train"]
        share, usual = self._share, self._usual_trial(train)
        seen = {(record.config.backbone, record.config.augmentation) for record in records}
        known = {backbone for backbone, _ in seen}
        seconds = []
        for config, elapsed in running:
            backbone, pair = get_backbone(config.backbone), (config.backbone, config.augmentation)
            expected = self.training(_kind(config), train, share)
            expected += 0.0 if pair in seen else self.filling(backbone, config.augmentation, self._views)
            expected += 0.0 if config.backbone in known else BUILDING
            seconds.append(left_of(expected, elapsed))
            seen.add(pair)
        waiting = max(0, self._settings.budget - done - len(seconds))
        pairs = [(one, policy) for one in self._request.backbones for policy in self._policies]
        chance = 1 - (1 - 1 / len(pairs)) ** waiting
        fills = [self.filling(*pair, self._views) for pair in pairs if (pair[0].name, pair[1]) not in seen]
        left = self.shared([*seconds, *[usual] * waiting, *(chance * one for one in fills)])
        limit = self._settings.time_limit
        return left if limit is None else max(0.0, min(left, limit - self.log.elapsed))

    def of_jobs(self, jobs: Sequence[TrainingJob]) -> list[float]:
        """Each of some trainings after the search; what those of a backbone share is parted among them."""
        groups = [("", "") if one.from_scratch else (one.config.backbone, one.config.augmentation) for one in jobs]
        found = []
        for one, group in zip(jobs, groups, strict=True):
            images = len(one.rows["train"]) if one.rows else self._images["train"]
            if one.from_scratch:
                backbone = get_backbone(one.config.backbone)
                seconds = small_cnn.EPOCHS * images * self._guess(backbone, small_cnn.COST)
            else:
                seconds = self.training(_kind(one.config), images, config=one.config) + self._shared_by(
                    one
                ) / groups.count(group)
            found.append(seconds + (EXPORT if one.model_file else 0.0))
        return found

    def _shared_by(self, job: TrainingJob) -> float:
        """What the trainings of a backbone do once: building it, and views that the search has not drawn."""
        more = max(0, job.views - self._views)
        identity = self._policies[job.config.augmentation].identity
        return BUILDING + (
            0.0 if identity else self.filling(get_backbone(job.config.backbone), job.config.augmentation, more)
        )

    def finalists(self) -> float:
        """For finalists, folds and baselines, of which none has begun."""
        jobs, views, repeats, folds = [], self._request.epochs, self._settings.repeats, self._folds
        rows = {"train": np.arange(self._pool * (folds - 1) // max(folds, 1))}
        for backbone in self._request.backbones:
            config = self._best(backbone)
            jobs += [TrainingJob(config, 0, views, model_file=self._request.run.best_model)] * repeats
            jobs += [TrainingJob(config, 0, views, rows=rows)] * folds
        return self.shared(self.of_jobs(jobs)) + self.baselines()

    def baselines(self) -> float:
        """For the baselines, of which none has begun: of the winner that the trials promise, if there are any.

        A winner that is its default recipe is not trained again as a baseline.
        """
        best = self.log.best(self._metric)
        recipes = [self._recipe(backbone) for backbone in self._request.backbones]
        winners = [best.config] if best else recipes
        recipe = self._usually([one for one in recipes if best and one.backbone == best.config.backbone] or recipes)
        if best and best.config in recipes:
            recipe = 0.0
        scratch = self._usually(winners[:1], from_scratch=True)
        smaller = [self._usually(winners) * share for share in SHARES] * DRAWS if self._settings.learning_curve else []
        return self.shared([recipe, scratch] * self._settings.repeats + smaller)

    def _usually(self, configs: Sequence[TrialConfig], from_scratch: bool = False) -> float:
        """One exported training, the mean over ``configs``, each as if it were alone."""
        model, views = self._request.run.best_model, self._request.epochs
        jobs = [TrainingJob(one, 0, views, from_scratch=from_scratch, model_file=model) for one in configs]
        return fmean(self.of_jobs([one])[0] for one in jobs)

    def outer(self) -> float:
        """For all folds of --outer, of which none has begun."""
        folds, repeats = self._settings.outer_shape
        return min(folds * repeats * self.outer_fold(), self._settings.time_limit or math.inf) if folds else 0.0

    def outer_fold(self) -> float:
        """For one of them: a search and retrainings on features that are there, on the images of the other folds."""
        folds = self._settings.outer_shape[0] or 5
        trials = self._settings.trials_of_outer or self._settings.budget
        images = self._images["train"] * (folds - 1) // folds
        best = [_kind(self._best(backbone)) for backbone in self._request.backbones]
        retrained = [self.training(kind, images) for kind in best] * self._settings.repeats
        retrained += [self.training(kind, images) for kind in best] * self._folds
        return self.shared([self._usual_trial(images)] * trials) + self.shared(retrained)

    @property
    def _trained_baselines(self) -> int:
        """How many baselines are networks: another initialisation is one only where there is another."""
        others = any(len(starts) > 1 for starts in self._request.space.initialisations.values())
        return len(TRAINED) - (0 if others else 1)

    def evaluation(self) -> float:
        """For the evaluation."""
        sealed, repeats, backbones = self._settings.no_test, self._settings.repeats, self._request.backbones
        images = self._images["val"] + (0 if sealed else self._images["test"])
        models = len(backbones) + (0 if sealed else (len(backbones) + self._trained_baselines) * repeats)
        seconds = images * sum(self.forward(one, "float32") for one in backbones) + MODEL * models
        if not sealed:
            best = self.log.best(self._metric)
            winner = get_backbone(best.config.backbone) if best else max(backbones, key=self.forward)
            seconds += ALTERED * min(MOST_IMAGES, self._images["test"]) * self.forward(winner)
        return math.sqrt(self.pace_of_jobs) * (seconds / self._workers.jobs + (2.0 if sealed else EVALUATION))

    def report(self) -> float:
        """For the report."""
        return math.sqrt(self.pace_of_jobs) * REPORT

    def of(self, stage: str) -> float:
        """For a whole stage, one of `STAGES`; nothing for the start, which is all but over when this is known."""
        return 0.0 if stage == "start" else float(getattr(self, stage)())

    def total(self) -> float:
        """For a whole run, but for its start."""
        return sum(map(self.of, STAGES))

    def steps(self, stage: str) -> int:
        """Jobs of the evaluation; 1 of another stage."""
        if stage != "evaluation":
            return 1
        backbones = len(self._request.backbones)
        return backbones if self._settings.no_test else 2 * backbones + 4 + len(ALTERATIONS)

    def shared(self, seconds: Sequence[float]) -> float:
        """By the clock, for jobs on workers that are hardly ever idle."""
        return max([sum(seconds) / self._workers.jobs, *seconds])

    def _best(self, backbone: Backbone) -> TrialConfig:
        """The configuration of a backbone that would be retrained now."""
        best = self.log.best(self._metric, backbone.name)
        return best.config if best else self._recipe(backbone)

    def _recipe(self, backbone: Backbone) -> TrialConfig:
        return TrialConfig.from_mapping(self._request.space.recipe(backbone))


def _trained(record: TrialRecord) -> float:
    """Seconds of a trial that another of its kind will take, too."""
    once = sum(record.spent.get(name, 0.0) for name in ("start-up", "waiting", "filling", "tracing"))
    return max(0.0, record.seconds - once)
