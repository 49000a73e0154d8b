"""Everything that the metrics read about one evaluated split."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from hierarchies import Hierarchy, distances
from hierarchies.weights import node_weights
from metrics.pareto import Front, concatenate, pareto_front
from metrics.posterior import node_probabilities, row_blocks, softmax, top_k

SAMPLE = 2000  # classes of whose pairs measures are, where a tree has more: 2 million pairs
RANKED = 20  # how many of the best classes are kept for the measures at k


def sample_classes(num_classes: int, size: int) -> np.ndarray:
    """`size` of the classes drawn at random, always the same ones, in order; all of them where
    there are no more.
    """
    if num_classes <= size:
        return np.arange(num_classes)
    return np.sort(np.random.default_rng(0).choice(num_classes, size, replace=False))


@dataclass(frozen=True, eq=False)
class Predictions:
    """What measures of the predicted classes alone read of `Outputs`: no scores.

    Attributes:
        hierarchy: The class tree.
        labels, predictions: (S,) integer class indices.
    """

    hierarchy: Hierarchy
    labels: np.ndarray
    predictions: np.ndarray

    @cached_property
    def node_weights(self) -> np.ndarray:
        """The balanced weighting, (N,)."""
        return node_weights(self.hierarchy)


class CoarseImages(NamedTuple):
    """Images of a split that are labelled at inner nodes of the tree only.

    Fields:
        nodes: (K,) the inner node of each.
        scores: (K, C) from the class vectors.
        clusters: (K,) groups, as in `Outputs`.
    """

    nodes: np.ndarray
    scores: np.ndarray
    clusters: np.ndarray | None = None


class Block:
    """Some samples of a split and their posterior, each kind of it computed once, when it is read.

    Attributes:
        outputs: The split.
        rows: Its samples.
    """

    def __init__(self, outputs: Outputs, rows: slice):
        self.outputs, self.rows, self.tree = outputs, rows, outputs.hierarchy

    @cached_property
    def labels(self) -> np.ndarray:
        """(s,)."""
        return self.outputs.labels[self.rows]

    @cached_property
    def classes(self) -> np.ndarray:
        """Posterior over the classes, (s, C) float64."""
        return softmax(self.outputs.scores_of(self.rows))

    @cached_property
    def nodes(self) -> np.ndarray:
        """Posterior over the nodes, (s, N) float64."""
        return node_probabilities(self.tree, self.classes)

    @cached_property
    def front(self) -> Front:
        """The nodes that any trade between probability and information can choose."""
        return pareto_front(self.tree, self.nodes)


# what a measure wants to know of single samples, made of a block of them: an array whose rows are
# the samples, a tuple of such, or a front
Reader = Callable[[Block], np.ndarray | tuple[np.ndarray, ...] | Front]


def confidences(block: Block) -> np.ndarray:
    """Largest posterior probability of a class, (s,)."""
    return block.classes.max(axis=1)


def fronts(block: Block) -> Front:
    """The front of each sample."""
    return block.front


@dataclass(frozen=True, eq=False)
class Outputs:
    """Scores, embeddings and class vectors of one split (S samples, C classes, D dimensions).
    Checked once, here.

    Attributes:
        hierarchy: The class tree.
        labels: (S,) integer class indices.
        scores: (S, C) from the class vectors, higher is better; -inf is probability 0.
        embeddings: (S, D), not normalised; D is 0 where there are only scores.
        class_vectors: (C, D).
        prototypes: (C, D), unit rows; NaN rows for classes without training images. None of a
            classifier that was looked at without images.
        prototype_scores: (S, C), -inf for absent classes; None where the head has no proxies.
        distance: "euc" or "arccos", how class vectors are compared.
        beta: Of the similarity made from the tree distance, > 0.
        living: (C,) bool, the classes of the living subset, or None.
        weights: (N,) node weights of the weighted measures; None for the balanced weighting.
        order: (S, K) classes by falling preference where a decision rule has ranked them; None for
            the order of scores.
        coarse: Further images of the split, labelled at inner nodes; None without such. Only
            `metrics.coarse_images` looks at them.
        clusters: (S,) name or number of the group of each image, of those that belong together, as
            of one sample; None where each stands alone. Intervals draw whole groups.
        files: (S,) names of the images, as the dataset has them, or None.
        train_counts: (C,) training images labelled with each class, or None where not known.
        temperature: The scores are divided by it, in float32, where they become a posterior; None
            for 1.
        drawn_from: Number of classes of the tree of which these are a sample (`sample`); None for
            all of it.

    Raises: ValueError: If a shape, a label or a score does not fit.
    """

    hierarchy: Hierarchy
    labels: np.ndarray
    scores: np.ndarray
    embeddings: np.ndarray
    class_vectors: np.ndarray
    prototypes: np.ndarray | None
    prototype_scores: np.ndarray | None = None
    distance: str = "euc"
    beta: float = 1.0
    living: np.ndarray | None = None
    weights: np.ndarray | None = None
    order: np.ndarray | None = None
    coarse: CoarseImages | None = None
    train_counts: np.ndarray | None = None
    temperature: float | None = None
    drawn_from: int | None = None
    clusters: np.ndarray | None = None
    files: np.ndarray | None = None

    def __post_init__(self) -> None:
        samples = len(self.labels)
        classes = self.hierarchy.num_classes
        dim = self.embeddings.shape[-1]
        shapes = {
            "labels": (samples,),
            "scores": (samples, classes),
            "embeddings": (samples, dim),
            "class_vectors": (classes, dim),
            "prototypes": (classes, dim),
            "living": (classes,),
            "prototype_scores": (samples, classes),
            "weights": (self.hierarchy.num_nodes,),
            "train_counts": (classes,),
            "clusters": (samples,),
            "files": (samples,),
        }
        for name, shape in shapes.items():
            array = getattr(self, name)
            if array is not None and array.shape != shape:
                raise ValueError(
                    f"{name} must have shape {shape}, got {array.shape}; do they come from one run?"
                )
        wrong = samples and not np.issubdtype(self.labels.dtype, np.integer)
        if wrong or (samples and not 0 <= self.labels.min() <= self.labels.max() < classes):
            found = f"{self.labels.dtype} {self.labels[:5]}"
            raise ValueError(
                f"labels must be integers in [0, {classes}), got {found} ...; are they of another"
                " tree?"
            )
        for name in ("scores", "prototype_scores"):
            scores = getattr(self, name)
            # the largest of a row is NaN, inf or -inf if any entry is NaN, any is inf, or all are
            # -inf
            if scores is not None and samples and not np.isfinite(scores.max(axis=1)).all():
                raise ValueError(
                    f"{name} hold NaN, inf, or a row of -inf only: no posterior; did training"
                    " diverge?"
                )
        if self.distance not in ("euc", "arccos"):
            raise ValueError(f"distance must be 'euc' or 'arccos', got {self.distance!r}")

    @property
    def num_samples(self) -> int:
        """S."""
        return len(self.labels)

    @cached_property
    def path(self) -> np.ndarray:
        """Path lengths between classes in edges, (C, C) int."""
        return distances.path_length(self.hierarchy)

    @cached_property
    def lca_height(self) -> np.ndarray:
        """Heights of the lowest common ancestors of classes in edges, (C, C) int."""
        return distances.lca_height(self.hierarchy)

    @cached_property
    def node_weights(self) -> np.ndarray:
        """Node weights of the weighted measures, (N,): `weights`, or the balanced weighting."""
        return node_weights(self.hierarchy) if self.weights is None else self.weights

    @cached_property
    def ranking(self) -> np.ndarray:
        """The best classes of each sample, best first, (S, min(20, C)); equal scores: the lower
        class index first.
        """
        return top_k(self.scores, RANKED) if self.order is None else self.order

    def best(self, k: int) -> np.ndarray:
        """The k best classes of each sample, best first, (S, min(k, C)); k above C means C.

        Raises: ValueError: If k < 1, or a given `order` has fewer classes.
        """
        if k < 1:
            raise ValueError(f"k counts classes and must be at least 1, got {k}")
        if k <= self.ranking.shape[1] or self.ranking.shape[1] == self.hierarchy.num_classes:
            return self.ranking[:, :k]
        if self.order is not None:
            raise ValueError(
                f"the decision rule ranked {self.order.shape[1]} classes only, {k} are asked for"
            )
        return top_k(self.scores, k)

    @cached_property
    def predictions(self) -> np.ndarray:
        """Predicted class of each sample, (S,)."""
        if self.order is not None or "ranking" in self.__dict__:
            return self.ranking[:, 0]
        return self.scores.argmax(axis=1)  # of equal ones the first, too, in a tenth of the time

    @property
    def confidence(self) -> np.ndarray:
        """Largest posterior probability of a class for each sample, (S,) float64."""
        return self.read(confidences)

    @property
    def front(self) -> Front:
        """The nodes that any trade between probability and information can choose, per sample."""
        return self.read(fronts)

    def read(self, reader: Reader) -> np.ndarray | tuple[np.ndarray, ...] | Front:
        """What a reader makes of all samples, which is kept."""
        self.read_together([reader])
        return self._read[reader]

    def read_together(self, readers: Iterable[Reader]) -> None:
        """Lets several readers, those that have not read yet, look at the posterior while it goes
        by once: it is computed block by block, and takes longer than most of them.
        """
        parts = {reader: [] for reader in readers if reader not in self._read}
        if not parts:
            return
        for rows in row_blocks(self.num_samples, self.hierarchy.num_nodes):
            block = Block(self, rows)
            for reader, found in parts.items():
                found.append(reader(block))
        if not self.num_samples:  # for the shapes
            nobody = Block(self, slice(0, 0))
            parts = {reader: [reader(nobody)] for reader in parts}
        self._read.update({reader: _joined(found) for reader, found in parts.items()})

    @cached_property
    def _read(self) -> dict[Reader, np.ndarray | tuple[np.ndarray, ...] | Front]:
        return {}

    def scores_of(self, rows: slice) -> np.ndarray:
        """Scores of some samples, divided by the temperature, (rows, C)."""
        scores = self.scores[rows]
        return scores if self.temperature is None else scores / np.float32(self.temperature)

    def sample(self, size: int) -> Outputs:
        """These outputs for `size` classes drawn at random, always the same of a tree, with their
        samples and without scores: what measures of pairs of classes read. All of them where there
        are no more.
        """
        classes = sample_classes(self.hierarchy.num_classes, size)
        if len(classes) == self.hierarchy.num_classes:
            return self
        place = np.full(self.hierarchy.num_classes, -1)
        place[classes] = np.arange(len(classes))
        rows = np.flatnonzero(place[self.labels] >= 0)
        of_classes = {
            name: None if array is None else array[classes]
            for name in ("class_vectors", "prototypes", "living")
            for array in [getattr(self, name)]
        }
        return Outputs(
            self.hierarchy.subset(classes),
            place[self.labels[rows]],
            np.broadcast_to(np.float32(0), (len(rows), len(classes))),
            self.embeddings[rows],
            distance=self.distance,
            beta=self.beta,
            drawn_from=self.hierarchy.num_classes,
            **of_classes,
        )

    def of_tree(self, compute: Callable, *args) -> object:
        """compute(self, *args), which reads nothing but the tree and its tables: views made from
        now on share it.
        """
        key = compute, *args
        if key not in self._of_tree:
            self._of_tree[key] = compute(self, *args)
        return self._of_tree[key]

    @cached_property
    def _of_tree(self) -> dict[tuple, object]:
        return {}

    def share_tables(self) -> None:
        """Computes the tables of the tree, so that views made from now on have them, too."""
        _ = self.path, self.lca_height, self._of_tree

    def view(self, **changes) -> Outputs:
        """The same split with other scores, or an `order` of a decision rule; tables of the tree
        are shared.
        """
        other = replace(self, **changes)
        for name in {"path", "lca_height", "_of_tree"} & self.__dict__.keys():
            other.__dict__[name] = self.__dict__[name]
        return other


def _joined(parts: list) -> np.ndarray | tuple[np.ndarray, ...] | Front:
    """What a reader found, of all blocks."""
    if isinstance(parts[0], Front):
        return concatenate(parts)
    if isinstance(parts[0], tuple):
        return tuple(map(np.concatenate, zip(*parts)))
    return np.concatenate(parts)


def outputs_of(hierarchy: Hierarchy, labels: np.ndarray, **fields: object) -> Outputs:
    """Outputs of a split whose labels (S,) are classes, or C + v at inner nodes v of the tree:
    images there become `Outputs.coarse`.

    Args:
        fields: Those of `Outputs`, arrays of all S images among them.

    Raises: ValueError: If a shape, a label or a score does not fit.
    """
    labels, classes = np.asarray(labels), hierarchy.num_classes
    inner = np.append(np.zeros(classes, bool), hierarchy.class_of < 0)
    coarse = np.zeros(len(labels), bool)
    if labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer):
        known = (labels > classes) & (labels < len(inner))  # the root, C, is not a label
        coarse[known] = inner[labels[known]]
    if not coarse.any():
        return Outputs(hierarchy, labels=labels, **fields)
    images = Outputs(hierarchy, labels=np.where(coarse, 0, labels), **fields)  # checks all of them
    parts = {
        name: getattr(images, name)[~coarse]
        for name in ("scores", "embeddings", "prototype_scores", "clusters", "files")
        if getattr(images, name) is not None
    }
    groups = None if images.clusters is None else images.clusters[coarse]
    others = CoarseImages(labels[coarse] - classes, images.scores[coarse], groups)
    return replace(images, labels=labels[~coarse], coarse=others, **parts)
