"""The page: whole for a finished run, honest about an unfinished or damaged one, harmless whatever the data say."""

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from PIL import Image
from rendered import Reports, draw_nothing
from report_outline import Outline, outline
from report_run import BACKBONE_TITLES, edit_json, write_run

from bench.cli import main
from bench.data.images.decode import fit
from bench.failures import ERROR
from bench.report import pictures
from bench.report.figures import search as figures_search
from bench.report.html import render
from bench.report.palette import looks
from bench.report.read.files import read
from bench.run.folder import RunDir
from bench.run.tables import SCHEMAS
from bench.stats.metrics import METRICS
from bench.texts import visible

HOSTILE = ("<script>alert(1)</script>", 'a"b&c', "$x$ </style> {{ 7*7 }}")


@pytest.fixture(scope="module")
def finished(reports: Reports) -> RunDir:
    return RunDir(reports["whole"].parent)


def test_a_finished_run_renders_whole(finished: RunDir) -> None:
    page = finished.report.read_text(encoding="utf-8")
    seen = Outline(page)
    assert finished.report.stat().st_size < 6_000_000
    assert 'class="missing"' not in page, "nothing is missing, so nothing is said to be"
    assert len(seen.named("img")) == len(list(finished.figures.glob("*.png"))) > 20
    for words in ("0.01 to 0.3, logarithmic, where unfreeze depth is 1, 2", "VGG16, ResNet50 or InceptionV3"):
        assert words in seen.text, words
    for words in (
        "No clear winner: ResNet50 and VGG16",
        "95 % interval",
        "On the internal test",
        "reference standard",
        "3 trials failed",
    ):
        assert words in seen.text.replace("\u00a0", " "), words
    assert "ground truth" not in seen.text.lower()
    assert not re.search(r"\bnan\b|\bNone\b|undefined", seen.text.replace("PNEUMONIA", "")), "shown as a dash instead"


def test_the_page_asks_nothing_of_a_network(finished: RunDir) -> None:
    seen = Outline(finished.report.read_text(encoding="utf-8"))
    policy = next(meta["content"] for meta in seen.named("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'") and "http" not in policy
    addresses = [attributes.get(key) for _, attributes in seen.tags for key in ("src", "href", "srcset", "action")]
    assert all(address.startswith(("data:", "#")) for address in addresses if address)


def test_the_page_is_accessible(finished: RunDir) -> None:
    seen = Outline(finished.report.read_text(encoding="utf-8"))
    levels = [int(tag[1]) for tag, _ in seen.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels)), "no level is skipped"
    assert all(attributes.get("scope") in ("col", "row") for attributes in seen.named("th"))
    assert all(len(attributes.get("alt") or "") > 30 for attributes in seen.named("img"))
    assert len(seen.named("caption")) == len(seen.named("table"))
    anchors = {attributes.get("id") for _, attributes in seen.tags}
    assert {(link["href"] or "")[1:] for link in seen.named("a")} <= anchors


def test_figures_are_kept_for_papers(finished: RunDir) -> None:
    names = {path.stem for path in finished.figures.iterdir()}
    assert {"comparisons", "roc", "reliability", "decision_curve", "subgroups", "robustness", "saliency"} <= names
    for name in names:
        assert (finished.figures / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "</svg>" in (finished.figures / f"{name}.svg").read_text(encoding="utf-8")


def test_a_figure_drawn_again_is_the_same(tmp_path: Path) -> None:
    trials = read(write_run(tmp_path / "xray", trials=12, image_side=16)).trials
    assert trials is not None
    known = looks(["vgg16", "resnet50", "inceptionv3"], BACKBONE_TITLES)
    for name in ("first", "second"):
        pictures.picture(tmp_path, name, lambda: figures_search.by_backbone(trials, METRICS["auc"], known), "", "")
    assert (tmp_path / "first.svg").read_bytes() == (tmp_path / "second.svg").read_bytes()
    assert matplotlib.rcParams["text.parse_math"], "matplotlib's own settings are back"
    assert not pyplot.get_fignums(), "nothing stays open"


def test_hostile_names_are_harmless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_nothing(monkeypatch)
    run = write_run(tmp_path / "a<b>&c", trials=12, classes=HOSTILE, seeds=1, image_side=16)
    edit_json(run.run, command="run --name '<img src=x onerror=alert(1)>'")
    trials = pd.read_csv(run.trials)
    trials.loc[trials["state"] == "failed", "reason"] = "</td><script>alert(2)</script>"
    trials.to_csv(run.trials, index=False)
    seen = outline(run)
    kinds = [script.get("type") for script in seen.named("script")]
    assert kinds == ["application/json", None, None], "the panel's and the page's own"
    assert len(seen.named("style")) == 2
    assert not any(key.startswith("on") for _, attributes in seen.tags for key in attributes)
    for words in (*HOSTILE, "a<b>&c", "</td><script>alert(2)</script>"):
        assert words in seen.text
    assert "49" not in re.findall(r"\$x\$ </style> (\S+)", seen.text), "data are no template"


@pytest.mark.filterwarnings("error:Glyph")
def test_unseen_characters_and_formulas_in_names_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "PAPER_DPI", 20)
    classes = ("=cmd()", "\x1b[31mred\x1b[0m", "\u202egnp.\n# Heading\n")
    run = write_run(tmp_path / "xray", trials=8, classes=classes, seeds=1, image_side=16)
    for name in ("predictions_test.csv", "splits.csv", "failures.csv"):
        table = SCHEMAS[name].read(run.path)
        assert set(table["label"]) == set(classes), name
        written = (run.path / name).read_text(encoding="utf-8")
        assert visible(written, keep="\n") == written
        assert not re.search(r"(^|,)[=@]", written, re.MULTILINE)
    page = render(run).read_text(encoding="utf-8")
    card = (run.path / "model_card.md").read_text(encoding="utf-8")
    assert visible(page, keep="\n\t") == page
    assert visible(card, keep="\n") == card
    assert "# Heading" not in card.splitlines()
    for words in ("=cmd()", "\\x1b[31mred\\x1b[0m", "\\u202egnp. # Heading"):
        assert words in Outline(page).text.replace("\n", " "), words
    assert "could not be written" not in page
    for figure in run.figures.glob("*.svg"):
        drawn = figure.read_text(encoding="utf-8")
        assert visible(drawn, keep="\n\t") == drawn


@pytest.mark.usefixtures("unsaved")
def test_a_run_in_the_middle_of_its_search(tmp_path: Path) -> None:
    run = write_run(tmp_path / "xray", trials=6, image_side=16)
    for path in (run.finalists, run.evaluation, run.predictions_test, run.best_model):
        path.unlink()
    edit_json(run.run, winner=None, search=None, seconds=None)
    text = outline(run).text
    assert "No winner yet" in text
    assert "The best trial so far is trial" in text
    assert "finalists.csv is missing: the finalists have not been retrained yet." in text
    assert f"python -m bench evaluate xray --output {tmp_path}" in text
    assert f"python run_bench.py --resume xray --output {tmp_path}" in text
    assert f"python -m bench compare --limit xray --output {tmp_path}" in text
    assert "needs at least 8 trials with comparable scores" in text
    assert "There is no best_model.h5 yet" in text


def test_an_empty_folder_renders(tmp_path: Path) -> None:
    text = outline(RunDir(tmp_path)).text
    assert "No trial has finished yet" in text
    for name in ("run.json", "trials.csv", "finalists.csv", "evaluation.json", "splits.csv", "audit.json"):
        assert name in text


@pytest.mark.usefixtures("undrawn")
def test_a_sealed_test_split_is_said_to_be_sealed(tmp_path: Path) -> None:
    run = write_run(tmp_path / "xray", trials=12, image_side=16)
    run.evaluation.unlink()
    run.predictions_test.unlink()
    text = outline(run).text
    assert "The test split is still sealed" in text
    assert "Finalists on validation" in text


FILES = ("run.json", "trials.csv", "epochs.csv", "finalists.csv", "evaluation.json", "predictions_test.csv")
FILES += ("splits.csv", "audit.json", "augmentation.npz", "baselines.csv", "comparisons.csv", "operating_points.csv")
FILES += ("prevalences.csv", "decision_curve.csv", "curves.csv", "calibration.json", "subgroups.csv", "failures.csv")
FILES += ("failures.npz", "robustness.csv", "saliency.json", "saliency.npz", "predictions_val.csv", "thumbnails.npz")


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["truncated", "binary"])
def test_a_damaged_file_costs_its_own_part_alone(finished: RunDir, tmp_path: Path, name: str, damage: str) -> None:
    for path in finished.path.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    broken = tmp_path / name
    whole = broken.read_bytes()
    broken.write_bytes({"truncated": whole[: len(whole) // 2], "binary": b"\xff\x00\x9f" * 50}[damage])
    text = outline(RunDir(tmp_path)).text
    assert "could not be written" not in text, "no section and no summary fell over"
    assert "Provenance" in text
    assert name == "trials.csv" or "Leaderboard" in text
    if damage != "truncated" or name.endswith((".json", ".npz")):
        assert f"{name} could not be read" in text


@pytest.mark.usefixtures("undrawn")
def test_half_a_row_is_left_out_and_counted(tmp_path: Path) -> None:
    run = write_run(tmp_path / "xray", trials=12, image_side=16)
    rows = run.trials.read_text(encoding="utf-8").splitlines()
    run.trials.write_text("\n".join([*rows[:-1], "11,compl"]), encoding="utf-8")
    assert "trials.csv was cut short: its last line is not whole and is left out." in outline(run).text
    run.trials.write_text("\n".join([*rows[:-1], "11,compl", ""]), encoding="utf-8")
    assert "trials.csv holds 1 row that cannot be read" in outline(run).text


@pytest.mark.usefixtures("undrawn")
def test_what_tuning_was_worth_is_said_by_the_test_split_alone(tmp_path: Path) -> None:
    """A trial that was stopped after two epochs is no measure of what the search gained."""
    run = write_run(tmp_path / "xray", trials=12, image_side=16)
    said = "Tuning was worth it: the winner is 0.031 (95 % interval 0.012 to 0.050) ROC AUC above its default recipe."
    edit_json(run.evaluation, sentences=[said])
    assert said in outline(run).text
    run.evaluation.unlink()
    sealed = outline(run).text
    assert said not in sealed
    assert not re.search(r"(search|tuning) (gained|lost)|default recipe scored", sealed)


@pytest.mark.usefixtures("undrawn")
def test_too_many_failed_trials_raise_a_red_banner(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "xray", trials=12, image_side=16)
    assert "Too many trials failed" not in outline(run).text
    assert main(["report", str(run.path)]) == 0
    trials = pd.read_csv(run.trials)
    trials.loc[[0, 3], ["state", "failure", "reason"]] = ["failed", ERROR, "ValueError: <b>twice</b>"]
    trials.to_csv(run.trials, index=False)
    seen = outline(run)
    assert "Too many trials failed. 2 of 12 trials (17%) failed for other reasons" in seen.text
    assert "lost 2 of 4 trials (50%), a third or more; most often: ValueError: <b>twice</b>." in seen.text
    (banner,) = [one for one in seen.named("div") if one.get("class") == "banner grave"]
    assert banner["role"] == "alert"
    assert re.search(r"\.banner\.grave \{[^}]*--grave", run.report.read_text(encoding="utf-8"))
    capsys.readouterr()
    assert main(["report", str(run.path)]) == 3
    assert "ATTENTION: 2 of 12 trials (17%) failed" in capsys.readouterr().out


@pytest.mark.usefixtures("undrawn")
def test_trials_that_were_tried_again_are_counted_once(tmp_path: Path) -> None:
    run = write_run(tmp_path / "xray", trials=12, image_side=16)
    trials = pd.read_csv(run.trials)
    history = trials.iloc[[0, 0]].assign(
        trial=[12, 13], state="failed", reason="killed", failure="machine", retried_as=0
    )
    pd.concat([trials, history]).to_csv(run.trials, index=False)
    text = " ".join(outline(run).text.split())
    assert "12 of 12 planned trials ended" in text and "2 failed trials were tried again" in text
    assert "Too many trials failed" not in text


@pytest.mark.usefixtures("undrawn")
def test_banners_for_random_weights_and_synthetic_images(tmp_path: Path) -> None:
    run = write_run(tmp_path / "demo", trials=12, synthetic=True, weights="random", image_side=16)
    text = outline(run).text
    assert "This is not transfer learning." in text
    assert "says nothing about medicine" in text
    edit_json(run.run, weights={"kind": "imagenet"}, data={"synthetic": False}, settings={})
    text = outline(run).text
    assert "not transfer learning" not in text
    assert "says nothing about medicine" not in text


@pytest.mark.usefixtures("undrawn")
def test_patients_across_splits_raise_a_banner(tmp_path: Path) -> None:
    run = write_run(tmp_path / "xray", trials=12, image_side=16)
    splits = pd.read_csv(run.splits)
    splits.loc[splits["split"] == "test", "patient"] = "train-0"
    splits.to_csv(run.splits, index=False)
    assert "Patients cross the splits. 1 patient has images in more than one split" in outline(run).text


@pytest.mark.usefixtures("unsaved")
def test_a_metric_where_lower_is_better_and_a_fourth_backbone(tmp_path: Path) -> None:
    backbones = ("vgg16", "resnet50", "inceptionv3", "my_net")
    run = write_run(tmp_path / "xray", trials=24, backbones=backbones, metric="log_loss", image_side=16)
    text = outline(run).text
    assert "validation log loss (lower is better)" in text
    assert "could not be drawn" not in text
    assert "my_net" in text
    best = pd.read_csv(run.trials).sort_values("metric_log_loss").iloc[0]
    leaders = re.search(r"Reason\s+(\d+)\s+(\d+)", text)
    assert leaders is not None and int(leaders[2]) == best["trial"]


@pytest.mark.usefixtures("undrawn")
def test_a_metric_without_a_value_gives_its_reason(tmp_path: Path) -> None:
    run = write_run(tmp_path / "xray", trials=12, image_side=16)
    models = {"resnet50": {"metrics": {"auc": {"value": None, "reason": "the test split has one class"}}}}
    edit_json(run.evaluation, models=models, winner="resnet50")
    assert "ROC AUC of ResNet50 was not computed: the test split has one class." in outline(run).text


def test_importing_the_report_loads_no_training_library() -> None:
    code = "import sys, bench.report.html; print(*sorted({'tensorflow', 'keras', 'ray'} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == ""


@pytest.mark.usefixtures("undrawn")
def test_every_setting_is_listed(tmp_path: Path) -> None:
    text = outline(write_run(tmp_path / "xray", trials=12, folds=3, image_side=16)).text
    listed = (r"patient pattern ^(P\d+)_", "splits /earlier/splits.csv", "resize pad", "folds 3")
    for words in (*listed, "test share 0.2", "val share 0.15"):
        assert words in " ".join(text.split()), words


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("resize", ["squash", "pad", "crop", None])
def test_the_code_for_reuse_makes_images_square_as_the_run_did(tmp_path: Path, resize: str | None) -> None:
    run = write_run(tmp_path / "xray", trials=12, image_side=16)
    edit_json(run.run, settings={"resize": resize} if resize else {})
    lines = re.search(r"import keras, numpy as np\n(.*\n)model = .*\n.*\n(image = .*)\n", outline(run).text)
    assert lines is not None
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 48), dtype=np.uint8)).save(tmp_path / "image.png")
    known = {"width": 32, "height": 32, "channels": 1}
    exec(lines[1] + lines[2].replace('"image.png"', repr(str(tmp_path / "image.png"))), known)
    expected = fit(Image.open(tmp_path / "image.png"), 32, resize or "squash")[..., 0]  # type: ignore[arg-type]
    assert np.abs(np.asarray(known["image"], dtype=int) - expected).max() <= 2
