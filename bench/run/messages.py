"""What the user is told while a run goes on, stage by stage; how it is shown is the screen's."""

from collections.abc import Mapping, Sequence

import pandas as pd

from bench import numbers
from bench.cluster import Workers
from bench.data.splits import fold_names, most_outer_folds
from bench.finalists.baselines import TITLES, TRAINED
from bench.finalists.folds import Folds
from bench.finalists.seeds import Told, Training, spread_of
from bench.invocation import in_output, typed
from bench.models.backbones import get_backbone
from bench.models.weights import Weights
from bench.run.console import Screen, describe_config, describe_split, next_steps
from bench.run.documents import EvaluationRecord
from bench.run.examine import Examined
from bench.run.folder import RunDir
from bench.run.forecast import Forecast
from bench.run.record import SETTLED, RunRecord
from bench.run.request import Request
from bench.run.tables import Row
from bench.search.parameters import network_title
from bench.stats.enough import FEW_FOR_A_TEST, RECOMMENDED_OUTER
from bench.stats.metrics import Metric, get_metric


def announce(
    screen: Screen, request: Request, workers: Workers, weights: Weights, examined: Examined, disk: str
) -> None:
    """What is about to be done, and what the audit found."""
    settings, audit = request.settings, examined.audited.audit
    splits = "; ".join(f"{split} {describe_split(part)}" for split, part in audit.splits.used.items())
    guess = Forecast(request, workers).total()
    sizes = ", ".join(f"{backbone.title} {request.sizes[backbone.name]} px" for backbone in request.backbones)
    look = typed("open", request.run.name, *in_output(request.run.path.parent))
    screen.summary(
        f"Run {request.run.name}: {settings.budget} trials",
        [
            ("data", f"{request.source.path}; patients: {request.source.patient_rule}"),
            ("splits", splits),
            ("machine", workers.describe()),
            ("space", f"{request.space.name}: {', '.join(p.name for p in request.space.told)}"),
            ("backbones", f"{sizes}; {', '.join(dict.fromkeys(kind for kind, _ in weights.starts.values()))} weights"),
            ("objective", f"validation {get_metric(settings.metric).title}, at most {request.epochs} epochs per phase"),
            ("expected", f"very roughly {numbers.duration(guess / 2)} to {numbers.duration(guess * 2)}; disk: {disk}"),
            ("report", f"while it goes on: {look}"),
        ],
    )
    if audit.layout:
        screen.layout(audit.layout)
    screen.findings(audit.findings)
    if all(kind == "random" for kind, _ in weights.starts.values()):
        screen.warning(weights.note)
    _recommend_outer(screen, request, examined, Forecast(request, workers))
    screen.line("")


def _recommend_outer(screen: Screen, request: Request, examined: Examined, forecast: Forecast) -> None:
    """Say of a small test split that a nested loop would use every patient, and what it costs; if one is possible."""
    test, settings = examined.audited.audit.splits.used.get("test"), request.settings
    if settings.outer or test is None or test.patients >= FEW_FOR_A_TEST or request.source.synthetic:
        return
    most, repeats = RECOMMENDED_OUTER
    folds = most_outer_folds(examined.table, most, repeats, settings.split_seed, settings.folds)
    if not folds:
        return
    inner = len(fold_names(request.table, settings.folds))
    each = settings.budget + (settings.repeats + inner) * len(request.backbones)
    guess = folds * repeats * forecast.outer_fold()
    patients, trainings = numbers.counted(test.patients, "patient"), folds * repeats * each
    screen.line(
        f"  note: the test split has {patients}; --outer {folds}x{repeats}, now or with --resume, measures the "
        f"whole procedure on all others: up to {trainings:,} trainings, very roughly {numbers.duration(guess)}."
    )


def precision(screen: Screen, record: RunRecord) -> None:
    """What each backbone computes in while it is trained, and how fast that was found to be."""
    screen.line(f"Precision: {'; '.join(f'{title} {words}' for title, words in record.precisions().items())}")


def inference(screen: Screen, record: RunRecord) -> None:
    """What an image takes in each backbone, where the search is to be for fast ones too."""
    if found := record.inference:
        times = (f"{record.titles.get(name, name)} {numbers.plain(ms)} ms" for name, ms in found.milliseconds.items())
        screen.line(f"Inference per image: {', '.join(times)} ({found.measured()})")


def front(screen: Screen, record: RunRecord, finalists: pd.DataFrame, metric: Metric) -> None:
    """The Pareto front of the finalists by score and time, where the search was for fast ones too."""
    from bench.report.tables import models

    if record.milliseconds:
        table = models.by_time(models.finalists(finalists, None, metric), record.milliseconds, metric)
        screen.line(f"Pareto front on validation: {models.under_time(table, record.titles)}")


def scaling(screen: Screen, record: RunRecord) -> None:
    """Warn of weights that were trained on pixels of another scaling."""
    for name, found in (record.weights.checked or {}).items():
        if found.doubtful:
            screen.warning(
                f"{network_title(name, record.titles)}: its weights seem to want pixels scaled as {found.best}, not as "
                f"{found.assumed}: what its first batch normalisation is given diverges from what it was trained on by "
                f"{numbers.score(found.divergence, 2)} nats per channel, and would by "
                f"{numbers.score(found.best_divergence, 2)}; if so, start anew with --scaling {name}={found.best}."
            )


def trainings(screen: Screen, metric: Metric, repeats: int) -> Told:
    """Tells of trainings of finalists and baselines, each trained with ``repeats`` seeds."""

    def title_of(row: Row) -> str:
        return TITLES[row["baseline"]] if "baseline" in row else get_backbone(row["backbone"]).title

    def on_start(training: Training) -> None:
        if training.config is not None and training.name not in TITLES:
            screen.line(f"  retraining {describe_config(training.config)}")

    def on_row(row: Row) -> None:
        """A line on one training of several, or on what was not trained."""
        title, several = title_of(row), repeats > 1 and row.get("baseline") in (None, *TRAINED)
        which = f"{title}, seed {row['repeat']} of {repeats}" if several else title
        if row["state"] == "skipped":
            screen.line(f"  {title}: not trained, {row['reason']}")
        elif row["state"] == "failed":
            screen.line(f"  {which} failed: {row['reason']}")
        elif several:
            score = row[f"metric_{metric.name}"]
            screen.line(f"    {which}: {metric.title} {numbers.score(score)}, {numbers.duration(row['seconds'])}")

    def on_group_done(rows: Sequence[Row]) -> None:
        """A line on all trainings of one finalist or baseline."""
        found = spread_of(rows, metric)
        seeds = f" over {found.repeats} seeds" if found.repeats > 1 else ""
        before = next((row["trial_score"] for row in rows if row.get("trial_score") is not None), None)
        search = f", {numbers.score(before)} in the search" if before is not None else ""
        if found.mean is not None:
            score = f"validation {metric.title} {numbers.with_spread(found.mean, found.sd)}{seeds}{search}"
            screen.line(f"  {title_of(rows[0])}: {score}, {numbers.duration(sum(row['seconds'] for row in rows))}")

    return Told(on_start, on_row, on_group_done)


def fold_lines(screen: Screen, metric: Metric, rows: Sequence[Row]) -> None:
    """Lines on one finalist that was trained on all folds."""
    for row in rows:
        if row["state"] == "failed":
            screen.line(f"  {row['backbone']}, fold {row['fold']} failed: {row['reason']}")
    found = spread_of(rows, metric)
    if found.mean is not None:
        seconds = numbers.duration(sum(row["seconds"] for row in rows))
        score = f"{metric.title} {numbers.with_spread(found.mean, found.sd)}, {seconds}"
        screen.line(f"  {rows[0]['backbone']} over {found.repeats} folds: {score}")


def announce_finalists(screen: Screen, titles: Sequence[str], repeats: int, over_folds: Folds | None) -> None:
    """What is about to be retrained."""
    seeds = f" with {repeats} seeds" if repeats > 1 else ""
    then = f" and over {len(over_folds.sizes)} folds of train and validation" if over_folds else ""
    screen.line(f"Finalists: the best configuration of {', '.join(titles)}, retrained{seeds}{then}")


def evaluated_before(screen: Screen, files: Mapping[str, str], before: EvaluationRecord) -> None:
    """That the test split was evaluated ``before`` under other models than those of ``files`` (SHA-256 by name)."""
    added = [name for name in files if name not in before.files]
    changed = [name for name, sha256 in before.files.items() if files.get(name) not in (None, sha256)]
    gone = [name for name in before.files if name not in files]
    parts = (("added", added), ("trained anew", changed), ("no longer among them", gone))
    told = "; ".join(f"{what}: {', '.join(names)}" for what, names in parts if names)
    if told:
        screen.line(
            f"  note: the test split was evaluated before ({', '.join(before.opened)}), under other models ({told}). "
            "It is evaluated anew for all, and each opening stays on record."
        )


def headline(screen: Screen, run: RunDir) -> None:
    """The last lines: the verdict, as the report has it, and the scores of the model that was chosen."""
    from bench.report import cautions, summary
    from bench.report.read import files

    record, found = run.read(), files.read(run)
    winner = record.winner
    assert winner is not None
    title, metric = get_backbone(winner.backbone).title, get_metric(winner.metric).title
    text = f"{title}: validation {metric} {numbers.score(winner.score)}"
    tested = found.tested.models.get(winner.backbone)
    for name in ("auc", "accuracy"):
        score = tested.metrics.get(name) if tested else None
        if score is not None and score.value is not None:
            shown = numbers.with_interval(score.value, score.low, score.high)
            text += f", internal test {get_metric(name).title} {shown}"
    screen.line("")
    screen.line(f"{summary.headline(found)}.")
    screen.line(f"{text}.")
    if tested and (one := found.tested.threshold):  # of several classes, the report has them
        others = (
            f", other patients: {numbers.score(one.low)} to {numbers.score(one.high)}" if one.low is not None else ""
        )
        screen.line(f"Threshold for {one.label}: {numbers.score(one.value)} ({one.rule}{others}).")
    for sentence in cautions.not_carried_over(found):
        screen.warning(sentence)
    if found.evaluation:
        from bench.report.verdict import verdict

        if primary := verdict(found).primary:
            screen.line(primary.sentence)
    for banner in summary.banners(found):
        if banner.grave:
            screen.warning(f"{banner.title}. {banner.text}")
    if record.data is not None and record.data.synthetic:
        screen.line("The images are synthetic: these scores say nothing about medicine.")
    if summary.began_at_random(found):
        screen.line("Random weights: this is not transfer learning.")
    screen.line(f"Report: {run.report}")
    screen.line(f"Model:  {run.best_model}")
    for line in next_steps(*_steps(run, record)):
        screen.line(line)


def _steps(run: RunDir, record: RunRecord) -> list[tuple[str, str]]:
    """What a finished run is good for, each with its command."""
    where = in_output(run.path.parent)
    steps = [
        ("open the report", typed("open", run.name, *where)),
        ("classify images", typed("predict", run.name, *where, "scan.jpeg")),
    ]
    if not run.evaluation.exists():
        steps.append(("open the test split, once every choice is made", typed("evaluate", run.name, *where)))
    if record.data is not None and record.data.synthetic:
        return [*steps, ("your own images", typed("run", "--data", "path/to/images"))]
    settled = record.search is not None and record.search.stopped_by.startswith(SETTLED)
    more = ["--no-until-settled"] if settled else ["--budget", str(2 * record.settings.budget)]
    return [*steps, ("more trials", typed("run", "--resume", run.name, *more, *where))]


def ended_early(screen: Screen, run: RunDir, stopped_by: str) -> None:
    """Why the search ended before its budget, if it did, and how it goes on where a setting has ended it."""
    if stopped_by in ("", "budget"):
        return
    off = {"time limit": ["--time-limit", "none"]}.get(stopped_by, [])
    if stopped_by.startswith(SETTLED):
        off = ["--no-until-settled"]
    how = f"; it goes on by: {typed('run', '--resume', run.name, *off, *in_output(run.path.parent))}" if off else "."
    screen.line(f"  note: the search ended before its budget: {stopped_by}{how}")
