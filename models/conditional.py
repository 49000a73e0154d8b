"""A head that chooses among siblings at each node, from the root down."""

import torch
import torch.nn.functional as F
from torch import nn

from models.head import Head
from models.options import HeadOptions
from models.sphere import widen


class Conditional(Head):
    """The score of a class is its log probability, the sum over its path of log p(v | parent of v):
    a softmax over each group of siblings.

    A node without siblings is certain given its parent. The probability of an inner node, the
    product down to it, is the sum over the classes below, so all losses and rules hold as they
    stand. `weight` (C, D) is the sum of the vectors on the path: what of the score is linear in the
    embedding.

    Source: Redmon & Farhadi 2017 (YOLO9000).
    """

    paper_name = "Conditional softmax"
    summary = "a softmax over the siblings at each node of the tree, multiplied along the path"
    needs_tree = True
    lacks = {**Head.lacks, "node_scores": "the probability of a node follows from its classes"}

    def __init__(self, num_classes: int, options: HeadOptions):
        super().__init__(num_classes, options)
        # as torch starts a linear layer, which the authors' network has
        bound = options.dim**-0.5
        self.weight = nn.Parameter(torch.empty(num_classes, options.dim).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(num_classes))
        self.share(options.hierarchy)

    def plain_scores(self, embeddings: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        embeddings = widen(embeddings)
        weights, biases = self.parametrizations.weight, self.parametrizations.bias
        vectors, bias = weights.original, biases.original  # of the nodes with siblings
        logits = F.linear(embeddings, vectors.to(embeddings.dtype), bias.to(embeddings.dtype))
        conditional = self.tree.log_conditional(weights[0].spread(logits.T))
        return self.tree.path_sums(conditional)[self.tree.leaves].T
