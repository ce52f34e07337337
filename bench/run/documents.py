"""The other JSON documents of a run folder as typed values: audit, evaluation, calibration, saliency, bound, card.

What is not set is not written. As for run.json, the report reads them leniently (`bench.run.record.read_leniently`).
"""

from typing import Any, Literal

from pydantic import Field

from bench.run.record import Number, OpeningRecord, Part, SplitRecord
from bench.stats.calibration import CalibrationMap
from bench.stats.conformal import ConformalScores
from bench.stats.familiarity import FeatureDistance

RESEARCH_USE = "Research use only; not a medical device."
"""Stands in what leaves the suite."""


class FindingRecord(Part):
    """One thing that an audit found; see `bench.data.audit.findings.Finding`."""

    kind: str = ""
    heading: str = ""
    severity: str = ""
    text: str = ""
    count: int = 0
    files: tuple[str, ...] = ()


class LeftOut(Part):
    """What a source found and did not take, of one ``kind``; ``text`` says how many, such as ``3 masks``."""

    kind: str = ""
    text: str = ""
    count: int = 0
    files: tuple[str, ...] = ()


class Layout(Part):
    """How a folder was read, in words, and the files that were not."""

    text: str = ""
    left_out: tuple[LeftOut, ...] = ()


class Excluded(Part):
    """An image that was not used."""

    file: str = ""
    label: str = ""
    kind: str = ""
    reason: str = ""


class PatientRule(Part):
    """How patients are told from file names; ``narrow`` and ``wide`` count patient_id and split_group."""

    rule: str = ""
    assumed: bool = False
    wide: int | None = None
    narrow: int | None = None


class SharedPatients(Part):
    """Patients that two splits share, by pair such as ``train-val``."""

    narrow: dict[str, int] = {}
    wide: dict[str, int] = {}


class Copy(Part):
    """One image of a set of duplicates; ``change`` says what it is of the first one, such as ``mirrored``."""

    file: str = ""
    label: str = ""
    split: str = ""
    change: str = ""


class DuplicateSet(Part):
    """Images that show the same; ``distance`` is in bits of the perceptual hash."""

    kind: str = ""
    distance: int | None = None
    labels_conflict: bool = False
    across_splits: bool = False
    images: tuple[Copy, ...] = ()


class AuditedSplits(Part):
    """Splits as they were given, and as they are used."""

    given: dict[str, SplitRecord] = {}
    used: dict[str, SplitRecord] = {}


class ClassDistribution(Part):
    """Minimum, quartiles and maximum of measures of one class's images, and how often modes and formats occur."""

    images: int = 0
    width: tuple[Number | None, ...] = ()
    height: tuple[Number | None, ...] = ()
    aspect: tuple[Number | None, ...] = ()
    bytes: tuple[Number | None, ...] = ()
    bytes_per_pixel: tuple[Number | None, ...] = ()
    modes: dict[str, int] = {}
    formats: dict[str, int] = {}


class MetadataFeature(Part):
    """How well one piece of metadata predicts the label by itself."""

    name: str = ""
    auc: Number | None = None


class ShortcutRecord(Part):
    """How well metadata alone predict the label; ``reason`` says why that was not computed."""

    auc: Number | None = None
    low: Number | None = None
    high: Number | None = None
    limit: Number | None = None
    images: int | None = None
    patients: int | None = None
    warns: bool = False
    reason: str = ""
    features: tuple[MetadataFeature, ...] = ()


class AuditRecord(Part):
    """audit.json."""

    format: int | None = None
    source: str = ""
    path: str = ""
    classes: tuple[str, ...] = ()
    images: int | None = None
    layout: Layout | None = None
    findings: tuple[FindingRecord, ...] = ()
    left_out: tuple[Excluded, ...] = ()
    patients: PatientRule = PatientRule()
    shared_patients: SharedPatients = SharedPatients()
    duplicates: tuple[DuplicateSet, ...] = ()
    moved: tuple[dict[str, Any], ...] = ()
    splits: AuditedSplits = AuditedSplits()
    by_class: dict[str, ClassDistribution] = {}
    shortcut: ShortcutRecord | None = None
    border: ShortcutRecord | None = None
    notes: tuple[str, ...] = ()


class Estimate(Part):
    """A value with its interval; ``reason`` says why there is none."""

    value: Number | None = None
    low: Number | None = None
    high: Number | None = None
    reason: str = ""


class Threshold(Part):
    """A frozen operating point of one class, and the rule that chose it.

    ``value`` is on the scale of the file's own probabilities, ``calibrated`` the same point of two classes after the
    calibration map. ``low`` and ``high`` are what other samples of patients would have given; ``reason`` says why they
    are not known. ``sensitivity`` and ``specificity`` are those on validation.
    """

    label: str = Field(validation_alias="class", serialization_alias="class")
    value: Number
    rule: str = ""
    calibrated: Number | None = None
    low: Number | None = None
    high: Number | None = None
    reason: str = ""
    sensitivity: Estimate | None = None
    specificity: Estimate | None = None


class ClassScores(Part):
    """Scores of one class; ``support`` counts its images."""

    precision: Number | None = None
    recall: Number | None = None
    f1: Number | None = None
    support: int | None = None
    auc: Number | None = None
    auc_low: Number | None = None
    auc_high: Number | None = None


class SeedSpread(Part):
    """Mean and standard deviation of each metric over ``n`` seeds, and the ``values`` of each of the ``repeats``."""

    n: int | None = None
    repeats: tuple[int, ...] = ()
    representative: int | None = None
    values: dict[str, tuple[Number | None, ...]] = {}
    mean: dict[str, Number | None] = {}
    sd: dict[str, Number | None] = {}


class ModelScores(Part):
    """What the test split says of one finalist or baseline; ``confusion`` has the reference standard by row."""

    kind: str = ""
    title: str = ""
    metrics: dict[str, Estimate] = {}
    confusion: tuple[tuple[int, ...], ...] = ()
    per_class: dict[str, ClassScores] = {}
    averages: dict[str, dict[str, Number | None]] = {}
    repeats: SeedSpread | None = None


class BootstrapRecord(Part):
    """How intervals were drawn."""

    draws: int | None = None
    level: Number = 0.95
    unit: str = "patient"


class ValidationScores(Part):
    """What validation says of the winner."""

    metrics: dict[str, Estimate] = {}
    images: int | None = None
    patients: int | None = None


class Retrained(Part):
    """A finalist's score in the search beside that of its retrainings.

    ``low`` and ``high`` are by patients; ``reach`` is how far from ``mean`` one more seed may lie.
    """

    backbone: str = ""
    trial_score: Number | None = None
    mean: Number | None = None
    sd: Number | None = None
    low: Number | None = None
    high: Number | None = None
    reach: Number | None = None
    repeats: int | None = None
    verdict: str = ""
    flagged: bool = False
    sentence: str = ""


class SelectionRecord(Part):
    """What choosing on validation has cost.

    Attributes:
        configurations, epochs: among how many the search chose.
        metric: by which.
        apparent: the score of the best on the images that chose it.
        corrected, low, high: that of the selection as a whole, on images that had no say, with its interval.
        chosen: backbone -> share of draws of patients and seeds in which it wins.
        draws: how many.
        reason: why there are no scores; empty if there are.
    """

    configurations: int = 0
    epochs: int = 0
    metric: str = ""
    apparent: Number | None = None
    corrected: Number | None = None
    low: Number | None = None
    high: Number | None = None
    chosen: dict[str, Number] = {}
    draws: int | None = None
    reason: str = ""


class Gap(Part):
    """The winner's validation score beside its test score; ``difference`` is positive where validation was better."""

    metric: str = ""
    validation: Number | None = None
    test: Number | None = None
    difference: Number | None = None
    low: Number | None = None
    high: Number | None = None
    flagged: bool = False
    sentence: str = ""


class LedgerRecord(Part):
    """How often the test images have been opened, by any run on record.

    Attributes:
        this_split, this_data: openings of just these images, and of any of the same data, this one included.
        overlapping: openings of other splits that share images; ``shared_images`` is the most that one shares,
            ``altered_images`` how many of these are known by their looks only (resized or recompressed).
        predicted: how often test images were given to `predict`; ``predicted_images`` is the most at one time.
        unreadable: damaged lines.
        broken: where a ledger is no longer as it was written, in sentences.
        since: date from which there is a record.
        openings: those that concern these images, the latest last.
    """

    this_split: int | None = None
    this_data: int | None = None
    overlapping: int | None = None
    shared_images: int | None = None
    altered_images: int = 0
    predicted: int = 0
    predicted_images: int = 0
    unreadable: int = 0
    broken: tuple[str, ...] = ()
    since: str = ""
    openings: tuple[OpeningRecord, ...] = ()
    sentence: str = ""

    @property
    def to_beware_of(self) -> bool:
        """Whether somebody may have seen results on these images before."""
        opened = (self.this_split or 0) > 1 or bool(self.overlapping or self.predicted)
        return opened or bool(self.unreadable or self.broken)


class Refusal(Part):
    """Something that was not computed, and why."""

    what: str = ""
    reason: str = ""


class _WithMap(Part):
    """A document that holds the calibration map; in runs from before there was one, a ``temperature`` alone."""

    calibration: CalibrationMap | None = None
    temperature: Number | None = None

    @property
    def map(self) -> CalibrationMap | None:
        """What makes calibrated probabilities of the file's own; None where the document holds none."""
        if self.calibration is None and self.temperature is not None and self.temperature > 0:
            return CalibrationMap.of_temperature(self.temperature)
        return self.calibration


class _Decided(_WithMap):
    """A document with the operating points too: ``threshold`` is that of two classes."""

    threshold: Threshold | None = None
    thresholds: tuple[Threshold, ...] = ()

    @property
    def frozen(self) -> tuple[Threshold, ...]:
        """The frozen thresholds, on the scale of the file's own probabilities."""
        return self.thresholds or ((self.threshold,) if self.threshold else ())


class Share(Part):
    """A counted share, ``hits`` out of ``of``, with Wilson's interval."""

    hits: int = 0
    of: int = 0
    value: Number | None = None
    low: Number | None = None
    high: Number | None = None


class ConformalRecord(Part):
    """What prediction sets came to on the test split.

    Attributes:
        coverage: that was asked for.
        limit: the highest score of a class that is in a set; None where validation has too few patients for one.
        patients: of validation that it rests on.
        patients_covered: patients of whom every image's set holds its class, which is what the coverage is about.
        covered: images whose set holds their class.
        single: images whose set is one class; the others are not to be answered.
        right: images whose one class is theirs, out of these.
        empty: images whose set holds no class.
    """

    coverage: Number = 0.9
    limit: Number | None = None
    patients: int = 0
    patients_covered: Share = Share()
    covered: Share = Share()
    single: Share = Share()
    right: Share = Share()
    empty: int = 0


class RuleScore(Part):
    """A rule that aggregates the images of a patient, and what it reaches on validation by patient."""

    rule: str = ""
    score: Number | None = None
    log_loss: Number | None = None


class PatientLevel(_Decided):
    """How several images of a patient become one prediction, chosen on validation; part of best_model.json.

    Calibrated probabilities of the images are aggregated by ``rule``. Thresholds are on the scale of what comes of
    that; ``calibration`` is the map after it, ``uncalibrated`` says why none was fitted.

    Attributes:
        metric, candidates: by which the rule was chosen, and from which.
        top: images that the rule ``top`` takes the mean of.
        patients, several, left_out: of validation: used, those of them with several images, and those left out because
            their images have different labels.
        reason: why the rule was not chosen by a score; empty if it was.
    """

    rule: str = "mean"
    metric: str = ""
    top: int | None = None
    candidates: tuple[RuleScore, ...] = ()
    patients: int | None = None
    several: int | None = None
    left_out: int = 0
    uncalibrated: str = ""
    reason: str = ""


class FrozenPoint(Part):
    """Sensitivity and specificity of one class at a frozen threshold."""

    label: str = Field("", validation_alias="class", serialization_alias="class")
    threshold: Number | None = None
    sensitivity: Estimate = Estimate()
    specificity: Estimate = Estimate()


class PatientScores(Part):
    """What the test split says by patient; ``scores`` are of aggregated probabilities, ``after`` of mapped ones.

    ``patients``, ``several`` and ``left_out`` as in `PatientLevel`, of the test split, and ``images`` those of the
    patients that are used.
    """

    decided: PatientLevel | None = None
    images: int | None = None
    patients: int | None = None
    several: int | None = None
    left_out: int = 0
    left_out_images: int = 0
    scores: ModelScores | None = None
    after: dict[str, Number] = {}
    points: tuple[FrozenPoint, ...] = ()
    sentence: str = ""


class Cost(Part):
    """What a model costs beside the winner: milliseconds of one image, megabytes of its file, and both as ratios."""

    milliseconds: Number | None = None
    winner_milliseconds: Number | None = None
    time: Number | None = None
    megabytes: Number | None = None
    winner_megabytes: Number | None = None
    size: Number | None = None


class EnsembleMember(Part):
    """A training that is part of the ensemble, ``count`` times; ``calibration`` is the map of its probabilities."""

    model: str
    repeat: int
    sha256: str = ""
    count: int = 1
    calibration: CalibrationMap = CalibrationMap()


class EnsembleChoice(_Decided):
    """The ensemble as chosen on validation; part of best_model.json.

    Attributes:
        members: empty where there is no ensemble.
        metric: by which it was chosen.
        candidates: among how many trainings.
        validation, winner_validation: that metric of the ensemble's and of the winner's calibrated probabilities.
        left_out: why some trainings were no candidates; empty if all were.
        reason: why there is no ensemble; empty if there is one.
    """

    members: tuple[EnsembleMember, ...] = ()
    metric: str = ""
    candidates: int | None = None
    validation: Number | None = None
    winner_validation: Number | None = None
    left_out: str = ""
    reason: str = ""


class AveragedViews(_Decided):
    """Test-time augmentation as fixed on validation; part of best_model.json.

    ``views`` augmented copies by the ``policy`` are averaged with the image itself; ``reason`` says why they are not.
    """

    views: int | None = None
    policy: str = ""
    metric: str = ""
    validation: Number | None = None
    winner_validation: Number | None = None
    reason: str = ""


class SecondaryModel(Part):
    """What is set beside the winner, apart from the comparisons: an ``ensemble``, or averaged views (``tta``).

    All scores are of calibrated probabilities, the winner's too.

    Attributes:
        metric: of ``difference``, which is its score less the winner's on the same images.
        winner: the winner's score.
        scores: its own.
        points: at its own frozen thresholds.
        reason: why there is none; empty if there is one.
    """

    kind: str = ""
    title: str = ""
    metric: str = ""
    winner: Number | None = None
    difference: Estimate = Estimate()
    scores: ModelScores | None = None
    points: tuple[FrozenPoint, ...] = ()
    cost: Cost | None = None
    reason: str = ""
    sentence: str = ""


class EvaluationRecord(_Decided):
    """evaluation.json; ``files`` holds the SHA-256 of every evaluated model's file by NAME-REPEAT."""

    opened: tuple[str, ...] = ()
    images: int | None = None
    patients: int | None = None
    several_images_a_patient: bool | None = None
    classes: tuple[str, ...] = ()
    winner: str = ""
    definitions: dict[str, str] = {}
    bootstrap: BootstrapRecord = BootstrapRecord()
    files: dict[str, str] = {}
    models: dict[str, ModelScores] = {}
    validation: ValidationScores = ValidationScores()
    retrained: tuple[Retrained, ...] = ()
    gap: Gap | None = None
    selection: SelectionRecord | None = None
    sentences: tuple[str, ...] = ()
    ledger: LedgerRecord | None = None
    conformal: ConformalRecord | None = None
    refusals: tuple[Refusal, ...] = ()
    by_patient: PatientScores | None = None
    secondary: tuple[SecondaryModel, ...] = ()


class Bin(Part):
    """One bin of a reliability diagram."""

    start: Number | None = Field(None, validation_alias="from", serialization_alias="from")
    end: Number | None = Field(None, validation_alias="to", serialization_alias="to")
    images: int | None = None
    predicted: Number | None = None
    observed: Number | None = None
    low: Number | None = None
    high: Number | None = None


class ExpectedError(Part):
    """ECE of so many images if the probabilities were true: ``mean`` and 95th percentile of simulated labels.

    ``reached`` is the share of simulations with at least the ECE that was found.
    """

    mean: Number | None = None
    high: Number | None = None
    reached: Number | None = None


class ClassAgreement(Part):
    """Of one class: mean probability, share observed, and as in `bench.stats.recalibration.Agreement`.

    ``widened`` holds ``intercept`` and ``slope`` again; it is empty in earlier versions.
    """

    predicted: Number | None = None
    observed: Number | None = None
    difference: Estimate = Estimate()
    intercept: Estimate = Estimate()
    slope: Estimate = Estimate()
    widened: dict[str, Estimate] = {}
    apart: tuple[str, ...] = ()
    reason: str = ""


class CalibrationScores(Part):
    """How well probabilities agree with what was observed; ``reliability`` and ``agreement`` are by class."""

    ece: Number | None = None
    ece_if_perfect: ExpectedError | None = None
    brier: Number | None = None
    log_loss: Number | None = None
    agreement: dict[str, ClassAgreement] = {}
    reliability: dict[str, tuple[Bin, ...]] = {}


class FittedOn(Part):
    """The split that a calibration map was fitted on."""

    split: str = ""
    images: int | None = None
    patients: int | None = None


class CandidateMap(Part):
    """A calibration map and its log loss, cross-validated by patients."""

    method: str = ""
    log_loss: Number | None = None


class WeightsOfLoss(Part):
    """Log loss on validation with the weights of the loss ``kept`` in the probabilities, and with them ``undone``."""

    weights: tuple[Number, ...] = ()
    kept: Number | None = None
    undone: Number | None = None


class CalibrationRecord(_WithMap):
    """calibration.json: the map, and both splits ``before`` it, without the ``weights`` of the loss, and ``after`` it.

    ``change`` is what the map adds to the log loss on test; ``verdict`` is ``worse`` where that is above 0,
    ``disagrees`` where an intercept is apart from 0 or a slope from 1, ``agrees`` where none is, and ``unknown`` where
    there is no interval, or one that is too wide to tell. ``of_loss`` is None where the loss weighed no class, where
    too few patients could tell, and in earlier versions, which always undid the weights.
    """

    of_loss: WeightsOfLoss | None = None
    candidates: tuple[CandidateMap, ...] = ()
    fitted_on: FittedOn = FittedOn()
    bins: int | None = None
    splits: dict[str, dict[str, CalibrationScores]] = {}
    change: Estimate | None = None
    verdict: str = ""
    sentence: str = ""
    reason: str = ""


class SaliencyCase(Part):
    """One image of which a saliency map was made; ``correlation`` is with the map of the randomised network."""

    image: str = ""
    label: str = ""
    predicted: str = ""
    probability: Number | None = None
    correct: bool | None = None
    correlation: Number | None = None
    copies: int | None = None


class Randomisation(Part):
    """What became of the maps when weights were randomised."""

    mean_correlation: Number | None = None
    sentence: str = ""


class SaliencyRecord(Part):
    """saliency.json."""

    method: str = ""
    why: str = ""
    sentence: str = ""
    randomisation: Randomisation | None = None
    items: tuple[SaliencyCase, ...] = ()


class LowerBoundPart(Part):
    """The images that one kind of work had to process, and bare Keras's speed at it."""

    what: str = ""
    images: int | None = None
    seconds: Number | None = None
    images_per_second: Number | None = None
    precision: str = ""
    batch: int | None = None
    processes: int | None = None
    threads: int | None = None
    xla: bool | None = None


class CalibratedOn(Part):
    """The machine on which bare Keras's speed was measured: its first ``date``, and the highest ``load`` average."""

    processor: str = ""
    cores: int = 1
    gpus: int = 0
    keras: str = ""
    tensorflow: str = ""
    date: str = ""
    load: Number | None = None


class LeastTime(Part):
    """The least ``seconds`` that a part of a run could have taken, beside the ``measured`` ones, and their ratio."""

    seconds: Number | None = None
    parts: tuple[LowerBoundPart, ...] = ()
    measured: Number | None = None
    ratio: Number | None = None


class LowerBoundRecord(LeastTime):
    """limit.json: the least time of the search; ``after`` is that of what follows it, ``whole`` that of the whole run.

    Both are None where the run has no finalists yet, and in files from before the lower bound covered them. What is
    measured of the whole run includes its start, its data and the report.
    """

    after: LeastTime | None = None
    whole: LeastTime | None = None
    calibrated: CalibratedOn = CalibratedOn()
    notes: tuple[str, ...] = ()


class ModelInput(Part):
    """What an exported model takes: images of ``height`` x ``width`` x ``channels`` with values in ``range``."""

    height: int
    width: int
    channels: int
    range: tuple[int, int] = (0, 255)
    resize: Literal["squash", "pad", "crop"] = "squash"
    window: dict[str, Any] | None = None


class PlannedContrast(Part):
    """The one contrast that is not corrected: the winner less ``against``, of which ``margin`` would not matter."""

    against: str = ""
    metric: str = ""
    margin: Number | None = None


class TrainingImages(Part):
    """What the training images were like, by which others are told to be unlike them.

    Attributes:
        images: how many there were.
        kinds: ``grey``, ``colour``, ``grey of more than 8 bits``, ``colour of more than 8 bits`` -> images.
        width, height: least and greatest, in pixels.
        aspect: least and greatest width over height.
        features: the distance of the network's pooled features; ``reason`` says why there is none.
    """

    images: int = 0
    kinds: dict[str, int] = {}
    width: tuple[int, int] | None = None
    height: tuple[int, int] | None = None
    aspect: tuple[Number, Number] | None = None
    features: FeatureDistance | None = None
    reason: str = ""


class ModelCard(_Decided):
    """best_model.json, which best_model.h5 holds too, in an attribute of its own (`bench.models.metadata`).

    Attributes:
        ordinal: whether ``classes`` have an order, which is this one.
        sha256: of best_model.h5, and ``trained`` of the file under ``models`` that it was made of; empty where both are
            the same file, as in earlier versions.
        config: the winner's settings.
        candidates: SHA-256 of each finalist's file.
        conformal: what prediction sets rest on.
        training: what the training images were like.
    """

    file: str = ""
    sha256: str = ""
    trained: str = ""
    backbone: str = ""
    repeat: int | None = None
    classes: tuple[str, ...] = ()
    ordinal: bool = False
    input: ModelInput | None = None
    config: dict[str, Any] = {}
    validation: dict[str, Number] = {}
    primary_contrast: PlannedContrast | None = None
    checked: dict[str, Any] = {}
    candidates: dict[str, str] = {}
    conformal: ConformalScores | None = None
    training: TrainingImages | None = None
    by_patient: PatientLevel | None = None
    ensemble: EnsembleChoice | None = None
    averaged_views: AveragedViews | None = None
    run: str = ""
    created: str = ""
    suite_version: str = ""
    data: dict[str, Any] = {}
    weights: dict[str, Any] = {}

    @property
    def of(self) -> str:
        """SHA-256 of the training's file, as finalists.csv has it."""
        return self.trained or self.sha256


class ExportRecord(Part):
    """Beside a model in another format: what that was made from, how it was checked, and the model's own metadata.

    Attributes:
        format, file: as ``--to`` names it, and the name of the file or folder.
        sha256: of each file.
        made_from: SHA-256 of the .h5 file.
        difference, tolerance: largest difference of a probability on ``images`` sample images, and what is accepted.
        packages: versions by which it was made and run.
        model: what best_model.json says; classes by number and the input alone, where nothing else is known.
    """

    format: str = ""
    file: str = ""
    sha256: dict[str, str] = {}
    made_from: str = ""
    difference: Number | None = None
    tolerance: Number | None = None
    images: int | None = None
    created: str = ""
    suite_version: str = ""
    packages: dict[str, str] = {}
    model: ModelCard = ModelCard()
    use: str = ""


class EnsembleCard(EnsembleChoice):
    """best_ensemble.json; ``file`` takes images as ``input`` says and gives the mean of calibrated probabilities.

    Its own ``calibration`` changes nothing: the maps of the members are inside.

    ``checked`` says how far the file's probabilities and that mean lie apart on some validation images.
    """

    file: str = ""
    sha256: str = ""
    classes: tuple[str, ...] = ()
    input: ModelInput | None = None
    checked: dict[str, Any] = {}
    cost: Cost | None = None
    member_milliseconds: tuple[Number, ...] = ()
    member_megabytes: tuple[Number, ...] = ()


class ExternalModel(Part):
    """The model that an external test is of, and what of it was frozen.

    Attributes:
        name: of its run, or of its file.
        run: of its run; empty for a file by itself.
        path: of its file, and ``sha256`` of that; ``trained`` of the file of its training, which stays the same where
            the card in the model's file is written anew.
        thresholds, calibration: as its card has them.
        coverage: of the prediction sets; None where the card holds none.
        known_images: of the run that copies were sought among; None where they were not known, and ``unchecked`` says
            why.
        notes: what must be known of the model, in sentences.
    """

    name: str = ""
    run: str = ""
    path: str = ""
    sha256: str = ""
    trained: str = ""
    backbone: str = ""
    suite_version: str = ""
    created: str = ""
    classes: tuple[str, ...] = ()
    thresholds: tuple[Threshold, ...] = ()
    calibration: CalibrationMap | None = None
    coverage: Number | None = None
    known_images: int | None = None
    unchecked: str = ""
    notes: tuple[str, ...] = ()


class ExternalData(Part):
    """The images of an external test: where they lie, and what their classes are called there -> in the model.

    ``images`` are all that were found, ``found`` those of each class as the data call it. An empty name of the model
    is a class that was left out. ``known_patients`` counts patients who bear the name of one of train or validation.
    """

    source: str = ""
    path: str = ""
    fingerprint: str = ""
    images: int = 0
    found: dict[str, int] = {}
    classes: dict[str, str] = {}
    patient_rule: str = ""
    patients_assumed: bool = False
    known_patients: int | None = None


class ExternalExclusion(Part):
    """Images that took no part for one reason; ``files`` names the first, external_excluded.csv all."""

    reason: str = ""
    images: int = 0
    files: tuple[str, ...] = ()


class SampleScores(Part):
    """What one sample of patients says of the model, everything frozen.

    Attributes:
        images, patients: how many there are, and ``by_class`` images by class.
        scores: of the model's own probabilities.
        called: images by reference standard (rows) and by what they are called at the frozen threshold; of several
            classes, or without a threshold, under the most probable class.
        unlike: images unlike the training images; None where the card does not tell them.
    """

    images: int = 0
    patients: int = 0
    several_images_a_patient: bool = False
    by_class: dict[str, int] = {}
    scores: ModelScores = ModelScores()
    called: tuple[tuple[int, ...], ...] = ()
    conformal: ConformalRecord | None = None
    unlike: Share | None = None


class SampleDifference(Part):
    """One measure externally and internally, and external less internal; ``label`` is the class of a measure of one."""

    measure: str = ""
    label: str = ""
    external: Estimate = Estimate()
    internal: Estimate = Estimate()
    difference: Estimate = Estimate()
    p: Number | None = None
    reason: str = ""


class ExternalLedger(Part):
    """How often this model was tested on these images before, on others that share some, and other models on these."""

    before: int = 0
    overlapping: int = 0
    by_others: int = 0
    sentence: str = ""


class ExternalRecord(Part):
    """external.json; ``internal`` is None where there is no internal test to compare with: ``without`` says why."""

    format: int | None = None
    name: str = ""
    created: str = ""
    suite_version: str = ""
    command: str = ""
    model: ExternalModel = ExternalModel()
    data: ExternalData = ExternalData()
    bootstrap: BootstrapRecord = BootstrapRecord()
    external: SampleScores = SampleScores()
    internal: SampleScores | None = None
    without: str = ""
    differences: tuple[SampleDifference, ...] = ()
    excluded: tuple[ExternalExclusion, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    ledger: ExternalLedger | None = None
