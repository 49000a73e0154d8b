"""Images that belong together (of one sample, one animal, or equal to the pixel) and splits that
never part them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from files.text import counted

if TYPE_CHECKING:
    from scipy.sparse import csr_array

ROUNDS = 3  # over all groups, in which single ones move


def joined_groups(*keys: np.ndarray) -> np.ndarray:
    """Number of the group of each image, (S,) int64: images that share a value in any of the keys
    are in one group, also by way of others.

    Args:
        keys: Arrays (S,) of any type; a missing value ('', a negative number) joins nothing.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(keys[0])
    rows, columns, width = [], [], count
    for key in keys:
        values, index = np.unique(np.asarray(key), return_inverse=True)
        known = ~_is_missing(values)[index]
        rows.append(np.flatnonzero(known))
        columns.append(width + index[known])
        width += len(values)
    rows, columns = np.concatenate(rows), np.concatenate(columns)
    graph = coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(width, width))
    _, component = connected_components(graph, directed=False)
    return np.unique(component[:count], return_inverse=True)[1].astype(np.int64)


def group_names(groups: np.ndarray, keys: np.ndarray | None, files: Sequence[str]) -> list[str]:
    """A name for each of G groups: the key of its first image that has one, else the path of its
    first image.
    """
    names: dict[int, str] = {}
    for group, key in zip(groups.tolist(), () if keys is None else keys.tolist()):
        if str(key).strip():
            names.setdefault(group, str(key))
    for group, file in zip(groups.tolist(), files):
        names.setdefault(group, file)
    return [names[group] for group in range(len(names))]


class Parted(NamedTuple):
    """A group that a split parts.

    Fields:
        group: Its number.
        counts: Its images in training, validation and test.
    """

    group: int
    counts: tuple[int, int, int]


def parted(groups: np.ndarray, parts: Sequence[np.ndarray]) -> list[Parted]:
    """The groups with images in more than one part, by number.

    Args:
        groups: Group of each image, (S,) int64.
        parts: Indices of the images of training, validation and test.
    """
    total = int(groups.max()) + 1 if len(groups) else 0
    counts = np.stack([np.bincount(groups[part], minlength=total) for part in parts], axis=1)
    several = np.flatnonzero((counts > 0).sum(axis=1) > 1)
    return [Parted(int(group), tuple(counts[group].tolist())) for group in several]


def _is_missing(values: np.ndarray) -> np.ndarray:
    if np.issubdtype(values.dtype, np.signedinteger):
        return values < 0
    if values.dtype.kind in "OUS":
        return np.array([str(value).strip() == "" for value in values], bool)
    return np.zeros(len(values), bool)


def share_out(
    labels: np.ndarray, groups: np.ndarray, shares: Sequence[float], seed: int
) -> np.ndarray:
    """Part of each image, (S,) int64 in [0, number of shares): every group is in one part, and each
    part has its share of every class as nearly as groups allow.

    Groups go, largest first, where they leave the least misfit: the sum over classes and parts of
    share (images there / (share x images of the class) - 1)^2. A part that is left empty takes a
    group; then single groups move as long as that lessens the misfit.

    Args:
        labels: Class of each image, (S,).
        groups: Group of each image, (S,) int64 from 0.
        shares: Share of the images of each part, > 0, summing to 1.
        seed: Of the order among equally large groups.

    Raises: ValueError: If there are fewer groups than parts.
    """
    from scipy.sparse import coo_array, csr_array  # reading a command line need not wait for it

    shares = np.asarray(shares, float)
    number = int(groups.max()) + 1 if len(groups) else 0
    if number < len(shares):
        raise ValueError(
            f"{counted(number, 'group')} of images cannot be shared out over {len(shares)} splits:"
            " a split never parts a group; name another column (--group_column) or level of folders"
            " (--group_level), or none (of an export of EcoTaxa object_id, in the place of its"
            " samples)"
        )
    counts = np.bincount(labels)
    ones = np.ones(len(labels))
    table = coo_array((ones, (groups, labels)), shape=(number, len(counts))).tocsr()
    table = csr_array(table / np.maximum(counts, 1))  # share of each class in each group
    generator = np.random.default_rng(seed)
    tie = generator.permutation(number)
    size = np.asarray(table.sum(axis=1)).ravel()
    filled = np.zeros((len(shares), len(counts)))
    part = np.full(number, -1)
    for group in np.lexsort((tie, -size)):
        own = _row(table, group)
        part[group] = _misfit_of_adding(filled, own, shares).argmin()
        filled[part[group], own[0]] += own[1]
    _fill_empty(part, size, len(shares))
    _improve(table, part, shares)
    return part[groups]


def _row(table: csr_array, group: int) -> tuple[np.ndarray, np.ndarray]:
    entries = slice(table.indptr[group], table.indptr[group + 1])
    return table.indices[entries], table.data[entries]


def _misfit_of_adding(filled: np.ndarray, own: tuple, shares: np.ndarray) -> np.ndarray:
    """Change of the misfit for each part if the group went there: (x + g)^2/s - 2 (x + g) ..."""
    columns, values = own
    before = filled[:, columns]
    return ((2 * before + values) * values / shares[:, None] - 2 * values).sum(axis=1)


def _fill_empty(part: np.ndarray, size: np.ndarray, parts: int) -> None:
    """Gives every part without a group the smallest group of the part that has most of them."""
    for empty in np.setdiff1d(np.arange(parts), part):
        rich = np.bincount(part, minlength=parts).argmax()
        here = np.flatnonzero(part == rich)
        part[here[size[here].argmin()]] = empty


def _improve(table: csr_array, part: np.ndarray, shares: np.ndarray) -> None:
    """Moves single groups to a better part, in rounds over all groups."""
    parts = len(shares)
    filled = np.stack([np.asarray(table[part == p].sum(axis=0)).ravel() for p in range(parts)])
    left = np.bincount(part, minlength=parts)
    for _ in range(ROUNDS):
        moved = False
        for group in range(len(part)):
            here = part[group]
            if left[here] == 1:
                continue
            own = _row(table, group)
            filled[here, own[0]] -= own[1]
            cost = _misfit_of_adding(filled, own, shares)
            there = int(cost.argmin())
            if cost[there] < cost[here] - 1e-12:
                part[group], moved = there, True
                left[here] -= 1
                left[there] += 1
            filled[part[group], own[0]] += own[1]
        if not moved:
            break
