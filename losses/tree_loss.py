"""The base of losses that read the tree: one pass over the scores gives losses and gradient
together.
"""

from abc import abstractmethod
from functools import partial

from torch import Tensor

from hierarchies import Hierarchy
from losses.base import Loss, full_precision
from losses.fused import Fused
from losses.gradients import by_hand
from losses.segments import Cut, TreeOrder


class TreeLoss(Loss):
    """A loss that depends on the scores of a row and on how the target cuts it into levels, see
    `losses.segments`.

    A subclass gives its formula once, with its gradient, in `rows`; what `rows` asks of the levels
    is done by `Segments`, fast on the CPU and with few kernels elsewhere. Tables are of order
    classes x depth, with a row for each target: the C classes, then the N nodes, see
    `losses.inner_targets`. It is fastest if the classes are in depth-first order.
    """

    inner_targets = True
    kernel: Fused | None = None  # `one_kernel`, where it may be asked

    def __init__(self, hierarchy: Hierarchy):
        super().__init__(hierarchy)
        self.tree = TreeOrder(hierarchy)

    @property
    def replayable(self) -> bool:
        """Not before it is known whether one kernel computes it."""
        return self.kernel is None or self.kernel.called

    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        scores, classes = full_precision(scores), targets
        if self.check(scores, targets):
            scores, classes = self.pool(scores, targets)
        return by_hand(partial(self._mean, targets, classes), scores.contiguous())

    def _mean(self, targets: Tensor, classes: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
        """The mean of the losses, and its gradient where that is wanted."""
        wanted = scores.requires_grad
        losses, gradient = self.compute(scores.detach(), targets, classes, wanted)
        mean = losses.mean().to(scores.dtype)
        return (mean, gradient) if wanted else (mean,)

    def fuse(self) -> None:
        self.kernel = Fused(self.one_kernel) if self.one_kernel else None

    def compute(
        self, scores: Tensor, targets: Tensor, classes: Tensor, differentiate: bool
    ) -> tuple[Tensor, Tensor]:
        """As `rows`, of the class (B,) that each target is or is stood for by; by one kernel, where
        that may be.
        """

        tree, one_kernel = self.tree, self.kernel

        def by_many() -> tuple[Tensor, Tensor]:
            return self.rows(scores, targets, tree.cut(classes), differentiate or bool(one_kernel))

        if one_kernel is None:
            return by_many()
        tables = (tree.order, tree.ends, tree.floors, classes, *self.tables(targets))
        return one_kernel(by_many, scores, *tables)

    def tables(self, targets: Tensor) -> tuple:
        """What the function of `one_kernel` is given beside scores, tree and classes."""
        raise NotImplementedError

    @abstractmethod
    def rows(
        self, scores: Tensor, targets: Tensor, cut: Cut, differentiate: bool
    ) -> tuple[Tensor, Tensor]:
        """Losses of the rows and the gradient of their mean.

        Args:
            scores (B, C): Contiguous, float32 or float64; not tracked by autograd.
            targets (B,): Rows of tables. Where one is an inner node, the scores are those of
                `Pooling`.
            cut: The parts of the batch, each with its `Segments`: those of the true classes, and of
                the class that stands for an inner node.
            differentiate: Whether the gradient is wanted.

        Returns: Losses (B,) float64, and the gradient (B, C), without meaning if it is not wanted.
        """

    def _table(self, name: str, table: Tensor | None) -> None:
        self.register_buffer(name, table, persistent=False)
