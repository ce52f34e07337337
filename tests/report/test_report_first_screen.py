"""What tiles and lights say is what the files say; and the links, terms, names and references of the whole page."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from report_outline import Outline
from report_run import edit_json, write_run

from bench.report import finish, first_screen, glossary, html, methods
from bench.report.answers import Answers
from bench.report.page import Page
from bench.report.palette import looks
from bench.report.read.files import read
from bench.report.sections import provenance
from bench.run.folder import RunDir

RENDERED = ()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A run of two classes; to be copied, not to be changed."""
    return write_run(tmp_path_factory.mktemp("whole") / "xray", trials=12, image_side=16)


@pytest.fixture
def run(whole: RunDir, tmp_path: Path) -> RunDir:
    return RunDir(Path(shutil.copytree(whole.path, tmp_path / "xray")))


def page_of(run: RunDir) -> Page:
    files = read(run)
    return Page(run, files, looks(files.backbones, files.titles))


def tiles(run: RunDir) -> dict[str, tuple[str, str]]:
    return {tile.label: (tile.value, tile.detail) for tile in first_screen.tiles(page_of(run))}


def lights(run: RunDir) -> dict[str, tuple[str, str]]:
    return {light.title: (light.level, light.text) for light in first_screen.lights(read(run))}


def change(run: RunDir, name: str, at: "str | None" = None, **values: object) -> None:
    table = pd.read_csv(run.path / name)
    rows = table.index if at is None else table.index[table.eval(at)]
    for column, value in values.items():
        table[column] = table[column].astype("object")
        table.loc[rows, column] = value
    table.to_csv(run.path / name, index=False)


def test_sensitivity_and_specificity_stand_on_the_first_screen_with_their_intervals(run: RunDir) -> None:
    points = pd.read_csv(run.path / "operating_points.csv")
    shown = tiles(run)
    for measure in ("sensitivity", "specificity"):
        row = points[(points["point"] == "frozen") & (points["measure"] == measure)].iloc[0]
        value, detail = shown[f"{measure.capitalize()} for {row['class']}"]
        assert value == f"{row['value']:.3f}"
        assert f"frozen threshold {row['threshold']:.3f}" in detail and "interval" in detail
    auc = read(run).chosen_scores["auc"]
    assert shown["ROC AUC"][0] == f"{auc[0]:.3f}" and f"{auc[1]:.3f}–{auc[2]:.3f}" in shown["ROC AUC"][1]
    assert len(shown) == 6


def test_of_several_classes_the_mean_and_the_worst_are_shown(tmp_path: Path) -> None:
    run = write_run(tmp_path / "oct", trials=8, classes=("CNV", "DME", "NORMAL"), image_side=16)
    points = pd.read_csv(run.path / "operating_points.csv")
    rows = points[(points["point"] == "frozen") & (points["measure"] == "sensitivity")]
    value, detail = tiles(run)["Sensitivity, mean of the classes"]
    assert value == f"{rows['value'].mean():.3f}"
    worst = rows.loc[rows["value"].idxmin()]
    assert f"lowest: {worst['class']} {worst['value']:.3f}" in detail


def test_without_a_test_the_tiles_say_how_far_the_run_came(run: RunDir) -> None:
    run.evaluation.unlink()
    shown = tiles(run)
    assert shown["Test split"] == ("sealed", "no result on test yet")
    assert "Trials" in shown and "ROC AUC" not in shown and not any("ensitivity" in label for label in shown)
    assert first_screen.forest(page_of(run)) is None
    told = lights(run)
    for title in ("Baselines beaten", "Test split opened once", "Calibration", "Subgroup sizes"):
        assert told[title][0] == "unknown", title


def test_every_light_turns_with_its_file(run: RunDir) -> None:
    assert lights(run)["Patients apart"][0] == "good"
    change(
        run,
        "splits.csv",
        at="split == 'val'",
        patient=pd.read_csv(run.splits).query("split == 'train'")["patient"].iloc[0],
    )
    assert lights(run)["Patients apart"][0] == "problem"
    edit_json(run.audit, shortcut={"auc": 0.93, "low": 0.9, "high": 0.95, "limit": 0.6, "warns": True})
    assert lights(run)["Shortcut"] == ("caution", "the file’s properties alone predict the class: ROC AUC 0.930")
    edit_json(run.audit, shortcut={"auc": 0.52, "limit": 0.6, "warns": False})
    assert lights(run)["Shortcut"] == ("good", "the file’s properties give little away: ROC AUC 0.520")
    sought = {"kind": "altered", "severity": "good", "text": "There is none."}
    edit_json(run.audit, shortcut={"auc": None, "reason": "too few"}, duplicates=[], findings=[sought])
    assert (lights(run)["Shortcut"][0], lights(run)["Copies"][0]) == ("unknown", "good")
    image = {"file": "a.png", "label": "A", "split": "train"}
    edit_json(run.audit, duplicates=[{"kind": "exact", "images": [image, image], "labels_conflict": True}])
    assert lights(run)["Copies"][0] == "caution"
    rivals = "family != 'finalists'"
    change(run, "comparisons.csv", at=rivals, verdict="a better", difference=0.3, low=0.2, high=0.4)
    winner = read(run).chosen
    change(run, "comparisons.csv", at=rivals, a=winner)
    assert lights(run)["Baselines beaten"][0] == "good"
    one = "b == 'small_cnn'"
    change(run, "comparisons.csv", at=one, verdict="cannot be told apart", difference=0.01, low=-0.01, high=0.02)
    assert lights(run)["Baselines beaten"] == ("caution", "not shown to be beaten: a small CNN from scratch")
    change(run, "comparisons.csv", at=one, verdict="b better", difference=-0.03, low=-0.04, high=-0.02)
    assert lights(run)["Baselines beaten"][0] == "problem"
    assert tiles(run)["Strongest baseline"] == (
        "not beaten",
        "a small CNN from scratch is 0.030 (0.020–0.040) better in ROC AUC",
    )
    for told, level in (("agrees", "good"), ("disagrees", "caution"), ("worse", "problem"), ("unknown", "unknown")):
        edit_json(run.path / "calibration.json", verdict=told)
        assert lights(run)["Calibration"][0] == level
    change(run, "subgroups.csv", small=False)
    assert lights(run)["Subgroup sizes"][0] == "good"
    change(run, "subgroups.csv", small=True)
    assert lights(run)["Subgroup sizes"][0] == "caution"
    content = json.loads(run.evaluation.read_text(encoding="utf-8"))
    edit_json(run.evaluation, ledger={**(content.get("ledger") or {}), "this_split": 3, "sentence": "Opened before."})
    assert lights(run)["Test split opened once"] == ("caution", "opened 3 times")


def test_a_border_that_predicts_the_class_turns_the_light_and_stands_in_the_tile(run: RunDir) -> None:
    little, warns = {"auc": 0.52, "limit": 0.6}, {"auc": 0.93, "limit": 0.6, "warns": True}
    for shortcut, border, level, said in (
        (little, warns, "caution", "the border alone predicts the class: ROC AUC 0.930"),
        ({"auc": None}, warns, "caution", "the border alone predicts the class: ROC AUC 0.930"),
        (little, {"auc": 0.7, "limit": 0.6}, "caution", "ROC AUC 0.700 from the border, of too few patients to tell"),
        (little, {"auc": None}, "unknown", "not computed; the file’s properties give little away: ROC AUC 0.520"),
        (little, {"auc": 0.55, "limit": 0.6}, "good", None),
    ):
        edit_json(run.audit, shortcut=shortcut, border=border)
        told = lights(run)["Shortcut"]
        assert told[0] == level and said in (None, told[1])
    assert tiles(run)["Shortcut check, ROC AUC"][1].endswith("; of the border alone 0.550")


@pytest.mark.usefixtures("undrawn")
@pytest.mark.whole_page
def test_the_page_leads_from_lights_and_terms_to_what_they_mean(run: RunDir) -> None:
    text = html.render(run).read_text(encoding="utf-8")
    page = Outline(text)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    leading = [str(attributes["href"])[1:] for attributes in page.named("a")]
    assert set(leading) <= set(ids)
    section = text.partition('<ul class="lights"')[2].partition("</ul>")[0]
    assert section.count('<a href="#') == section.count('class="word"') == 7
    order = re.findall(r'<section id="([\w-]+)"', text)
    assert order[:7] == ["summary", "winner", "failures", "data", "comparison", "search", "made"]
    terms = [one for one in page.named("a") if one.get("class") == "term"]
    assert len(terms) == len({one["href"] for one in terms}) > 5, "the first use alone"
    (told,) = [one["content"] for one in page.named("meta") if one.get("property") == "og:description"]
    assert told is not None and "Sensitivity" in told and "ROC AUC" in told
    assert "Where it fails" in page.text and "How it was made" in page.text
    assert page.named("h4") and "</h" not in page.text, "headings of parts stand one level lower"


@pytest.mark.parametrize(
    ("weights", "source", "said"),
    [
        ("imagenet", "folder", "Pretrained networks compared on medical images: "),
        ("random", "folder", "Networks with random weights compared on medical images: "),
        ("imagenet", "demo", "Pretrained networks compared on synthetic images: "),
    ],
)
def test_a_link_to_the_page_says_what_was_compared(run: RunDir, weights: str, source: str, said: str) -> None:
    record = json.loads(run.run.read_text(encoding="utf-8"))
    data = {**record["data"], "source": source, "synthetic": source == "demo"}
    edit_json(run.run, data=data, weights={"kind": weights}, settings={**record["settings"], "weights": weights})
    told = first_screen.description(read(run), "Done", [])
    assert told.startswith(f"Done. {said}")


def test_a_model_that_is_not_in_the_folder_is_named_by_its_hash(run: RunDir) -> None:
    run.best_model.unlink(missing_ok=True)
    run.best_model_card.write_text("{}", encoding="utf-8")
    change(run, "finalists.csv", sha256="ab" * 32)
    page = page_of(run)
    made = str(provenance.provenance(page).blocks[0])
    winner, told = page.files.title(page.files.chosen), Answers(page)
    assert f"The model, {winner}, is not in this folder: best_model.h5, SHA-256 {'ab' * 32}, was moved" in made
    assert told("availability") == f"best_model.h5 is not in this folder; SHA-256 {'ab' * 32}."
    run.best_model.write_bytes(b"")
    assert "is not in this folder" not in str(provenance.provenance(page).blocks[0])
    assert told("availability").startswith("best_model.h5 and best_model.json lie beside this report; SHA-256 ")


def test_a_model_that_is_still_to_be_exported_was_not_moved(run: RunDir) -> None:
    """The winner is known before the baselines are trained, its file written after them."""
    for path in (run.best_model, run.best_model_card):
        path.unlink(missing_ok=True)
    change(run, "finalists.csv", sha256="ab" * 32)
    page = page_of(run)
    made = str(provenance.provenance(page).blocks[0])
    assert "it is written once the baselines have been trained" in made and "was moved" not in made
    assert Answers(page)("availability").startswith("The model is not exported yet; SHA-256 ")


def test_headings_get_addresses_of_their_own() -> None:
    made = finish.anchored('<section id="a"><h2>A</h2><h3>One &amp; two</h3><h3>One &amp; two</h3></section>')
    assert '<h2>A<a class="anchor" href="#a"' in made
    assert '<h3 id="a-one-amp-two">' in made and '<h3 id="a-one-amp-two-2">' in made
    assert finish.landed('<p id="b">x</p><a href="#b-gone">y</a>') == '<p id="b">x</p><a href="#b">y</a>'


def test_names_from_right_to_left_turn_nothing_round() -> None:
    name = "רנטגן חזה"
    text = f'<p title="{name}">Image {name} and \x1b[31m of <b>a</b></p>'
    made = finish.isolated(text, [name])
    assert f"Image <bdi>{name}</bdi> and <bdi>\x1b[31m</bdi> of <b>a</b>" in made
    assert f'title="{name}"' in made, "no element within an attribute"
    assert finish.isolated("<p>plain</p>", ["plain"]) == "<p>plain</p>"


def test_prose_has_curly_apostrophes_and_names_and_commands_stay_as_they_are() -> None:
    made = finish.typeset(
        "<p>Wilson's, Barrett&#39;s and the trials' 95 % level, <code>it's 5 %</code></p>"
        "<td>Barrett&#39;s, 80 % power</td>"
    )
    assert made == (
        "<p>Wilson’s, Barrett’s and the trials’ 95\N{NO-BREAK SPACE}% level, <code>it's 5 %</code></p>"
        "<td>Barrett&#39;s, 80\N{NO-BREAK SPACE}% power</td>"
    )


@pytest.mark.usefixtures("undrawn")
def test_what_no_reader_sees_is_not_searched_for_such_words() -> None:
    """A script's text may be one word of a million characters, which would be searched from each of them."""
    script = f"<script>{'x' * 1_000_000}</script>"
    made = finish.isolated(f"<p>דלקת</p>{script}", [])
    assert made == f"<p><bdi>דלקת</bdi></p>{script}"


def test_nothing_is_good_that_was_not_looked_for(run: RunDir) -> None:
    for kind, text, level in (
        ("good", "No image is a copy of another in another guise.", "good"),
        ("note", "Mirrored copies were not sought, as there are too many images.", "unknown"),
    ):
        one = {"kind": "altered", "heading": "Altered copies", "severity": kind, "text": text}
        edit_json(run.audit, duplicates=[], findings=[one])
        found = lights(run)["Copies"]
        assert found[0] == level and "no copy was found" in found[1]
        assert ("not every kind of copy was looked for" in found[1]) == (level == "unknown")
    table = pd.read_csv(run.path / "splits.csv", dtype=str)
    assert lights(run)["Patients apart"][0] == "good"
    table.loc[table.index[5:], "patient"] = None
    table.to_csv(run.path / "splits.csv", index=False)
    found = lights(run)["Patients apart"]
    assert found[0] == "unknown" and "images name no patient" in found[1]


@pytest.mark.whole_page
@pytest.mark.usefixtures("undrawn")
def test_a_class_written_from_right_to_left_is_isolated_on_the_page(tmp_path: Path) -> None:
    classes = ("NORMAL", "دات الرئة")
    run = write_run(tmp_path / "xray", trials=6, classes=classes, image_side=16)
    text = html.render(run).read_text(encoding="utf-8")
    body = re.sub(r'="[^"]*"', "", text.partition("<main>")[2].rpartition("<script>")[0])
    assert body.count(f"<bdi>{classes[1]}</bdi>") > 5
    assert classes[1] not in re.sub(r"<bdi>[^<]*</bdi>", "", body), "in names of files, the whole name is isolated"


def test_a_term_is_explained_where_it_is_first_used() -> None:
    text = "<main><p>The ROC AUC.</p><h3>trial</h3><p>A trial, a trial and ROC AUC.</p></main>"
    made = finish.explained(text, {"ROC AUC": "r", "trial": "t"})
    assert made.count('href="#r"') == made.count('href="#t"') == 1
    assert '<p>A <a class="term" href="#t">trial</a>, a trial' in made and "<h3>trial</h3>" in made
    assert set(glossary.used("<p>ROC AUC and specificity</p>")) == {"ROC AUC", "specificity"}


def test_methods_cite_what_was_used_and_nothing_else(run: RunDir) -> None:
    methods.methods(page_of(run))
    said = (run.path / methods.FILE).read_text(encoding="utf-8")
    bibtex = (run.path / methods.REFERENCES).read_text(encoding="utf-8")
    cited = set(re.findall(r"@(\w+)[;\]]", said))
    assert cited == set(re.findall(r"^@\w+\{(\w+),", bibtex, re.MULTILINE))
    assert {"simonyan2015", "he2016", "szegedy2016", "akiba2019", "liaw2018", "keras2015"} <= cited
    assert not re.search(r"\b(None|nan|undefined)\b|  |\w\.[A-Z]", said)
    run.evaluation.unlink()
    settings = json.loads(run.run.read_text(encoding="utf-8"))["settings"]
    edit_json(run.run, settings=settings | {"backbones": ["vgg16"]})
    for name in ("trials", "finalists"):
        getattr(run, name).unlink()
    methods.methods(page_of(run))
    fewer = (run.path / methods.REFERENCES).read_text(encoding="utf-8")
    assert "simonyan2015" in fewer and not re.search("he2016|efron1993|akiba2019", fewer)


def test_every_reference_can_be_cited() -> None:
    shown = {key: one.short for key, one in methods.references().items()}
    assert shown["akiba2019"] == "Akiba et al. 2019" and shown["simonyan2015"] == "Simonyan and Zisserman 2015"
    cited = methods.Cited()
    assert methods.on_page(f"Adam{cited('kingma2015')}") == "Adam (Kingma and Ba 2015)"
    with pytest.raises(KeyError, match="no entry 'nobody1900'"):
        cited("nobody1900")


def told(run: RunDir) -> str:
    return "\n".join(methods.on_page(one) for one in methods.told(page_of(run), methods.Cited()))


SEEN = "These 624 test images are opened here; of other test splits up to 600 of them were opened before."


def test_methods_say_how_often_the_test_images_were_seen_as_the_ledger_does(run: RunDir) -> None:
    once = "The test images were opened once, after every choice had been made."
    assert once in told(run)
    ledger = json.loads(run.evaluation.read_text(encoding="utf-8"))["ledger"]
    edit_json(run.evaluation, ledger=ledger | {"overlapping": 2, "sentence": SEEN})
    assert lights(run)["Test split opened once"][0] == "caution"
    assert SEEN in told(run) and once not in told(run)
    plans = [{"time": "2026-11-22T06:00:00+00:00"}, {"time": "2026-11-23T06:59:00+00:00"}]
    edit_json(run.evaluation, ledger=ledger)
    edit_json(run.run, plans=plans)
    assert once in told(run), "a plan that was changed before the opening"
    edit_json(run.run, plans=[*plans, {"time": "2026-11-24T06:00:00+00:00"}])
    assert once not in told(run) and ledger["sentence"] in told(run)
    assert "The plan of the run was changed after the test images had first been opened." in told(run)
    edit_json(run.run, plans=[])
    edit_json(run.evaluation, ledger=None)
    assert "This run opened the test images once; whether other runs did is not known." in told(run)


def test_methods_name_the_contrast_that_no_adjustment_concerns(run: RunDir) -> None:
    settings = json.loads(run.run.read_text(encoding="utf-8"))["settings"]
    edit_json(run.run, settings=settings | {"margin": 0.02})
    said = (
        "the primary contrast, fixed beforehand (ResNet50 against its default recipe, margin 0.020), was tested alone, "
        "and the p-values of the other pairs were adjusted by Holm’s method within their family"
    )
    assert said in told(run) and said in Answers(page_of(run))("uncertainty")
    table = pd.read_csv(run.comparisons)
    table[table["family"] != "primary"].to_csv(run.comparisons, index=False)
    for text in (told(run), Answers(page_of(run))("uncertainty")):
        assert "primary contrast" not in text
        assert "p-values were adjusted by Holm’s method within each family of pairs" in text


def test_methods_give_one_size_of_images_only_where_there_is_one(run: RunDir) -> None:
    assert "Images were resized and padded to 96 × 96 pixels." in told(run)
    content = json.loads(run.run.read_text(encoding="utf-8"))
    edit_json(run.run, settings=content["settings"] | {"image_size": None})
    run.best_model_card.write_text(
        json.dumps({"input": {"height": 224, "width": 224, "channels": 1, "resize": "pad"}}), encoding="utf-8"
    )
    size = "224 × 224 pixels"
    assert f"to the input size of each network ({size} for ResNet50)." in told(run)


@pytest.mark.parametrize(
    ("fitted", "said"),
    [
        ({"method": "none"}, ""),
        (
            {"method": "none", "class_weights": [1.9, 0.7]},
            "Probabilities were recalibrated: the calibration map undoes the class weights of the training loss.",
        ),
        (
            {"method": "temperature", "class_weights": [1.9, 0.7], "slopes": [0.5]},
            "Probabilities were recalibrated: the calibration map undoes the class weights of the training loss and "
            "then divides the logits by a temperature of 2; this was fitted on the validation images (Guo et al. "
            "2017).",
        ),
    ],
)
def test_methods_tell_all_that_the_calibration_map_does(run: RunDir, fitted: dict[str, object], said: str) -> None:
    edit_json(run.evaluation, calibration=fitted)
    assert said in told(run) and ("recalibrated" in told(run)) is bool(said)


def test_why_calibration_is_not_known_is_said(run: RunDir) -> None:
    path = run.path / "calibration.json"
    splits = json.loads(path.read_text(encoding="utf-8"))["splits"]
    edit_json(path, verdict="unknown")
    said = "whether probabilities agree with what was observed is not known"
    assert lights(run)["Calibration"] == ("unknown", said)
    for one in splits["test"]["after"]["agreement"].values():
        one |= {"slope": {}, "intercept": {}, "reason": "no finite slope fits: all are told apart"}
    edit_json(path, splits=splits)
    assert lights(run)["Calibration"] == ("unknown", "no finite slope fits: all are told apart")


def test_a_baseline_that_was_not_compared_is_not_called_unbeaten(run: RunDir) -> None:
    others = "family != 'finalists'"
    change(run, "comparisons.csv", others, verdict="not computed", difference=0.05, low=0.02, high=0.08)
    assert tiles(run)["Strongest baseline"][0] == "not compared"
    change(run, "comparisons.csv", others, low=None, high=None)
    assert tiles(run)["Strongest baseline"][0] == "not compared"
    change(run, "comparisons.csv", others, low=-0.02, high=0.08)
    assert tiles(run)["Strongest baseline"][0] == "not beaten", "as the headline has it"
    change(run, "comparisons.csv", others, difference=-0.05, low=-0.08, high=-0.02)
    assert tiles(run)["Strongest baseline"][0] == "not beaten"


def test_splits_are_told_with_the_seed_that_they_were_drawn_from(run: RunDir) -> None:
    settings = json.loads(run.run.read_text(encoding="utf-8"))["settings"]
    edit_json(run.run, settings=settings | {"seed": 3})
    assert "drawn by patient" in Answers(page_of(run))("assignment")
    assert "seed" not in Answers(page_of(run))("assignment")
    edit_json(run.run, settings=settings | {"seed": 3, "split_seed": 7})
    assert "drawn by patient with split seed 7" in Answers(page_of(run))("assignment")


def test_an_ensemble_that_was_built_is_told(run: RunDir) -> None:
    assert Answers(page_of(run))("ensemble") == "The exported model is one ResNet50. No ensemble was built."
    title, sentence = "Ensemble of 3 trainings (VGG16 seeds 1 and 2, ResNet50 seed 1)", "The ensemble is better."
    edit_json(run.evaluation, secondary=[{"kind": "ensemble", "title": title, "sentence": sentence}])
    beside = "Beside it, and apart from the comparisons, best_ensemble.h5 was built"
    assert Answers(page_of(run))("ensemble").endswith(f"{beside}: {title}. {sentence}")
    edit_json(run.evaluation, secondary=[{"kind": "ensemble", "reason": "one training is as good"}])
    assert Answers(page_of(run))("ensemble").endswith("No ensemble was built.")
    run.evaluation.unlink()
    run.best_ensemble.write_bytes(b"not a model")
    assert Answers(page_of(run))("ensemble").endswith(f"{beside}.")


def test_a_subset_is_told_by_what_was_used(run: RunDir) -> None:
    whole = "No subset was drawn: every usable image takes part."
    assert Answers(page_of(run))("subset") == whole
    settings = json.loads(run.run.read_text(encoding="utf-8"))["settings"]
    edit_json(run.run, settings=settings | {"max_images": 700})
    splits = pd.read_csv(run.splits).astype(object).dropna(subset=["split"])
    splits.to_csv(run.splits, index=False)
    assert Answers(page_of(run))("subset") == whole, "nothing was cut"
    out = splits.index[splits["split"].isin(["train", "val"])][688:]
    splits.loc[out, ["split", "reason"]] = [None, "not drawn by --max-images 700"]
    splits.to_csv(run.splits, index=False)
    cut = "Training and validation were cut to 688 images; the test split was not."
    assert Answers(page_of(run))("subset") == cut
    run.splits.unlink()
    assert Answers(page_of(run))("subset") == ""
