"""What a run says of its search and its model, in one sentence each; empty where its files do not say."""

from bench import numbers
from bench.numbers import counted
from bench.report import summary
from bench.report.names import backbone, joined, metric_words, parameter
from bench.report.page import Page
from bench.report.read.chosen import winner_name
from bench.report.read.reading import document
from bench.report.sections.answers_data import used
from bench.report.tables import data as tables_data
from bench.run.documents import ModelCard

_RESIZED = {"squash": "squashed", "pad": "padded", "crop": "cropped"}


def card(page: Page) -> ModelCard | None:
    """The content of best_model.json; None where it is missing, cannot be read or is of a model before this winner."""
    content, won = document(ModelCard, page.run.best_model_card, {}), _winner_hash(page)
    return None if content and won and content.sha256 not in ("", won) else content


def _winner_hash(page: Page) -> str:
    """SHA-256 of the winner's file as finalists.csv has it; empty where it does not say."""
    finalists = page.files.finalists
    if finalists is None:
        return ""
    return next(map(str, finalists.loc[finalists["winner"], "sha256"].dropna()), "")


def asked(page: Page) -> str:
    """The question of the run."""
    return summary.story(page.files)[0] if page.files.trials is not None else ""


def goal(page: Page) -> str:
    """What kind of study it is."""
    trials = page.files.trials
    if trials is None or not len(trials):
        return ""
    untested = (
        "has no result on test yet" if page.files.openings or page.files.opened else "leaves the test split sealed"
    )
    tested = "tests the winner internally" if page.files.evaluation is not None else untested
    chances = f"{counted(len(trials), 'trial')} of {counted(len(page.files.backbones), 'backbone')}"
    return f"Model development: the run compares {chances} and {tested}."


def preprocessing(page: Page) -> str:
    """How an image becomes what the model takes."""
    about, settings = card(page), page.files.record.settings
    size = about.input if about else None
    side = size.height if size else settings.image_size
    if side is None or not (size or "resize" in settings.model_fields_set):
        return ""
    how = _RESIZED[size.resize if size else settings.resize]
    kind = {1: ", in grey", 3: ", in colour"}.get(size.channels if size else page.files.about_data.channels or 0, "")
    return (
        f"Images are {how} to {side} × {side} pixels{kind}, values 0 to 255; the network’s own preprocessing "
        "is inside the model."
    )


def imbalance(page: Page) -> str:
    """What was done about classes of unequal size."""
    rows = tables_data.splits(used(page))
    train = rows[rows["split"] == "train"] if len(rows) else rows
    if not len(train) or numbers.number(train["imbalance"].iloc[0]) is None:
        return ""
    weighted = page.files.record.settings.class_weights
    how = "the loss weighs classes by their inverse frequency" if weighted else "the loss does not weigh classes"
    about = card(page)
    known = about is not None and about.temperature is not None
    after = f"; calibrated on validation (temperature {numbers.short(about.temperature)})" if about and known else ""
    return f"Largest to smallest class in training {numbers.ratio(train['imbalance'].iloc[0])}; {how}{after}."


def predictors(page: Page) -> str:
    """What the prediction is made from."""
    return f"The pixels of one image and nothing else. {preprocessing(page)}" if preprocessing(page) else ""


def architecture(page: Page) -> str:
    """The winner, layer group by layer group."""
    about, files = card(page), page.files
    winner = winner_name(files)
    how = summary.winner_configuration(files)
    if not winner or not how:
        return ""
    size = about.input if about else None
    shape = f" Input {size.height} × {size.width} × {size.channels}." if size else ""
    head = "global average pooling, standardisation, dropout and a dense softmax"
    return f"{backbone(winner)}, {head} over {counted(len(files.classes), 'class', 'classes')}; {how}.{shape}"


def software(page: Page) -> str:
    """The versions that matter most."""
    packages = page.files.record.packages
    wanted = ("python", "tensorflow", "keras", "ray", "optuna", "scikit-learn")
    told = [f"{name} {packages[name]}" for name in wanted if packages.get(name)]
    version = page.files.record.suite_version
    suite = [f"medical-transfer-bench {version}"] if version else []
    return f"{', '.join([*suite, *told])}." if told else ""


def weights(page: Page) -> str:
    """What the backbones started from."""
    about, settings = page.files.record.weights, page.files.record.settings
    if not about.kind:
        return ""
    note = about.note.split(" (")[0].rstrip(".")
    kind = {"imagenet": "ImageNet weights", "random": "Random weights", "folder": "Weights from a folder"}
    first = kind.get(about.kind, about.kind)
    heads = f"; new layers are drawn from seed {settings.seed}" if "seed" in settings.model_fields_set else ""
    return f"{note if note.startswith(first) else f'{first} ({note})' if note else first}{heads}."


def training(page: Page) -> str:
    """How the candidates were trained and searched for."""
    trials, space = page.files.trials, page.files.record.space.parameters
    if trials is None or not len(trials):
        return ""
    found = summary.counts(page.files)
    epochs = page.files.record.settings.epochs
    most = "" if epochs is None else f", at most {counted(epochs, 'epoch')} a phase"
    varied = joined(parameter(name).lower() for name in space)
    return (
        f"Adam{most}; {counted(len(trials), 'trial')} ({found['pruned']} stopped early, {found['failed']} failed)"
        f"{f' over {varied}' if varied else ''}."
    )


def tuning(page: Page) -> str:
    """How the candidates were trained, and how the winner was chosen among them."""
    return f"{training(page)} {selection(page)}".strip()


def selection(page: Page) -> str:
    """How the winner was chosen."""
    files = page.files
    if files.finalists is None or not winner_name(files):
        return ""
    done = files.finalists[files.finalists["state"] == "completed"]
    words = metric_words(files.metric)
    if files.finalists["fold_mean"].notna().any():
        how = f"mean validation {words} over {counted(files.finalists['folds'].max(), 'fold')}"
    else:
        repeats = done.groupby("backbone").size().max() if len(done) else 1
        how = f"mean validation {words} over {counted(repeats, 'seed')}" if repeats > 1 else f"validation {words}"
    return (
        f"Each backbone’s best trial was retrained; {backbone(winner_name(files))} has the best {how}. "
        "The test split had no part in it."
    )


def ensemble(page: Page) -> str:
    """That there is no ensemble."""
    winner = winner_name(page.files)
    return f"No ensemble: the exported model is one {backbone(winner)}." if winner else ""


def model_hash(page: Page) -> str:
    """The SHA-256 of the exported model as the files give it; empty where none does."""
    about = card(page)
    return (about.sha256 if about else "") or _winner_hash(page)


def availability(page: Page) -> str:
    """The model's file and its hash."""
    told = model_hash(page)
    return f"best_model.h5 and best_model.json lie beside this report; SHA-256 {told}." if told else ""


def reproduction(page: Page) -> str:
    """That the run can be repeated."""
    version = numbers.text(page.files.record.suite_version)
    if not page.files.record.command:
        return ""
    return f"medical-transfer-bench {version}; the exact command, settings, search space and seeds are in this report."
