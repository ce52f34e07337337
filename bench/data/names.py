"""Names of folders, files and labels: what split, fold or class one stands for, and how messages write them."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path

from bench.errors import ConfigError

SPLIT_WORDS = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "validating", "dev", "devel", "development", "eval", "evaluation", "tuning"),
    "test": ("test", "tests", "testing", "tst", "holdout"),
}
SPLIT_NAMES = {word: split for split, words in SPLIT_WORDS.items() for word in words}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+")
# Written together with a word for a collection, as in trainset or testimages; trainval is both, to be split again.
_FUSED = re.compile(
    rf"({'|'.join(sorted(SPLIT_NAMES, key=len, reverse=True))})(set|data|dataset|images?|imgs?|split|val)"
)
_FOLD = re.compile(r"(?:fold|folds|cv|kfold|k-fold|cvfold)[ _\-]*(\d{1,3})|(\d{1,3})[ _\-]*fold", re.IGNORECASE)
_HELD_OUT = re.compile(r"h[oe]ld[\W_]*out", re.IGNORECASE)
_WHOLE_NUMBER = re.compile(r"([+-]?\d+)\.0+")


def printable(name: str) -> str:
    """``name`` with what is not UTF-8 in it written as escapes; unchanged where all of it is."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


@cache
def word_lists(section: str) -> dict[str, list[str]]:
    """The lists of words, by what they stand for, in a section of words.yaml."""
    import yaml

    content = yaml.safe_load(Path(__file__).with_name("words.yaml").read_text(encoding="utf-8"))
    return {name: list(words) for name, words in content[section].items()}


@cache
def word_list(name: str) -> frozenset[str]:
    """The words in one of the lists of words.yaml, in lower case."""
    return frozenset(word_lists("lists")[name])


@cache
def pattern(name: str) -> re.Pattern[str]:
    """What words.yaml lists under ``name`` in its patterns, as one regular expression that takes any case."""
    return re.compile("|".join(word_lists("patterns")[name]), re.IGNORECASE)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """What reads ``path``, and what lies below it: a ConfigError in place of `OSError`, such as missing permission."""
    try:
        yield
    except OSError as error:
        where = error.filename if isinstance(error.filename, str) else str(path)
        why = error.strerror or error
        raise ConfigError(f"{printable(where)} cannot be read ({why}); all of --data must be readable.") from None


def listed(items: Iterable[object], most: int = 5) -> str:
    """The first of the items, as a message has them."""
    shown = [printable(str(item)) for item in items]
    return ", ".join(shown[:most]) + (", …" if len(shown) > most else "")


@lru_cache(maxsize=1024)
def split_of(name: str) -> str | None:
    """The split that a folder or a cell called ``name`` stands for: train, val, test, or None.

    One of the words of ``SPLIT_WORDS`` must be in it, in any case, with whatever stands before and after:
    ``Training``, ``test_set``, ``xray_train``, ``train-2019``, ``ValSet``. A name with words of two splits is train
    where they are train and val (what is to be split again), and none otherwise. The name alone cannot tell a split
    ``test_2`` from a class ``test_positive``: for a folder, what lies in it must.
    """
    found = {SPLIT_NAMES[word] for word in words_of(name) if word in SPLIT_NAMES}
    if found == {"train", "val"}:
        return "train"
    return found.pop() if len(found) == 1 else None


def eval_as_test(splits: Mapping[str, str]) -> dict[str, str]:
    """Name -> split, as `split_of` has them; but with val and eval and no test, eval is test."""
    val = {name for name, split in splits.items() if split == "val"}
    last = {name for name in val if words_of(name) & {"eval", "evaluation"}}
    return {**splits, **dict.fromkeys(last if last < val and "test" not in splits.values() else (), "test")}


def beside_split(name: str) -> frozenset[str]:
    """The words of a name that say more than a split does; an enumeration such as ``a.`` says nothing."""
    words = words_of(re.sub(r"^\w{1,2}[.)] *", "", name))
    again = {split + word for split in SPLIT_NAMES for word in words}  # testA is test, a, and testa
    return frozenset(words - SPLIT_NAMES.keys() - word_list("fillers") - again)


def fold_of(name: str) -> str | None:
    """The number of the fold that a folder called ``name`` stands for, such as 3 for ``fold_03``, or None."""
    match = _FOLD.fullmatch(name.strip())
    return (match[1] or match[2]).lstrip("0") or "0" if match else None


def words_of(name: str) -> set[str]:
    """The words and numbers in a name, in lower case; ``trainset`` is train and set."""
    name = _HELD_OUT.sub("holdout", unicodedata.normalize("NFKC", name))
    # Parted where an upper case letter begins a word (TrainSet), and not (TRAINset).
    words = {word.lower() for word in (*_WORD.findall(name), *_WORD.findall(name.lower()))}
    fused = {word: match for word in words if (match := _FUSED.fullmatch(word))}
    return words - fused.keys() | {part for match in fused.values() for part in match.groups()}


def merge_labels(labels: Sequence[str]) -> tuple[list[str], list[str]]:
    """The labels with one spelling a class, and a note for each class that was written in several ways.

    Names that are equal after Unicode normalisation (NFKC), case folding and stripping are one class, and so are a
    whole number and its float, as 1 and 1.0. 01 and 1 are two.

    Returns:
        The labels, in order, blanks around them stripped, each under its class's most frequent spelling (of equally
        frequent ones, the first seen); and the notes, sentences.
    """
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    for label, count in Counter(labels).items():
        spellings[folded(label)][label] += count
    chosen = {one: counts.most_common(1)[0][0].strip() for one, counts in spellings.items()}
    spelled = {label: chosen[one] for one, counts in spellings.items() for label in counts}
    notes = [
        f"Labels {' and '.join(f'{_shown(spelling)} ({count})' for spelling, count in counts.items())} are one class, "
        f"{_shown(chosen[one])}: they differ only in case, blanks or Unicode form, or as 1 and 1.0 do."
        for one, counts in spellings.items()
        if len(counts) > 1
    ]
    return [spelled[label] for label in labels], notes


def missing_taken(labels: Iterable[str]) -> list[str]:
    """A note on labels that may stand for missing ones, such as -1 and ?, and are taken as classes."""
    found = sorted({label for label in labels if label.casefold() in word_list("unknown patients") - {"none"}})
    return [
        f"The label {one!r} is taken as a class; if it says that there is none, leave its images out." for one in found
    ]


def folded(label: str) -> str:
    """What is the same for all ways to write one class."""
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).casefold())
    text = " ".join(text.strip("\ufeff\u200b").split())
    number = _WHOLE_NUMBER.fullmatch(text)
    return number[1] if number else text


def _shown(label: str) -> str:
    """In quotes; as code points where it would look like another."""
    return repr(label) if unicodedata.is_normalized("NFKC", label) else ascii(label)


def check_classes(where: str | Path, labels: Iterable[str], carrier: str, masks: Sequence[str] = ()) -> tuple[str, ...]:
    """The class names in order.

    Args:
        where: the source, for the message.
        labels: class names, repeated as they may be.
        carrier: what carries a label there, such as ``class folder``.
        masks: paths of what was taken for masks, for the message.

    Raises:
        ConfigError: if there are fewer than two, or a name lists several labels.
    """
    classes = tuple(sorted(set(labels)))
    several = [label for label in classes if "|" in label or ";" in label]
    if several:
        raise ConfigError(
            f"{where} looks like multi-label data ({carrier} {several[0]!r}); each image must have exactly one label."
        )
    if len(classes) < 2:
        taken = f" ({len(masks)} images, such as {printable(masks[0])}, were taken for masks)" if masks else ""
        raise ConfigError(
            f"{where} holds one class only ({classes[0]}){taken}; at least two {carrier}s with images are needed."
        )
    return classes
