"""Which image trains, which validates, which tests: patient-grouped, stratified, drawn from content; and splits.csv.

Every draw depends on what the images are and on the split seed, a choice of the protocol: never on the names of
folders, the order of files or the seed of training, among which a lucky test split could be looked for.
Draws keep together what has one ``split_group``, leaks are sought by ``patient_id``; see `bench.data.patients`.
"""

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from bench import numbers
from bench.errors import ConfigError
from bench.run.folder import from_cells, write_table
from bench.run.record import SplitRecord
from bench.run.tables import NOT_DRAWN
from bench.seeds import stable_seed

SPLITS = ("train", "val", "test")
PAIRS = (("train", "val"), ("train", "test"), ("val", "test"))
REFERENCE_AUC = 0.95
MANY_GROUPS = 5_000
WIDEST_HALF_WIDTH = 0.05
"""A validation split is too small to select by if, at an AUC of 0.95, its 95 % interval is wider than ±0.05:
the differences a search has to see are smaller than that."""
Rows = npt.NDArray[np.int64]
Moved = TypedDict("Moved", {"from": str, "images": int, "reason": str, "files": list[str]})
"""Images that left a split, as audit.json holds them."""


@dataclass(frozen=True)
class Shares:
    """How splits are drawn.

    Attributes:
        test: share of the images for a test split that is not given.
        val: share of the others for a validation split that is not given, or too small.
        fixed: keep a given validation split however small it is.
    """

    test: float
    val: float
    fixed: bool = False


@dataclass(frozen=True)
class Cluster:
    """Images that are copies of each other.

    Attributes:
        kind: ``exact`` (the same pixels), ``near`` (perceptual hashes a few bits apart, directly or in steps) or
            ``altered`` (mirrored, turned, cropped and the like; near ones among them).
        rows: their row numbers, ascending.
        distance: largest distance from the first of them, in bits of the perceptual hash; 0 for altered ones.
        changes: of altered ones, what each is of the first, such as ``rotated by 7 degrees``; empty for the first.
    """

    kind: str
    rows: tuple[int, ...]
    distance: int = 0
    changes: tuple[str, ...] = ()


@dataclass
class SplitReport:
    """What was decided about the splits, for the audit and the reader.

    Attributes:
        notes: the decisions, in sentences.
        shared_patients: ``narrow`` (by patient_id) or ``wide`` (by split_group) -> pair of given splits -> patients in
            both.
        moved: what left a split.
        on_validation: what became of the validation split, in a sentence; also among the notes.
        merged: whether the given validation split was merged with train and drawn anew.
        refused: why splits cannot be drawn, if they cannot.
        given: the split of each image before anything was decided, empty where none was given.
    """

    notes: list[str] = field(default_factory=list)
    shared_patients: dict[str, dict[str, int]] = field(default_factory=dict)
    moved: list[Moved] = field(default_factory=list)
    on_validation: str = ""
    merged: bool = False
    refused: str = ""
    given: pd.Series = field(default_factory=lambda: pd.Series(dtype=str))


def assign_splits(
    table: pd.DataFrame,
    seed: int,
    *,
    shares: Shares,
    excluded: Mapping[int, str] | None = None,
    clusters: Sequence[Cluster] = (),
) -> tuple[pd.DataFrame, SplitReport]:
    """The table with every image in ``train``, ``val`` or ``test``, or in none, and a report of what was decided.

    Given splits are kept, except that a validation split too small to select by is merged with train and drawn
    anew, and images of a patient who is also in a later split, or of which that holds a duplicate, leave the earlier
    one (test is never touched). Draws are stratified, and keep split groups and duplicates together.

    Args:
        table: columns ``image``, ``label``, ``split_group``, ``patient_id``, ``split`` (empty where none is given);
            the index counts from 0. ``content``, a hash of each image, decides draws together with the seed; where
            nothing has been read yet, names stand in for it.
        seed: the split seed.
        shares: of what is drawn.
        excluded: row number -> why the image takes no part.
        clusters: duplicates, by row number.

    Returns:
        the table with ``split`` filled, ``reason`` (why an image is in none; empty for the others), ``group`` (what
        was kept together) and ``unit`` (as `units` gives it), rows as they came.

    Raises:
        ConfigError: if a class has fewer than two patients, or is missing from a split and cannot be drawn into it.
    """
    whole = table.assign(reason="", group=groups(table, clusters), unit=units(table, clusters))
    reasons = dict(excluded or {})
    table = whole.drop(index=list(reasons))
    report = report_given(table, whole)
    require_learnable(table, whole["label"])
    table["split"] = table["split"].replace("", "train")
    val = table[table["split"] == "val"]
    report.merged = _to_redraw(table, shares)
    if report.merged:
        table.loc[val.index, "split"] = "train"
    with _naming_moves(report):
        table = _with_test(table, shares.test, seed, report)
        report.on_validation = _on_validation(val, table, report.merged, shares)
        report.notes += [report.on_validation] if report.on_validation else []
        table = _part(table, clusters, report, reasons)
        if report.merged or not len(val):
            table = _draw(table, "train", "val", shares.val, seed)
        _require_classes(table, set(whole["label"]))
    return _as_decided(whole, table, reasons), report


def _as_decided(whole: pd.DataFrame, table: pd.DataFrame, reasons: Mapping[int, str]) -> pd.DataFrame:
    """The ``whole`` table with the splits of ``table``, and of the images that are not in it why they are in none."""
    split = table["split"].reindex(whole.index, fill_value="")
    return whole.assign(split=split, reason=pd.Series(reasons, dtype=str).reindex(whole.index, fill_value=""))


@contextmanager
def _naming_moves(report: SplitReport) -> Iterator[None]:
    """A ConfigError is told together with the images that had left a split before it."""
    try:
        yield
    except ConfigError as error:
        left = "; ".join(f"{entry['images']} images left {entry['from']}: {entry['reason']}" for entry in report.moved)
        raise ConfigError(f"{str(error).removesuffix('.')} ({left}).") if left else error from None


def report_given(table: pd.DataFrame, whole: pd.DataFrame) -> SplitReport:
    """A report of the given splits, without decisions; ``table`` is what of the ``whole`` can take part."""
    shared = {"narrow": shared_patients(table), "wide": shared_patients(table, "split_group")}
    return SplitReport(given=whole["split"].copy(), shared_patients=shared)


def require_learnable(table: pd.DataFrame, labels: pd.Series) -> None:
    """Refuse, by a ConfigError, a class of fewer than two patients, or one that only the test split shows.

    Args:
        table: columns ``label``, ``split`` (as given) and ``group``, or ``split_group``; the images that can take part.
        labels: of all images.
    """
    patients = _grouped(table).groupby(table["label"]).nunique().reindex(sorted(set(labels)), fill_value=0)
    if patients.min() < 2:
        raise ConfigError(
            f"Class {patients.idxmin()!r} has {('no patient', 'one patient only')[int(patients.min())]}; each class "
            "needs at least two patients (images that are copies of each other count as one patient's)."
        )
    in_test = table["split"] == "test"
    unknown = sorted(set(table.loc[in_test, "label"]) - set(table.loc[~in_test, "label"]))
    if unknown:
        raise ConfigError(
            f"Class {unknown[0]!r} occurs in the test split only, so nothing can learn it; every class must occur in "
            "train."
        )


def _require_classes(table: pd.DataFrame, classes: set[str]) -> None:
    for split in ("train", "val"):
        missing = sorted(classes - set(table.loc[table["split"] == split, "label"]))
        if missing:
            raise ConfigError(
                f"The {split} split holds no image of class {missing[0]!r}; every class must occur in it."
            )


# What stays together


def groups(table: pd.DataFrame, clusters: Iterable[Cluster], identity: str = "split_group") -> pd.Series:
    """What must stay on one side of a split: patients, joined where they share a duplicate; one number per row.

    Args:
        table: column ``identity``, which tells patients apart; the index counts from 0.
        clusters: duplicates, by row number.
    """
    patient, names = pd.factorize(table[identity])
    pairs = [(patient[cluster.rows[0]], patient[row]) for cluster in clusters for row in cluster.rows[1:]]
    component = components(len(names), np.array(pairs, dtype=np.int64).reshape(-1, 2))
    return pd.Series(component[patient], index=table.index, name="group")


def components(n: int, pairs: Rows) -> Rows:
    """The number of the connected component of each of ``n`` things that pairs, shape (n_pairs, 2), join."""
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def units(table: pd.DataFrame, clusters: Sequence[Cluster]) -> pd.Series:
    """What counts as one patient wherever patients are drawn or counted; arguments as of `groups`.

    That is the patient_id, save that patients of whom the very same image is there are one, called after the first.
    """
    joined = groups(table, [one for one in clusters if one.kind == "exact"], "patient_id")
    return table["patient_id"].groupby(joined).transform("first").rename("unit")


def units_of(table: pd.DataFrame) -> pd.Series:
    """The column of `units`, or of patient_id where nobody has searched for copies."""
    return table["unit" if "unit" in table else "patient_id"]


def shared_patients(table: pd.DataFrame, identity: str = "patient_id") -> dict[str, int]:
    """Patients, told apart by a column, who are in two of the splits, counted by pair of splits."""
    by_split = {split: set(table.loc[table["split"] == split, identity]) for split in SPLITS}
    return {f"{a}-{b}": len(by_split[a] & by_split[b]) for a, b in PAIRS if by_split[a] and by_split[b]}


def _grouped(table: pd.DataFrame) -> pd.Series:
    return table["group" if "group" in table else "split_group"]


def _part(
    table: pd.DataFrame, clusters: Sequence[Cluster], report: SplitReport, reasons: dict[int, str]
) -> pd.DataFrame:
    """Drop from train (and val) the images of which test (or val) holds the patient or a duplicate."""
    position = {row: number for number, row in enumerate(table.index)}
    inside = [Cluster(one.kind, tuple(position[row] for row in one.rows if row in position)) for one in clusters]
    checks = (
        (table["patient_id"], "their patients are", "its patient is"),
        (_copies(clusters, "exact"), "the same pixels are", "the same pixels are"),
        (_copies(clusters, "near"), "near duplicates of them are", "a near duplicate of it is"),
        (_copies(clusters, "altered"), "altered copies of them are", "an altered copy of it is"),
        (
            groups(table, [one for one in inside if one.rows], "patient_id"),
            "copies of their patients' images are",
            "a copy of its patient's images is",
        ),
    )
    for earlier, later in (("train", "test"), ("val", "test"), ("train", "val")):
        for identities, they, it in checks:
            identity = identities[identities.index.isin(table.index)]
            split = table.loc[identity.index, "split"]
            crossing = identity.index[(split == earlier) & identity.isin(set(identity[split == later]))]
            if not len(crossing):
                continue
            names = table.loc[crossing, "image"].tolist()
            reason = f"{they} also in {later}"
            report.moved.append({"from": earlier, "images": len(names), "reason": reason, "files": names})
            report.notes.append(f"{numbers.counted(len(names), 'image')} left {earlier} because {reason}.")
            reasons.update(dict.fromkeys(map(int, crossing), f"{it} also in {later}"))
            table = table.drop(index=crossing)
    return table


def _copies(clusters: Sequence[Cluster], kind: str) -> pd.Series:
    """Row number -> number of its cluster, of the images that are in one of a kind."""
    return pd.Series(
        {row: number for number, cluster in enumerate(clusters) if cluster.kind == kind for row in cluster.rows},
        dtype=object,
    )


# Validation splits that are too small


def auc_half_width(n_positive: int, n_negative: int, auc: float = REFERENCE_AUC) -> float:
    """Half the width of the 95 % interval of an AUC; source: Hanley & McNeil, Radiology 143:29 (1982)."""
    if min(n_positive, n_negative) == 0:
        return math.inf
    q1 = auc / (2 - auc)
    q2 = 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc) + (n_positive - 1) * (q1 - auc**2) + (n_negative - 1) * (q2 - auc**2)
    return 1.96 * math.sqrt(variance / (n_positive * n_negative))


def half_width(labels: pd.Series) -> float:
    """The widest `auc_half_width` of a class of ``labels`` against the rest; the formula is not symmetric."""
    pairs = [(count, len(labels) - count) for count in labels.value_counts()]
    return max(auc_half_width(*ends) for pair in pairs for ends in (pair, pair[::-1]))


def too_small(labels: pd.Series) -> bool:
    """Whether images with these labels are too few to select by."""
    return half_width(labels) > WIDEST_HALF_WIDTH


def _to_redraw(table: pd.DataFrame, shares: Shares) -> bool:
    """Whether the given validation split lacks a class, or is too small and a drawn one would be larger."""
    val = table[table["split"] == "val"]
    if not len(val) or shares.fixed:
        return False
    if val["label"].nunique() < table["label"].nunique():
        return True
    working = int(table["split"].isin(["train", "val"]).sum())
    return too_small(val["label"]) and shares.val * working > len(val)


def _on_validation(val: pd.DataFrame, table: pd.DataFrame, merged: bool, shares: Shares) -> str:
    """What happens to the given validation split ``val``, in a sentence; empty if it is simply kept."""
    share = f"{100 * shares.val:.0f} %"
    if not len(val):
        return (
            f"No validation split was given: {share} of the training images were drawn for it, patients kept together."
        )
    complete = val["label"].nunique() == table["label"].nunique()
    width = f"at an AUC of {REFERENCE_AUC} its 95 % interval would be ±{half_width(val['label']):.2f}"
    if merged:
        return (
            f"The given validation split of {len(val)} images is too small to select by "
            f"({width if complete else 'it lacks a class'}, and ±{WIDEST_HALF_WIDTH} is the widest accepted): it "
            f"was merged with train, and {share} were drawn anew, stratified and with patients kept together."
        )
    if complete and too_small(val["label"]):
        why = "as wanted" if shares.fixed else f"for drawing {share} anew would give fewer"
        return (
            f"The validation split of {len(val)} images is small: {width}. It was kept, {why}; differences between "
            "configurations are uncertain."
        )
    return ""


# Drawing


def _by_content(table: pd.DataFrame) -> pd.DataFrame:
    """The rows in an order that their content decides, in which they are drawn from."""
    return table.sort_values([_content(table), "label", "split_group"], kind="stable")


def _content(table: pd.DataFrame) -> str:
    return "content" if "content" in table else "image"


def _seed(table: pd.DataFrame, what: str, seed: int) -> int:
    """What a draw of ``what`` from these images is seeded by: the split seed, and what the images are."""
    return stable_seed(what, seed, sorted(table[_content(table)]))


def _with_test(table: pd.DataFrame, share: float, seed: int, report: SplitReport) -> pd.DataFrame:
    """The table with a test split: as given, else drawn, which the ``report`` notes."""
    if (table["split"] == "test").any():
        return table
    told = f"{100 * share:.0f} % of the images were drawn for it, patients kept together"
    report.notes.append(f"No test split was given: {told}, from their content and --split-seed {seed}.")
    return _draw_test(table, share, seed)


def _draw_test(table: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    """Move about ``share`` of the images from train to test; what is of one group with validation stays."""
    val = table["split"] == "val"
    beside = table["group"].isin(table.loc[val, "group"]) & ~val
    table.loc[beside, "split"] = "beside"
    table = _draw(table, "train", "test", share, seed, left=1 if val.any() else 2)
    table["split"] = table["split"].replace("beside", "train")
    return table


def _draw(table: pd.DataFrame, source: str, target: str, share: float, seed: int, left: int = 1) -> pd.DataFrame:
    """Move about ``share`` of a split to another, stratified, groups whole; ``left`` groups of each class stay."""
    rows = table.index[table["split"] == source]
    part = _by_content(table.loc[rows])
    per_class = part.groupby("label")["group"].nunique()
    if not len(part):
        raise ConfigError(f"No image is left in {source}, so no {target} split can be drawn.")
    if per_class.min() < 1 + left:
        raise ConfigError(
            f"Class {per_class.idxmin()!r} has {per_class.min()} patient{'s' * (int(per_class.min()) > 1)} only, "
            f"so no {target} split can be drawn; each class needs at least {1 + left} patients."
        )
    table = table.copy()
    table.loc[part.index[_drawn(part, share, _seed(part, target, seed), left)], "split"] = target
    return table


def _drawn(part: pd.DataFrame, share: float, seed: int, left: int) -> Rows:
    """Positions of about ``share`` of the images: folds that hold every class and leave ``left`` groups of each."""
    fewest = next(k for k in range(round(1 / share), 101) if abs(round(share * k) / k - share) <= 0.01)
    for folds in range(fewest, 1, -1):  # the fewest of which some are the share, to a hundredth
        together = max(1, round(share * folds))
        try:
            chosen = _grouped_folds(part["label"], part["group"], folds, seed)
        except ValueError:  # fewer images of every class than folds
            continue
        joined = [np.concatenate([*chosen, *chosen][start : start + together]) for start in range(folds)]
        whole = [fold for fold in joined if _serves(part, fold, left)]
        if whole:
            best = min(whole, key=lambda fold: abs(len(fold) - share * len(part)))
            return np.asarray(best, dtype=np.int64)
    raise ConfigError(
        "No split could be drawn that keeps patients together and holds every class; more patients are needed."
    )


def _serves(part: pd.DataFrame, fold: Rows, left: int) -> bool:
    inside = np.zeros(len(part), dtype=bool)
    inside[fold] = True
    staying = part[~inside].groupby("label")["group"].nunique()
    n_classes = part["label"].nunique()
    complete = part.loc[inside, "label"].nunique() == n_classes == len(staying)
    return bool(complete and staying.min() >= left)


def _grouped_folds(labels: pd.Series, groups: pd.Series, k: int, seed: int) -> list[Rows]:
    """Positions of the images of each of ``k`` stratified folds, groups whole.

    scikit-learn balances the images of each fold group by group, in steps that take a second a thousand groups; of
    very many groups, so many of each kind a fold come out as even. A ValueError says that every class has fewer
    images than there are folds. Groups are told apart in the order in which they come, whatever their numbers.
    """
    groups = pd.Series(pd.factorize(groups)[0], index=groups.index)
    number, first = np.unique(groups.to_numpy(), return_index=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class of fewer patients than folds is the caller's affair
        if len(number) <= MANY_GROUPS:
            splitter = StratifiedGroupKFold(n_splits=k, shuffle=True, random_state=seed)
            return [fold for _, fold in splitter.split(labels, labels, groups)]
        plain = StratifiedKFold(n_splits=k, shuffle=True, random_state=seed)
        kinds = labels.to_numpy()[first]
        return [np.flatnonzero(np.isin(groups.to_numpy(), number[chosen])) for _, chosen in plain.split(kinds, kinds)]


def subset(table: pd.DataFrame, max_images: int, seed: int) -> pd.DataFrame:
    """At most about ``max_images`` of train and val together take part, whole patients, stratified; test stays whole.

    Raises:
        ConfigError: if so few images would leave a class out.
    """
    working = _by_content(table[table["split"].isin(["train", "val"])])
    if max_images >= len(working):
        return table
    share = max_images / len(working)
    rng = np.random.default_rng(_seed(working, "subset", seed))
    kept: list[int] = []
    classes = working.groupby("split_group")["label"].agg(lambda labels: "\t".join(sorted(set(labels))))
    strata = [working["split"], working["split_group"].map(classes)]
    for _, part in working.groupby(strata, sort=True):
        wanted = round(share * len(part))
        order = rng.permutation(part["split_group"].unique())
        sizes = part.groupby("split_group").size().loc[order].cumsum()
        patients = order[: int((sizes <= max(wanted, 1)).sum()) or 1]
        kept += part.index[part["split_group"].isin(patients)].tolist()
    chosen, excluded = table.copy(), working.index.difference(kept)
    chosen.loc[excluded, "split"] = ""
    chosen.loc[excluded, "reason"] = f"{NOT_DRAWN} {max_images}"
    _require_classes(chosen, set(chosen["label"]))
    if chosen.loc[chosen["split"] == "val", "label"].value_counts().min() < 2:
        raise ConfigError(f"--max-images {max_images} leaves a class with fewer than two validation images; take more.")
    return chosen


def rows_of(table: pd.DataFrame, split: str) -> Rows:
    """Row numbers of the images of ``split``."""
    return np.asarray(np.flatnonzero((table["split"] == split).to_numpy()), dtype=np.int64)


def labels_of(table: pd.DataFrame, rows: Rows, classes: Sequence[str]) -> Rows:
    """Class indices of some rows."""
    index = {name: number for number, name in enumerate(classes)}
    return np.array([index[label] for label in table["label"].iloc[rows]], dtype=np.int64)


def describe(table: pd.DataFrame) -> dict[str, SplitRecord]:
    """Images, patients and classes by split, as run.json holds them."""
    return {
        split: SplitRecord(
            images=len(part),
            patients=int(part["patient_id"].nunique()),
            classes={str(label): int(count) for label, count in part["label"].value_counts().sort_index().items()},
        )
        for split in SPLITS
        if len(part := table[table["split"] == split])
    }


# Folds


def fold_names(table: pd.DataFrame, k: int | str) -> list[str]:
    """What the folds are called, in the order of their numbers: those that are given, or 1 to ``k``.

    Args:
        table: columns ``split`` and, for given folds, ``fold``.
        k: number of folds, or ``given``.

    Raises:
        ConfigError: if folds are to be given, and fewer than two are, or some images of train and val have none.
    """
    if k != "given":
        return [str(number) for number in range(1, int(k) + 1)]
    part = table[table["split"].isin(["train", "val"])]
    given = part["fold"] if "fold" in part else pd.Series("", index=part.index)
    names = sorted(set(given) - {""}, key=lambda name: (len(name), name) if name.isdigit() else (99, name))
    how = "folds are given by folders fold_1, fold_2 … of class folders, or by a fold column; or draw some by --folds 5"
    if len(names) < 2:
        found = f"gives one fold only ({names[0]})" if names else "gives no folds"
        raise ConfigError(f"--folds given cannot be used: the source {found} for training images; {how}.")
    if (given == "").any():
        some = ", ".join(part["image"][given == ""].head(5))
        raise ConfigError(
            f"--folds given cannot be used: {(given == '').sum()} images of train and validation have no fold, such as "
            f"{some}; {how}."
        )
    return names


def folds(table: pd.DataFrame, k: int | str, seed: int, flag: str = "--folds") -> pd.Series:
    """The fold, from 1, of every image of train and val, and 0 for all others.

    Folds are drawn, stratified and with patients whole, or taken as the source gives them. Every fold holds every
    class, so what is left to train on without it does too.

    Args:
        table: columns ``label``, ``split_group``, ``split``, maybe ``group`` (split groups joined with their
            duplicates), which then stands in for ``split_group``, and maybe ``fold``.
        k: number of folds, at least 2, or ``given``.
        seed: the split seed.
        flag: that asked for them; folds that are asked for by another are drawn anew.

    Raises:
        ConfigError: if a class has too few patients for so many folds, or given folds cannot be used.
    """
    if k == "given":
        return _given_folds(table)
    k = int(k)
    part = _by_content(table[table["split"].isin(["train", "val"])])
    drawn = _seed(part, flag.strip("-"), seed)
    groups = _grouped(part)
    patients = groups.groupby(part["label"]).nunique()
    fewest, scarcest = int(patients.min()), patients.idxmin()
    if fewest < k:
        accepted = f"at most {fewest} folds are possible" if fewest > 1 else "no folds are possible"
        raise ConfigError(
            f"Class {scarcest!r} has {fewest} patient{'s' * (fewest > 1)} in train and validation, too few for "
            f"{flag} {k}; {accepted}."
        )
    for attempt in range(10):  # of few patients, one draw may leave a class out of a fold and another not
        found = pd.Series(0, index=table.index, name="fold")
        for number, rows in enumerate(_grouped_folds(part["label"], groups, k, drawn + attempt), start=1):
            found[part.index[rows]] = number
        classes = part["label"].groupby(found[part.index]).nunique()
        if len(classes) == k and classes.min() == len(patients):
            return found
    raise ConfigError(
        f"No {k} folds could be drawn that keep patients together and hold every class ({scarcest!r} has {fewest} "
        f"patients in train and validation); take fewer {flag}."
    )


@dataclass(frozen=True)
class OuterFold:
    """One fold of a nested loop: what is held out, and what of the rest trains and validates.

    Attributes:
        repeat: of the loop, from 1.
        fold: of the repeat, from 1.
        held_out: row numbers of the images that are scored once, at the end.
        rows: ``train`` and ``val`` -> row numbers of the others; no group has images on two sides.
    """

    repeat: int
    fold: int
    held_out: Rows
    rows: Mapping[str, Rows]

    @property
    def name(self) -> str:
        """For files and people."""
        return f"{self.repeat}-{self.fold}"

    def rest(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table as if there were only what this fold trains and validates on."""
        split = np.full(len(table), "", dtype=object)
        for name, rows in self.rows.items():
            split[rows] = name
        return table.assign(split=split)


def outer_seed(split_seed: int) -> int:
    """What outer folds are drawn from, beside the images: derived, so that there is no further seed to choose by."""
    return stable_seed("outer", split_seed)


def require_inner_folds(table: pd.DataFrame, outer: Iterable[OuterFold], k: int | str, seed: int) -> None:
    """Refuse, by a ConfigError, outer folds without whose patients there can be no ``k`` folds."""
    for fold in outer if k else ():
        try:
            folds(fold.rest(table), k, seed)
        except ConfigError as error:
            raise ConfigError(f"--outer: without the patients of fold {fold.name}: {error}") from None


def outer_folds(table: pd.DataFrame, k: int, repeats: int, split_seed: int) -> Iterator[OuterFold]:
    """Every fold of a nested loop over train and val, drawn anew in each repeat; a repeat does not depend on others.

    Of what a fold leaves, validation gets the share that it has of the run's train and val.

    Args:
        table: as of `folds`.
        k: folds of a repeat, at least 2.
        repeats: how many; 0 for no loop.
        split_seed: the run's.

    Raises:
        ConfigError: if a class has too few patients.
    """
    if not repeats:
        return
    pool = table["split"].isin(["train", "val"])
    share = float((table["split"] == "val").sum() / pool.sum())
    inside = table.assign(split=table["split"].where(~pool, "train"), group=_grouped(table))
    for repeat in range(1, repeats + 1):
        seed = stable_seed(outer_seed(split_seed), repeat)
        assigned = folds(table, k, seed, "--outer")
        for fold in range(1, k + 1):
            rest = inside.assign(split=inside["split"].where(assigned != fold, ""))
            try:
                drawn = _draw(rest, "train", "val", share, stable_seed(seed, fold))
            except ConfigError as error:
                raise ConfigError(f"--outer: without the patients of fold {fold}: {error}") from None
            rows = {split: rows_of(drawn, split) for split in ("train", "val")}
            yield OuterFold(repeat, fold, np.flatnonzero(assigned == fold), rows)


def most_outer_folds(table: pd.DataFrame, most: int, repeats: int, split_seed: int, inner: int | str) -> int:
    """The largest ``k``, up to ``most``, of outer folds that can be drawn, with their ``inner`` folds; 0 if none."""
    for k in range(most, 1, -1):
        with suppress(ConfigError):
            require_inner_folds(table, list(outer_folds(table, k, repeats, split_seed)), inner, split_seed)
            return k
    return 0


def _given_folds(table: pd.DataFrame) -> pd.Series:
    names = fold_names(table, "given")
    numbers = {name: number for number, name in enumerate(names, start=1)}
    working = table["split"].isin(["train", "val"])
    found = table["fold"].map(numbers).where(working, 0).astype(int)
    groups, classes = _grouped(table), set(table.loc[working, "label"])
    for name, number in numbers.items():
        beside = working & ~groups.isin(groups[found == number])
        for rows, fault in (
            (found == number, f"of the images of train and validation, fold {name} holds none"),
            (beside, f"beside the patients of fold {name}, and copies of their images, there are none"),
        ):
            missing = sorted(classes - set(table.loc[rows, "label"]))
            if missing:
                raise ConfigError(
                    f"--folds given cannot be used: {fault} of class {missing[0]!r}; every class is needed, to train "
                    f"and to validate on; or draw folds by --folds {len(names)}."
                )
    return found.rename("fold")


# splits.csv


def write_splits(path: Path, table: pd.DataFrame, facts: pd.DataFrame | None = None) -> None:
    """Write one row per image: image, label, patient (patient_id), patient_wide (split_group), split, reason.

    ``pixels`` and ``looks`` (its perceptual hash) follow, of ``facts``, by which an image is known wherever it turns
    up; ``looks`` is empty for a constant image, whose hash says nothing.
    """
    renamed = table.rename(columns={"split_group": "patient_wide", "patient_id": "patient"})
    renamed = renamed[["image", "label", "patient", "patient_wide", "split", "reason"]]
    if facts is not None:
        looks = facts["perceptual_hash"].where(~facts["constant"].astype(bool), "")
        renamed = renamed.assign(pixels=facts["pixels"].to_numpy(), looks=looks.to_numpy())
    write_table(path, renamed)


def same_images(path: Path, table: pd.DataFrame) -> bool:
    """Whether the file ``path``, which a run wrote, lists the images of ``table`` and no others."""
    return set(_read(path)["image"]) == set(table["image"])


MOST_NAMED = 10
"""Changed images that are named."""


def changes_since(before: pd.DataFrame, table: pd.DataFrame, facts: pd.DataFrame | None = None) -> list[str]:
    """Which images are not as a run wrote them down: the name of each, and what is another, in the order of names.

    Args:
        before: splits.csv of the run; that of an earlier version says nothing of pixels.
        table: ``image`` and ``label`` of each image of now.
        facts: ``pixels`` of each, in the same order; None before they are decoded.

    Returns:
        the first `MOST_NAMED`, and how many more there are.
    """
    known = before.reindex(columns=["image", "label", "pixels"]).astype("str")
    was = {row.image: (row.label, "" if facts is None else row.pixels) for row in known.itertuples()}
    pixels = table["image"] if facts is None else facts["pixels"]
    now = dict(zip(table["image"], zip(table["label"], pixels, strict=True), strict=True))
    found = {name: "gone" for name in was if name not in now} | {name: "new" for name in now if name not in was}
    for name in was.keys() & now.keys():
        if was[name][1] not in ("", "nan") and was[name][1] != now[name][1]:
            found[name] = "other pixels"
        elif was[name][0] != now[name][0]:
            found[name] = "another label"
    told = [f"{name} ({found[name]})" for name in sorted(found)]
    return [*told[:MOST_NAMED], *([f"{len(told) - MOST_NAMED:,} more"] if len(told) > MOST_NAMED else [])]


def take_over(path: Path, table: pd.DataFrame) -> tuple[pd.DataFrame, dict[int, str]]:
    """The splits in the file ``path`` for the images of ``table``.

    Args:
        path: a CSV file with the columns ``image`` and ``split`` (train, val, test, or empty for an image that takes
            no part), maybe ``label`` and ``reason``; other columns are ignored.
        table: as in `bench.data.imageset.ImageSet`.

    Returns:
        the table with the file's splits, and row number -> reason of the images that take no part.

    Raises:
        ConfigError: if the file cannot be read, names images that are not there or other labels, or lacks a split.
    """
    rows = _read(path)
    known = dict(zip(table["image"], table["label"], strict=True))
    used = rows["split"] != ""
    _refuse(path, "images that the data do not hold", rows.loc[~rows["image"].isin(known) & used])
    rows = rows[rows["image"].isin(known)]
    if "label" in rows:
        other = rows["image"].map(known) != rows["label"]
        _refuse(path, "images under another label than the data", rows[other & used[rows.index]])
    missing = [split for split in SPLITS if split not in set(rows["split"])]
    if missing:
        raise ConfigError(f"--splits {path} puts no image into {missing[0]}; train, val and test are all needed.")
    rows = rows.set_index("image").reindex(table["image"], fill_value="").reset_index()
    reasons = rows["reason"] if "reason" in rows else pd.Series("", index=rows.index)
    silent = {
        row: reasons[row] or f"takes no part by {path.name}" for row, split in enumerate(rows["split"]) if not split
    }
    return table.assign(split=rows["split"].tolist()), silent


def _read(path: Path) -> pd.DataFrame:
    if path.exists() and not path.is_file():
        raise ConfigError(f"--splits {path} cannot be read as a CSV file: it is no file.")
    try:
        rows = from_cells(pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"--splits {path} cannot be read as a CSV file: {reason}.") from None
    absent = [name for name in ("image", "split") if name not in rows]
    if absent:
        raise ConfigError(
            f"--splits {path} has no column {' and no column '.join(absent)} (it has {', '.join(rows.columns)}); "
            "image and split are needed, as a run's splits.csv has them."
        )
    _refuse(path, "images twice", rows[rows["image"].duplicated()])
    odd = sorted(set(rows["split"]) - {*SPLITS, ""})
    if odd:
        raise ConfigError(f"--splits {path} names the split {odd[0]!r}; train, val, test or nothing is accepted.")
    return rows


def _refuse(path: Path, what: str, rows: pd.DataFrame) -> None:
    if len(rows):
        some = ", ".join(rows["image"].head(5))
        raise ConfigError(f"--splits {path} names {what} ({len(rows)}, such as {some}); it must fit the data.")
