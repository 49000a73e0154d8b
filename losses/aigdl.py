"""BiLT's loss: cross-entropy of what a learned matrix of costs makes of each level's posterior."""

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hierarchies import Hierarchy
from hierarchies.distances import lca_height
from hierarchies.levels import cut, levels
from losses.base import Loss, full_precision
from losses.levels import LEVEL_DECAY, LevelCE, level_weights
from registry import Option, fraction, nonnegative

MOST_CLASSES = 2000


class AIGDL(Loss):
    """The sum over the levels, each exp(-level_decay) less for a step upwards, of cross-entropy and
    of a second one: softmax(A p) against (1 - aigdl_smoothing) onehot(y) + aigdl_smoothing
    softmax_j(aigdl_gamma A_yj).

    p is the posterior of the level and A = aigdl_beta Delta - D, with D the heights of lowest
    common ancestors and Delta learned: its diagonal is 0 and its rows have length 1. A p is how
    little each answer is expected to cost, so this is a decision of least risk that is trained.
    Delta takes no gradient from the targets. Batch mean, in nats.

    Delta is part of the loss: it trains with the model and is kept in its checkpoints, but does not
    score images; there the posterior of the classes decides, and the rule CRM with D is what A p
    starts from. The authors' code adds aigdl_beta p_c to the c-th of A p, and trains D, too.

    Args:
        hierarchy: The class tree, of at most 2,000 classes: A has the square of their number.
        level_decay: >= 0.
        aigdl_beta: Factor of what is learned, >= 0; 0 leaves the tree alone.
        aigdl_smoothing: Share of the targets that is spread over the level, in [0, 1].
        aigdl_gamma: How sharply it falls off, >= 0. With aigdl_smoothing 1 and aigdl_beta 0 the
            targets are soft labels.

    Shape: level scores (B, M), side by side from the top to the classes, or scores (B, C); targets
    (B,) int64 -> scalar >= 0.
    Raises: ValueError: If there are more classes, or an option is out of range.
    Source: Lu et al. 2025 (BiLT), defaults of the commands of its README.
    """

    inputs = ("level_scores",)
    inner_targets = "its matrices have a row for each class, and none for a superclass"
    paper_name = "AIGDL"
    summary = "on each level cross-entropy, also behind a learned matrix of costs"
    options = (
        LEVEL_DECAY.defaulting(1.0),
        Option(
            "aigdl_beta",
            nonnegative,
            0.5,
            "FACTOR",
            "factor of the learned part of the costs of --loss aigdl",
        ),
        Option(
            "aigdl_smoothing",
            fraction,
            0.5,
            "SHARE",
            "share of the targets of --loss aigdl that is spread over the level by its costs",
        ),
        Option(
            "aigdl_gamma",
            nonnegative,
            1.0,
            "RATE",
            "how sharply that share falls off with the costs",
        ),
    )

    def __init__(self, hierarchy: Hierarchy, **options: float | None):
        super().__init__(hierarchy)
        options = self.settle(options)
        if hierarchy.num_classes > MOST_CLASSES:
            raise ValueError(
                f"--loss aigdl multiplies by a matrix of classes x classes, and takes at most"
                f" {MOST_CLASSES:,} classes, of which there are {hierarchy.num_classes:,}; --loss"
                " level_ce is the same without it"
            )
        self.beta, self.gamma = options["aigdl_beta"], options["aigdl_gamma"]
        self.smoothing = options["aigdl_smoothing"]
        self.weights = level_weights(hierarchy, options["level_decay"])
        self.delta = nn.ParameterList()
        for i, level in enumerate(levels(hierarchy)):
            costs = torch.from_numpy(lca_height(cut(hierarchy, level))).float()
            self.register_buffer(f"costs{i}", costs, persistent=False)
            column = torch.from_numpy(level.column)
            self.register_buffer(f"column{i}", column, persistent=False)
            self.delta.append(nn.Parameter(torch.full(costs.shape, 1 / len(costs))))
        if self.inputs == ("level_scores",):
            self.width = sum(len(delta) for delta in self.delta)

    @classmethod
    def on(cls, offered: Collection[str]) -> type[Loss]:
        return cls if "level_scores" in offered else _AIGDLOfPosterior

    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        self.check(scores, targets)
        loss = 0.0
        levels_apart = scores.split([len(delta) for delta in self.delta], dim=1)
        for i, (weight, one) in enumerate(zip(self.weights, levels_apart)):
            one, column = full_precision(one), getattr(self, f"column{i}")[targets]
            loss = loss + weight * F.cross_entropy(one, column)
            loss = loss + weight * self.level(i, one.softmax(dim=1), column)
        return loss

    def level(self, i: int, posterior: Tensor, targets: Tensor) -> Tensor:
        """The second cross-entropy of a level, from its posterior (B, K) and its targets (B,)."""
        costs = getattr(self, f"costs{i}")
        apart = 1 - torch.eye(len(costs), device=costs.device)
        gains = self.beta * F.normalize(self.delta[i] * apart, dim=1) - costs
        log_q = F.log_softmax(posterior @ gains.T.to(posterior.dtype), dim=1)
        spread = (self.gamma * gains.detach()[targets]).softmax(dim=1).to(log_q.dtype)
        soft = (spread * log_q).sum(dim=1).mean()
        return (1 - self.smoothing) * F.nll_loss(log_q, targets) - self.smoothing * soft


class _AIGDLOfPosterior(AIGDL):
    inputs = ("scores",)

    def __init__(self, hierarchy: Hierarchy, **options: float | None):
        super().__init__(hierarchy, **options)
        decay = self.settle(options)["level_decay"]
        self.cross_entropies = LevelCE.on(())(hierarchy, level_decay=decay)

    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        loss = self.cross_entropies(scores, targets)
        posterior = full_precision(scores).softmax(dim=1)
        for i, weight in enumerate(self.weights):
            column = getattr(self, f"column{i}")
            sums = posterior.new_zeros(len(scores), len(self.delta[i]))
            loss = loss + weight * self.level(
                i, sums.index_add(1, column, posterior), column[targets]
            )
        return loss
