"""Cross-validation: every image is tested once, each time by a model that has not seen it or its
group.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.groups import share_out
from data.sharing import FRACTIONS, by_class_shuffled, stratified_split

MOST = 1000


@dataclass(frozen=True)
class Fold:
    """Fold number of count, as an option takes it: "2/5"; both from 1."""

    rule = f"K/N, such as 2/5 for the second of five folds, with N from 2 to {MOST}"

    def __call__(self, value: object) -> str:
        """The text. Raises: ValueError: If it is not a fold."""
        number, count = self.parts(value)
        if not 1 <= number <= count or not 2 <= count <= MOST:
            raise ValueError(f"{value!r} is not {self.rule}")
        return f"{number}/{count}"

    @staticmethod
    def parts(value: object) -> tuple[int, int]:
        """Number and count; 0, 0 of what is not a fold."""
        found = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", str(value))
        return (int(found[1]), int(found[2])) if found else (0, 0)


def fold_of(labels: np.ndarray, count: int, seed: int, groups: np.ndarray | None = None):
    """Fold of each image, (S,) int64 in [0, count).

    Without groups each fold has the same number of images of every class, and of all, but for one;
    with them none parts a group and the classes are as even as `share_out` finds.

    Args:
        labels: Class of each image, (S,).
        count: Number of folds.
        seed: The same for all folds of a cross-validation.
        groups: Group of each image, (S,) int64 from 0; None for none.

    Raises: ValueError: If there are fewer images or groups than folds.
    """
    if groups is not None:
        return share_out(labels, groups, np.full(count, 1 / count), seed)
    if len(labels) < count:
        raise ValueError(f"{len(labels)} images cannot be shared out over {count} folds")
    fold = np.empty(len(labels), np.int64)
    # dealt out in turn, from class to class, so that the folds are of one size, too
    fold[by_class_shuffled(labels, seed)] = np.arange(len(labels)) % count
    return fold


class DrawnFold(str):
    """A fold 'K/N' that is drawn whatever the groups are called, as folds of all runs were before
    2026-11-28.
    """


def numbered_folds(names: Sequence[str], count: int) -> np.ndarray | None:
    """The fold of each group by its name, (G,) int64 in [0, count), where the names are those of
    all folds: fold1 to fold5, or 0 to 4; None where they are not.
    """
    found = [re.fullmatch(r"(\D*)([0-9]{1,4})", name.strip()) for name in names]
    if len(names) != count or None in found or len({one[1] for one in found}) > 1:
        return None
    numbers = np.array([int(one[2]) for one in found])
    folds = numbers - numbers.min()
    known = numbers.min() <= 1 and sorted(folds.tolist()) == [*range(count)]
    return folds if known else None


def fold_split(
    labels: np.ndarray,
    fold: str,
    *,
    seed: int,
    use_val: bool,
    groups: np.ndarray | None = None,
    names: Sequence[str] = (),
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training, validation (empty without use_val) and test, which is the fold: that of
    `numbered_folds` of the groups' names, else of `fold_of`. The same share of what is not tested
    validates as in a random split.
    """
    number, count = Fold.parts(fold)
    drawn = groups is None or isinstance(fold, DrawnFold)
    named = None if drawn else numbered_folds(names, count)
    folds = fold_of(labels, count, seed, groups) if named is None else named[groups]
    tested = folds == number - 1
    rest = np.flatnonzero(~tested)
    if not use_val:
        return rest, rest[:0], np.flatnonzero(tested)
    train, val = FRACTIONS[True]
    share = val / (train + val)
    if groups is not None:
        _, own = np.unique(groups[rest], return_inverse=True)
        held = share_out(labels[rest], own, (1 - share, share), seed) == 1
        return rest[~held], rest[held], np.flatnonzero(tested)
    most = int(share * len(rest))
    if not most:
        raise ValueError(f"{len(rest)} images leave none for the val split; leave out --use_val")
    kept, held, _ = stratified_split(labels[rest], (len(rest) - most, most, 0), seed)
    return rest[kept], rest[held], np.flatnonzero(tested)
