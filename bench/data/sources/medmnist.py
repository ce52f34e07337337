"""The public two-dimensional sets of MedMNIST by name: what there is, what the labels mean, each fetched once.

Source: MedMNIST v2 and v3, https://medmnist.com and https://doi.org/10.5281/zenodo.10519652; Yang et al., MedMNIST v2,
Scientific Data 10, 41 (2023). The data are under CC BY 4.0 except where an entry says otherwise.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import platformdirs

from bench.data.imageset import ImageSet
from bench.data.sources.arrays import npz_source, refuse_pattern
from bench.errors import ConfigError

PREFIX = "medmnist:"
BASE_URL = "https://zenodo.org/records/10519652/files"
TIMEOUT = 30.0  # seconds without an answer after which fetching is given up
SIZES = (28, 64, 128, 224)  # height and width of the images in pixels; a file each


@dataclass(frozen=True)
class MedMnist:
    """One set.

    Attributes:
        name: as in its files' names.
        task: ``binary-class``, ``multi-class``, ``ordinal-regression`` or ``multi-label``.
        channels: 1 grey, 3 colour.
        samples: the number of images for training, validation and test.
        classes: names of the labels 0, 1, …
        md5: checksums of the files, one a size.
        licence: of the data.
    """

    name: str
    task: str
    channels: int
    samples: tuple[int, int, int]
    classes: tuple[str, ...]
    md5: tuple[str, str, str, str]
    licence: str = "CC BY 4.0"

    def file(self, size: int) -> str:
        """The name of the file of a size."""
        return f"{self.name}.npz" if size == SIZES[0] else f"{self.name}_{size}.npz"


ORGANS = (
    *("bladder", "femur-left", "femur-right", "heart", "kidney-left", "kidney-right", "liver", "lung-left"),
    *("lung-right", "pancreas", "spleen"),
)
# fmt: off
CATALOGUE = (
    MedMnist(
        "pathmnist", "multi-class", 3, (89_996, 10_004, 7_180),
        ("adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle", "normal colon mucosa",
         "cancer-associated stroma", "colorectal adenocarcinoma epithelium"),
        ("a8b06965200029087d5bd730944a56c1", "55aa9c1e0525abe5a6b9d8343a507616",
         "ac42d08fb904d92c244187169d1fd1d9", "2c51a510bcdc9cf8ddb2af93af1eadec"),
    ),
    MedMnist(
        "chestmnist", "multi-label", 1, (78_468, 11_219, 22_433),
        ("atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia", "pneumothorax",
         "consolidation", "edema", "emphysema", "fibrosis", "pleural", "hernia"),
        ("02c8a6516a18b556561a56cbdd36c4a8", "9de6cd0b934ebb5b7426cfba5efbae16",
         "db107e5590b27930b62dbaf558aebee3", "45bd33e6f06c3e8cdb481c74a89152aa"),
    ),
    MedMnist(
        "dermamnist", "multi-class", 3, (7_007, 1_003, 2_005),
        ("actinic keratoses and intraepithelial carcinoma", "basal cell carcinoma", "benign keratosis-like lesions",
         "dermatofibroma", "melanoma", "melanocytic nevi", "vascular lesions"),
        ("0744692d530f8e62ec473284d019b0c7", "b70a2f5635c6199aeaa28c31d7202e1f",
         "2defd784463fa5243564e855ed717de1", "8974907d8e169bef5f5b96bc506ae45d"),
        licence="CC BY-NC 4.0",
    ),
    MedMnist(
        "octmnist", "multi-class", 1, (97_477, 10_832, 1_000),
        ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
        ("c68d92d5b585d8d81f7112f81e2d0842", "e229e9440236b774d9f0dfef9d07bdaf",
         "0a97e76651ace45c5d943ee3f65b63ae", "abc493b6d529d5de7569faaef2773ba3"),
    ),
    MedMnist(
        "pneumoniamnist", "binary-class", 1, (4_708, 524, 624),
        ("normal", "pneumonia"),
        ("28209eda62fecd6e6a2d98b1501bb15f", "8f4eceb4ccffa70c672198ea285246c6",
         "05b46931834c231683c68f40c47b2971", "d6a3c71de1b945ea11211b03746c1fe1"),
    ),
    MedMnist(
        "retinamnist", "ordinal-regression", 3, (1_080, 120, 400),
        ("0", "1", "2", "3", "4"),
        ("bd4c0672f1bba3e3a89f0e4e876791e4", "afda852cc34dcda56f86ad2b2457dbcc",
         "e48e916a24454daf90583d4e6efb1a18", "eae7e3b6f3fcbda4ae613ebdcbe35348"),
    ),
    MedMnist(
        "breastmnist", "binary-class", 1, (546, 78, 156),
        ("malignant", "normal, benign"),
        ("750601b1f35ba3300ea97c75c52ff8f6", "742edef2a1fd1524b2efff4bd7ba9364",
         "363e4b3f8d712e9b5de15470a2aaadf1", "b56378a6eefa9fed602bb16d192d4c8b"),
    ),
    MedMnist(
        "bloodmnist", "multi-class", 3, (11_959, 1_712, 3_421),
        ("basophil", "eosinophil", "erythroblast",
         "immature granulocytes(myelocytes, metamyelocytes and promyelocytes)", "lymphocyte", "monocyte",
         "neutrophil", "platelet"),
        ("7053d0359d879ad8a5505303e11de1dc", "2b94928a2ae4916078ca51e05b6b800b",
         "adace1e0ed228fccda1f39692059dd4c", "b718ff6835fcbdb22ba9eacccd7b2601"),
    ),
    MedMnist(
        "tissuemnist", "multi-class", 1, (165_466, 23_640, 47_280),
        ("Collecting Duct, Connecting Tubule", "Distal Convoluted Tubule", "Glomerular endothelial cells",
         "Interstitial endothelial cells", "Leukocytes", "Podocytes", "Proximal Tubule Segments",
         "Thick Ascending Limb"),
        ("ebe78ee8b05294063de985d821c1c34b", "123ece2eba09d0aa5d698fda57103344",
         "61b955355d7425a89687b06cca3ce0c2", "b077128c4a949f0a4eb01517f9037b9c"),
    ),
    MedMnist(
        "organamnist", "multi-class", 1, (34_561, 6_491, 17_778),
        ORGANS,
        ("68e3f8846a6bd62f0c9bf841c0d9eacc", "2dcccc29b88e6da5a01161ef20cda288",
         "eeae80d0a227a8d099027e1b3cfd3b60", "50747347e05c87dd3aaf92c49f9f3170"),
    ),
    MedMnist(
        "organcmnist", "multi-class", 1, (12_975, 2_392, 8_216),
        ORGANS,
        ("b9ceb9546e10131b32923c5bbeaea2b1", "3ce34a8724ea6f548e6db4744d03b6a9",
         "773c1f009daa3fe5d9a2a201b2a7ed94", "050f5e875dc056f6768abf94ec9995d1"),
    ),
    MedMnist(
        "organsmnist", "multi-class", 1, (13_932, 2_452, 8_827),
        ORGANS,
        ("9ab87b696fb54e2a387ebe992d6ed5f1", "53a6d115339d874c25e309a994ff46d3",
         "ded0c5fa01a95dc4978b956f613e9b8e", "b354719e553fbbb2513d5533f52a4cb1"),
    ),
)
# fmt: on


def medmnist_source(
    data: str,
    cache: Path | None = None,
    patient_pattern: str | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> ImageSet:
    """The set that ``data``, ``medmnist:NAME[@SIZE]``, names; fetched if it is not in the cache yet.

    Args:
        data: NAME as in the catalogue, SIZE in pixels, 28 by default.
        cache: folder for what is fetched; the user's own by default.
        patient_pattern: refused, as in `npz_source`.
        tell: called with a line before the set is fetched.

    Raises:
        ConfigError: if there is no such set or size, it is multi-label, or it cannot be fetched.
    """
    entry, size = _entry(data)
    refuse_pattern(data, patient_pattern)
    folder = (cache or Path(platformdirs.user_cache_dir("medical-transfer-bench"))) / "medmnist"
    found = npz_source(_fetched(entry, size, folder, tell), entry.classes)
    credit = (
        f"MedMNIST's {entry.name} is under {entry.licence}; its source: Yang et al., Scientific Data 10, 41 (2023)."
    )
    return replace(found, source="medmnist", path=data, notes=(*found.notes, credit))


def class_names(stem: str) -> tuple[str, ...] | None:
    """The class names of a file called as MedMNIST calls its files, None if it is not."""
    return next(
        (entry.classes for entry in CATALOGUE for size in SIZES if entry.file(size) == f"{stem.lower()}.npz"), None
    )


def _entry(data: str) -> tuple[MedMnist, int]:
    name, at, size = data[len(PREFIX) :].lower().partition("@")
    entry = next((entry for entry in CATALOGUE if entry.name == name), None)
    if entry is None:
        raise ConfigError(
            f"MedMNIST has no two-dimensional set {name!r}; there are {', '.join(entry.name for entry in CATALOGUE)}."
        )
    if entry.task == "multi-label":
        raise ConfigError(
            f"{PREFIX}{name} is multi-label data ({len(entry.classes)} findings that may occur together); each image "
            "must have exactly one label."
        )
    sizes = [str(size) for size in SIZES]
    if at and size not in sizes:
        raise ConfigError(f"{PREFIX}{name} comes in sizes {', '.join(sizes)}, not {size!r}; write {PREFIX}{name}@64.")
    return entry, int(size) if at else SIZES[0]


def _fetched(entry: MedMnist, size: int, folder: Path, tell: Callable[[str], None]) -> Path:
    """The set's file in ``folder``; what lies there was checked when it came."""
    path = folder / entry.file(size)
    if path.is_file():
        return path
    import pooch

    url = f"{BASE_URL}/{path.name}?download=1"
    unpacked = sum(entry.samples) * size * size * entry.channels / 1e9
    tell(f"Fetching {path.name} ({sum(entry.samples):,} images, {unpacked:.2g} GB unpacked) from {url}")
    pooch.get_logger().setLevel(logging.ERROR)
    try:
        pooch.retrieve(
            url,
            known_hash=f"md5:{entry.md5[SIZES.index(size)]}",
            fname=path.name,
            path=folder,
            downloader=pooch.HTTPDownloader(chunk_size=1 << 20, timeout=TIMEOUT),
        )
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path.name} could not be fetched ({_why(error)}); where there is no network, fetch it elsewhere from "
            f"{url} and give it by --data {path.name}."
        ) from error
    return path


def _why(error: Exception) -> str:
    """What went wrong, in a few words; the messages of network errors go over many lines."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"the server answers {response.status_code} {response.reason}"
    if getattr(error, "request", None) is not None:
        return f"no connection: {type(error).__name__}"
    return "what came is not the published file, its MD5 differs" if isinstance(error, ValueError) else str(error)
