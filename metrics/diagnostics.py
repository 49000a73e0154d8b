"""The short diagnostics of an epoch: how class vectors lie among embeddings and in the tree."""

from functools import lru_cache

import numpy as np

from hierarchies import Hierarchy, distances
from metrics.geometry import angles_between, discriminability
from metrics.inference import correlation_of_ranks
from metrics.outputs import sample_classes
from metrics.ranks import rank_columns
from metrics.result import mean_over_items
from metrics.retrieval import retrieval_by_distance
from metrics.vectors import nearest_first, pairwise_distances, present

# classes of whose pairs the figures of an epoch are, and how many are drawn where there are more:
# a fifth of a second, which is little beside an epoch over more than a thousand classes
EPOCH_CLASSES, EPOCH_SAMPLE = 1000, 500
QUICK_SAMPLE = 250  # of an epoch that takes a second: a fiftieth of that


def diagnostics(
    class_vectors: np.ndarray,
    prototypes: np.ndarray,
    class_sums: np.ndarray,
    class_sumsq: np.ndarray,
    counts: np.ndarray,
    hierarchy: Hierarchy,
    distance: str,
    quick: bool = False,
) -> dict[str, float]:
    """The figures for one epoch's row, cheap enough to compute after each; NaN where undefined.

    Of more than 1,000 classes those of the tree are of 500 drawn at random, always the same, and
    their names say so: `W_of_500/corr`. If `quick`, of 250 where there are more.

    `var_inter`, `var_intra`, `discriminability`; `proxy_prototype_angle` in radians, mean over
    classes; `W/corr`, and `W/p@1_level1`, `W/r_precision_level1`, `W/map@r_level1` ... for each
    level; the last two also for prototypes (P).

    Args:
        class_vectors, prototypes: (C, D); a prototype is NaN where its class has no image.
        class_sums, class_sumsq, counts: Of unit embeddings; see `geometry.discriminability`.
    """
    results = discriminability(class_sums, class_sumsq, counts)
    results["proxy_prototype_angle"] = mean_over_items(angles_between(class_vectors, prototypes))
    most, size = (QUICK_SAMPLE, QUICK_SAMPLE) if quick else (EPOCH_CLASSES, EPOCH_SAMPLE)
    everything = len(class_vectors) <= most
    classes = sample_classes(len(class_vectors), most if everything else size)
    drawn = "" if everything else f"_of_{size}"
    hierarchy, tree, ranks = _drawn_tree(hierarchy, tuple(classes.tolist()))
    for name, vectors in (("W", class_vectors[classes]), ("P", prototypes[classes])):
        kept = np.flatnonzero(present(vectors))
        learned = pairwise_distances(vectors[kept], distance)
        whole = len(kept) == len(vectors)
        given = ranks if whole else rank_columns(tree[np.ix_(kept, kept)])
        order = nearest_first(learned)
        correlation = correlation_of_ranks(rank_columns(learned, order), given)
        levels = retrieval_by_distance(order[0], hierarchy, kept)
        results |= {
            f"{name}{drawn}/{key}": result
            for key, result in {"corr": correlation, **levels}.items()
        }
    return {name: result.value for name, result in results.items()}


@lru_cache(maxsize=1)
def _drawn_tree(
    hierarchy: Hierarchy, classes: tuple[int, ...]
) -> tuple[Hierarchy, np.ndarray, np.ndarray]:
    """The tree of some classes, the path lengths between them and their ranks: no epoch changes
    them.
    """
    if len(classes) < hierarchy.num_classes:
        hierarchy = hierarchy.subset(classes)
    table = distances.path_length(hierarchy)
    return hierarchy, table, rank_columns(table)
