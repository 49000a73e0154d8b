"""What every loss has in common, and what it can read of a head."""

from collections.abc import Collection, Mapping

import numpy as np
from torch import Tensor, nn

from hierarchies import Hierarchy
from losses.inner_targets import Pooling
from registry import Option, settle

# What a head may offer and a loss read -> in words, and which heads have it. A head has a method of
# each name, from embeddings (B, D), but for the scores, which it is called for:
#   scores (B, C), whose softmax is the posterior; cosines (B, C); node_scores (B, N), in the
#   numbering of the tree; level_scores (B, M), of the members of all levels side by side from the
#   top to the classes, see `hierarchies.levels`; level_vectors (M, D), of the same;
#   axes (B, N - 1), a coordinate for each node but the root.
READINGS = {
    "scores": ("the scores of the classes", ""),
    "cosines": ("the cosines between an image's embedding and one vector of each class", ""),
    "node_scores": ("a score of every node of the tree", "--share_parents or --method levels"),
    "level_scores": ("separate scores on each level of the tree", "--method levels"),
    "level_vectors": ("a vector of each superclass", "--method levels"),
    "axes": ("a coordinate of the embedding for every node of the tree", "--method hiercos"),
}
OF_WEIGHTS = ("level_vectors",)  # those that are the same whatever the images


class Loss(nn.Module):
    """A function of what the head says about a batch and of the true classes. It has no parameters,
    with one exception (`losses.aigdl`), whose parameters train and are kept as part of the model.

    Shape: what `inputs` names, such as scores (B, C) with higher better, then targets (B,) int64 ->
    scalar, the mean or the sum over the batch. A target is a class in [0, C), or, where
    `inner_targets` allows it, C + v for an inner node v.

    Attributes:
        inputs: What it reads of the head, in the order of its arguments, see `READINGS`.
        width: Columns of the scores, which are the classes unless it reads more.
        separate: Whether each image has a loss of its own, so that parts of a batch add up to the
            whole; not so where pairs or subsets of a batch are compared. Of several processes each
            then computes that of the whole batch.
        reduction: "mean", or "sum" where an option of the loss asks for it: what its values become
            over the batch, and so how those of batches, or of parts of one, add up: means by batch
            size, sums as they are.
        one_kernel: The function of `losses.kernels` that computes it; None: none does.
        inner_targets: True if a target may be an inner node of the tree, else the reason why not,
            as part of a message.
        coarse: Whether batches may hold such targets. On the CPU, where looking is free, each batch
            tells; elsewhere only this does.
        replayable: Whether batches of one shape take the same kernels each time, whatever they
            hold, with nothing drawn at random on the way; what is recorded of one batch is then
            right for all.
        mixes: True where its value is a mean, or sum, over single images, so that a mixture of two
            images has the mean of their losses; else the reason why it has none, for --mixup.
        options: The options it takes as keyword arguments, see `registry.Option`; the constructor
            gets their values from `settle`.
        summary: What it is, in a few words, for --help.
        paper_name: What papers call it, for their tables; None: as here.
        short_flag: A switch that is short for choosing it, if there is one.
    """

    inputs: tuple[str, ...] = ("scores",)
    separate: bool = True
    reduction: str = "mean"
    one_kernel: str | None = None
    inner_targets: bool | str = "its formula needs the class of every image"
    coarse: bool = False
    replayable: bool = True
    mixes: bool | str = True
    options: tuple[Option, ...] = ()
    summary: str = ""
    paper_name: str | None = None
    short_flag: str | None = None

    def __init__(self, hierarchy: Hierarchy):
        super().__init__()
        self.num_classes, self.num_nodes = hierarchy.num_classes, hierarchy.num_nodes
        self.width = self.num_classes
        self.pool = Pooling(hierarchy) if self.inner_targets is True else None

    def check(self, scores: Tensor, targets: Tensor) -> bool:
        """Whether targets may be inner nodes: then `pool` makes them classes of other scores.

        Raises: ValueError: If the batch does not fit the tree, or holds inner nodes where the loss
        takes none; see `check_batch`.
        """
        nodes = self.num_nodes if self.pool is not None else 0
        holds = check_batch(scores, targets, self.num_classes, nodes, self.width)
        return self.coarse if holds is None else holds

    @classmethod
    def settle(cls, given: Mapping[str, object]) -> dict[str, object]:
        """The values of all its options: checked, defaults where one is missing or None.

        Raises: ValueError: If an option is out of range or not one of the loss's.
        """
        return settle(cls.options, given, f"the loss {cls.__name__}")

    @classmethod
    def on(cls, offered: Collection[str]) -> "type[Loss] | None":
        """The class that computes it on a head that offers these of `READINGS`; None if it cannot
        be computed from them.
        """
        return cls if set(cls.inputs) <= set(offered) else None

    @classmethod
    def check_head(cls, head: type, given: Mapping[str, object]) -> None:
        """Refuses heads that do not offer what the loss reads.

        Args:
            head: The class of the head; its `offered` says what it offers, its `lacks` why not.
            given: Options of the run by name; what was not given is absent, None or False.

        Raises: ValueError: Naming the flags, the reason and the way out.
        """
        offered = head.offered(given)
        if cls.on(offered) is None:
            what = next(name for name in cls.inputs if name not in offered)
            words, instead = READINGS[what]
            way_out = f"use {instead}, or another --loss" if instead else "use another --loss"
            raise ValueError(
                f"--loss {given['loss']} reads {words}, and --method {given['method']} has none:"
                f" {head.lacks[what]}; {way_out}"
            )

    def marginals(self, counts: np.ndarray) -> np.ndarray:
        """How often each class is in the targets, (C,), for counts (C,) of images of the classes:
        the same, unless targets are softened.
        """
        return counts

    def set_epoch(self, epoch: int) -> None:
        """Tells the loss which epoch begins, counted from 0."""

    def fuse(self) -> None:
        """Lets it be one kernel on GPUs, or each of its parts one, where there are such."""


def full_precision(scores: Tensor) -> Tensor:
    """Half-precision scores as float32; float32 and float64 as they are."""
    return scores if scores.itemsize > 2 else scores.float()


def check_batch(
    scores: Tensor,
    targets: Tensor,
    num_classes: int,
    num_nodes: int = 0,
    width: int | None = None,
) -> bool | None:
    """Checks the shapes, and on the CPU, where looking is free, the range of the targets.

    Args:
        num_nodes: Nodes of the tree where a target C + v may stand for its node v, the root left
            out; 0 where only classes are targets.
        width: Columns of the scores; None: as many as there are classes.

    Returns: Whether a target is such a node; None on other devices.
    Raises: ValueError: If scores are not (B, width), targets not (B,), or a target is neither
    a class nor such a node.
    """
    width = num_classes if width is None else width
    if scores.ndim != 2 or scores.shape[1] != width or targets.shape != scores.shape[:1]:
        raise ValueError(
            f"a batch is scores (B, {width}) and targets (B,), got {tuple(scores.shape)} and"
            f" {tuple(targets.shape)}; is the hierarchy of another dataset?"
        )
    if targets.device.type != "cpu":
        return None
    values = targets.numpy()
    # without a sign a negative number is very large, so that one look finds both ends
    if np.maximum.reduce(values.astype(np.uint64), initial=0) < num_classes:
        return False
    wrong = values[(values < 0) | (values == num_classes) | (values >= num_classes + num_nodes)]
    if len(wrong) or not num_nodes:
        raise ValueError(
            f"targets must lie in [0, {num_classes}), got"
            f" {wrong[0] if len(wrong) else values.max()}; is the hierarchy of another dataset?"
        )
    return True
