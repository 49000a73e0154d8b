"""Training targets at inner nodes: a target is a class c in [0, C), or C + v for a node v."""

import numpy as np
import torch
from torch import Tensor

from hierarchies import Hierarchy
from losses.inner_targets import target_nodes


class CoarseTargets:
    """Which rows of a batch have a class, and whether a class is below a target, on the device."""

    def __init__(self, hierarchy: Hierarchy, device: torch.device | str = "cpu"):
        self.num_classes = hierarchy.num_classes
        nodes = target_nodes(hierarchy)
        tables = np.argsort(hierarchy.leaf_order), hierarchy.start[nodes], hierarchy.stop[nodes]
        self.places, self.start, self.stop = (
            torch.from_numpy(table.astype(np.int64)).to(device) for table in tables
        )

    def has_class(self, targets: Tensor) -> Tensor:
        """Whether each target (B,) is a class: (B,) bool."""
        return targets < self.num_classes

    def holds(self, targets: Tensor, classes: Tensor) -> Tensor:
        """Whether each class (B,) is the target, or below it: (B,) bool."""
        places = self.places[classes]
        return (places >= self.start[targets]) & (places < self.stop[targets])
