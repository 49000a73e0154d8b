"""The hierarchy-aware frame: cosines between classes that fall off with the distance in the tree,
as far apart as vectors can be.
"""

import numpy as np

from hierarchies.tree import Hierarchy
from registry import Need, Option, positive

GAMMA = Option(
    "gamma",
    positive,
    2.0,
    "RATE",
    "how fast the cosines between the classes of a hierarchy-aware frame fall off with the height"
    " of the common ancestor",
    needs=Need(
        lambda options: (
            (options.get("mds_W") and options.get("mds_targets") == "haframe")
            or options.get("loss") == "haframe"
        ),
        "--mds_targets haframe or --loss haframe",
    ),
)


def frame_cosines(hierarchy: Hierarchy, gamma: float) -> np.ndarray:
    """(1 - s) exp(-gamma h(v) / max h) + s for every node v as the lowest common ancestor of two
    classes: (N,), 1 at the classes.

    s is the least value for which these are cosines of vectors. With E = exp(-gamma hL / max hL)
    over pairs of classes and t = 1 / (1^T E^-1 1) it is -t / (1 - t), and never below -1; the
    authors try a hundred values between -1 / (C - 1) and -1. 1^T E^-1 1 is the precision of a mean
    under a random walk down the tree with covariance E: O(N), no table of C x C.

    Args:
        gamma: Rate, > 0.

    Source: Liang & Davis 2023 (HAFrame); closed form: this project.
    """
    largest = max(1, int(hierarchy.height[hierarchy.n_children > 1].max(initial=0)))
    similar = np.exp(-gamma * np.minimum(hierarchy.height / largest, 1.0))
    variance = similar - similar[np.maximum(hierarchy.parent, 0)]
    variance[0] = similar[0]
    precision = np.zeros(hierarchy.num_nodes)
    for v in range(hierarchy.num_nodes - 1, -1, -1):
        below = precision[v]  # of the children, which are all done
        is_class = hierarchy.class_of[v] >= 0
        precision[v] = 1 / variance[v] if is_class else below / (1 + variance[v] * below)
        if v:
            precision[hierarchy.parent[v]] += precision[v]
    share = 1 / precision[0]
    least = -1.0 if share >= 0.5 else -share / (1 - share)
    return (1 - least) * similar + least
