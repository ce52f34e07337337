"""compare.json, and limit.json of a fixed list, as typed values; what is not set is not written."""

from pathlib import Path

from bench.run.documents import LowerBoundRecord
from bench.run.folder import RunDir, write_json
from bench.run.record import Document, Hardware, Number, Part, WeightsRecord, read_strictly

TARGET = 0.97
COMPARISON_FILE, LOWER_BOUND_FILE = "compare.json", "limit.json"
SPACE_FILE = "space.yaml"
"""In a comparison's folder: the text of the space that is searched, or whose points are trained."""


class Ended(Part):
    """How a method ended.

    Attributes:
        method: its name.
        seed: of its run.
        state: ``finished``, ``time limit`` (its rows so far count) or ``failed``.
        seconds: after how long.
        search: after how long its search had ended; None if it had not, or the method is nothing but a search.
        reason: why it failed.
        notes: what it wants the reader to know.
        time_limit: seconds that it was given; None if it had no limit.
    """

    method: str
    seed: int
    state: str
    seconds: Number
    search: Number | None = None
    reason: str = ""
    notes: tuple[str, ...] = ()
    time_limit: Number | None = None

    def stands(self, time_limit: float | None) -> bool:
        """Whether it need not be run again under ``time_limit``: it did not fail, nor would it get more time."""
        if self.state == "time limit":
            given = self.seconds if self.time_limit is None else self.time_limit
            return time_limit is not None and time_limit <= given
        return self.state != "failed"


class Decisive(Part):
    """What must stay the same for results to stand side by side; ``list`` tells a fixed list from a search.

    ``weights`` is None where ``--weights`` was left out, as in `bench.settings.RunSettings`.
    """

    data: str = ""
    budget: int = 0
    weights: str | None = None
    views: int = 0
    max_images: int | None = None
    val_share: Number | None = None
    resize: str = ""
    jobs: int = 0
    cache_size: int = 0
    epochs: int = 0
    patience: int = 0
    image_size: dict[str, int] = {}
    space: str = ""
    list: bool = False
    space_sha256: str = ""


class ComparedData(Part):
    """The images; ``sizes`` are in pixels, by backbone."""

    path: str = ""
    fingerprint: str = ""
    synthetic: bool = False
    classes: tuple[str, ...] = ()
    train: int = 0
    val: int = 0
    sizes: dict[str, int] = {}


class ComparisonRecord(Part):
    """compare.json: what is compared, on what and with what, and how the ``runs`` of methods ended."""

    name: str = ""
    created: str = ""
    suite_version: str = ""
    rules: int | None = None
    settings: Decisive = Decisive()
    target: Number = TARGET
    data: ComparedData = ComparedData()
    weights: WeightsRecord = WeightsRecord()
    hardware: Hardware = Hardware()
    packages: dict[str, str] = {}
    runs: tuple[Ended, ...] = ()

    def write(self, folder: Path) -> None:
        """Write it into the folder of a comparison."""
        write_json(folder / COMPARISON_FILE, self)


class ListBound(Part):
    """limit.json of a fixed list: its least time with an empty and with a filled cache."""

    cold: LowerBoundRecord
    warm: LowerBoundRecord


def read_comparison(folder: Path) -> ComparisonRecord | None:
    """The comparison in ``folder``; None if there is none."""
    return read(ComparisonRecord, folder / COMPARISON_FILE)


def find_comparison(name: str, folder: Path) -> Path | None:
    """The folder of the comparison called ``name`` in ``folder``, or at the path ``name``; None if a run or nothing is.

    The order is that of `bench.run.folder.find_run`.
    """
    for path in (folder / name, Path(name)):
        if (path / COMPARISON_FILE).is_file():
            return RunDir.at(path).path
        if (path / "run.json").is_file():
            return None
    return None


def read(kind: type[Document], file: Path) -> Document | None:
    """The document in ``file``; None if there is none.

    Raises:
        ConfigError: if it is damaged.
    """
    return read_strictly(kind, file) if file.exists() else None
