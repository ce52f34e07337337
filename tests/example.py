"""Makes docs/example/, docs/report.png and README's result of a run: ``python -m tests.example reports/xray``.

What names the machine is replaced in JSON files, and the report is rendered anew from that; models, the study and the
figures beside the page are left out, for their size. CONTRIBUTING.md says when.
"""

import contextlib
import hashlib
import io
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import xxhash

from bench.checksums import FIELD, of_document

if TYPE_CHECKING:
    from bench.report.read.files import RunFiles

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "docs/example"
PICTURE = ROOT / "docs/report.png"
SIZE = {"width": 1280, "height": 860}
LEFT_OUT = (".lock", ".tables", "*.h5", "models", "figures", "study.db", "__pycache__")
OWN = ("README.md",)
"""What stands in docs/example/ beside the run."""


def places(record: dict[str, Any]) -> dict[str, str]:
    """Each place on the machine of a run that run.json names -> what stands there instead, the longest first."""
    settings = record["settings"]
    openings = record.get("test", {}).get("openings", [])
    found = {folder: "/ledger" for one in openings for folder in one.get("ledgers", [])}
    found |= {str(Path(settings[name]).absolute()): f"/{name}" for name in ("cache", "output")}  # one lies there
    for name in ("data", "weights", "space", "image_root", "splits"):
        if str(settings.get(name) or "").startswith("/"):
            found[settings[name]] = f"/{name}/{Path(settings[name]).name}"
    return dict(sorted(found.items(), key=lambda one: -len(one[0])))


def without_places(run: Path) -> None:
    """Take places of the machine out of a run folder's JSON files; hashes of what has held one are made again."""
    card, evaluation, record = (run / name for name in ("best_model.json", "evaluation.json", "run.json"))
    before = {path: path.read_bytes() for path in run.glob("*.json")}
    told = places(json.loads(before[record]))
    found = {path: _replaced(content.decode(), told) for path, content in before.items()}
    found[record] = re.sub(r'("Linux \d+\.\d+)[^"]*', r"\1", found[record])
    hashes = {hashlib.sha256(before[card]).hexdigest(): hashlib.sha256(found[card].encode()).hexdigest()}
    for plan in json.loads(found[record]).get("plans", []):
        holds = json.dumps(plan["holds"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        hashes[plan["sha256"]] = hashlib.sha256(holds.encode()).hexdigest()
    found[evaluation] = _replaced(found[evaluation], hashes)
    for path, text in found.items():  # as `bench.checksums.checksum`
        hashes[xxhash.xxh3_128_hexdigest(before[path])] = xxhash.xxh3_128_hexdigest(text.encode())
    found[record] = _replaced(found[record], hashes)
    if told := (content := json.loads(found[record])).get(FIELD):
        found[record] = found[record].replace(told, of_document(content))
    for path, text in found.items():
        path.write_text(text, encoding="utf-8")


def _replaced(text: str, words: dict[str, str]) -> str:
    for old, new in words.items():
        text = text.replace(old, new)
    return text


def make_example(finished: Path, example: Path = EXAMPLE) -> None:
    """Write ``finished``, a run folder, to ``example`` without its machine, with a report of today's."""
    from bench.report.html import render
    from bench.run.folder import RunDir

    example = example.absolute()
    with TemporaryDirectory() as folder:
        name = RunDir(finished).read().name  # that of the folder may be docs/example
        run = RunDir(Path(folder) / "reports" / name)
        shutil.copytree(finished, run.path)
        without_places(run.path)
        with contextlib.chdir(folder):  # where reports/ is the default, which the page's commands need not name
            render(run)
        for old in example.iterdir() if example.is_dir() else ():
            if old.name not in OWN:
                shutil.rmtree(old) if old.is_dir() else old.unlink()
        shutil.copytree(run.path, example, ignore=shutil.ignore_patterns(*LEFT_OUT), dirs_exist_ok=True)


def result(example: Path = EXAMPLE) -> str:
    """What README says of the run: verdict, test score with its interval, sensitivity and specificity."""
    from bench import numbers
    from bench.report.read.files import read
    from bench.report.summary import headline
    from bench.run.folder import RunDir

    files = read(RunDir(example))
    record, points = files.record, files.evaluated.points
    assert record.data is not None and points is not None
    frozen = points[points["point"] == "frozen"].set_index("measure")
    at = {
        name: numbers.with_interval(*frozen.loc[name, ["value", "low", "high"]])
        for name in ("sensitivity", "specificity")
    }
    chosen_on = sum(record.data.splits[split].images for split in ("train", "val"))
    backbones = numbers.joined(record.titles.values())
    said, chosen = headline(files), files.title(files.chosen)
    told = (
        f"**{said}.** On the {files.tested.images:,} images of the test split, {chosen}, which validation chose, had",
        f"a ROC AUC of {numbers.with_interval(*files.chosen_scores['auc'])} and, at the threshold that was frozen on",
        f"validation, a sensitivity of {at['sensitivity']} and a specificity of {at['specificity']};",
        "intervals hold at 95 %, by patients.",
        *_caveats(files),
        f"It was found by {record.settings.budget} trials over {backbones} with pretrained weights on {chosen_on:,}",
        "other chest radiographs. The whole report is in [docs/example/](docs/example/README.md).",
    )
    alt = f"The first screen of the report: {said}; test scores with their intervals"
    return f"![{alt}](docs/report.png)\n\n{chr(10).join(told)}\n"


def _caveats(files: "RunFiles") -> Iterator[str]:
    """What may make the score too good: a test split that was opened before, and files that tell the class."""
    from bench import numbers

    ledger, shortcut = files.tested.ledger, files.audit.shortcut if files.audit else None
    if ledger is not None and ledger.to_beware_of:
        yield f"The score may be too good: {ledger.sentence[0].lower()}{ledger.sentence[1:].partition(':')[0]}."
    if shortcut is not None and shortcut.warns:
        by_files = numbers.score(shortcut.auc)
        yield f"Properties of the files alone, without a look at the pixels, reach a ROC AUC of {by_files}."


def write_result(readme: Path = ROOT / "README.md", example: Path = EXAMPLE) -> None:
    """Put `result` into README."""
    before, rest = readme.read_text(encoding="utf-8").split("## A result\n", 1)
    after = rest.split("## Try it\n", 1)[1]
    readme.write_text(f"{before}## A result\n\n{result(example)}\n## Try it\n{after}", encoding="utf-8")


def take_picture(page: Path, picture: Path = PICTURE) -> None:
    """The first screen of ``page``, 256 colours."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        tab = chromium.new_page(viewport=SIZE, color_scheme="light", reduced_motion="reduce")
        tab.goto(page.resolve().as_uri())
        shot = Image.open(io.BytesIO(tab.screenshot()))
        chromium.close()
    shot.convert("RGB").quantize(256).save(picture, optimize=True)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    make_example(Path(sys.argv[1]))
    write_result()
    take_picture(EXAMPLE / "report.html")
