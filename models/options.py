"""What heads are built from, and the options that several of them take."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from hierarchies import Hierarchy
from models.priors import PRIORS
from models.proxies import SOLVERS, TARGETS
from registry import Need, Option, filled, fraction, one_of, positive, switch, with_flag

DISTANCES = ("euc", "arccos")
PROXIES = ("gradient", "ema", "mds", "file")

DISTANCE = Option(
    "distance",
    one_of(DISTANCES),
    "euc",
    help="distance between unit vectors: Euclidean, or the angle in radians",
)
EMA = Option(
    "ema",
    switch,
    False,
    help="class vectors follow a moving average of their class's embeddings",
    tag="ema",
)
ALPHA = Option(
    "alpha",
    fraction,
    0.01,
    "SHARE",
    "weight of a new batch in the moving average of --ema, per batch in which the class occurs",
    needs=with_flag("ema"),
)
MDS_W = Option(
    "mds_W",
    switch,
    False,
    help="place class vectors beforehand at the distances of the tree, and fix them",
    tag="mds",
    rebuilt=False,
)
MDS_TARGETS = Option(
    "mds_targets",
    one_of(TARGETS),
    "path",
    help="where --mds_W places class vectors: by path lengths (path, Kim et al. 2023), at cosines"
    " that fall off with the height of the common ancestor, as far apart as can be (haframe, Liang"
    " & Davis 2023), or at cosines of 1 less that height over the tree's (barz, Barz & Denzler"
    " 2019)",
    needs=with_flag("mds_W"),
    rebuilt=None,
)
CLASS_VECTORS = Option(
    "class_vectors",
    filled,
    None,
    "FILE",
    "take class vectors from this file, embeddings of the classes' names say, and fix them: a row"
    " for each class, its name first, or .npz with classes and vectors; they must have --dim"
    " numbers",
    names_file=True,
    rebuilt=None,
)
BETA = Option(
    "beta",
    positive,
    1.0,
    "EDGES",
    "path length, in edges, at which the target distance of --mds_W reaches half its maximum",
    needs=Need(
        lambda options: options.get("mds_W") and options.get("mds_targets") in (None, "path"),
        "--mds_W with --mds_targets path",
    ),
    rebuilt=None,
)
MDS_SOLVER = Option(
    "mds_solver",
    one_of(SOLVERS),
    "auto",
    help="how --mds_W places the class vectors: exact, in closed form, an error where there is"
    " none; gradient, as near as found in steps; auto, exact where it can be",
    needs=with_flag("mds_W"),
    rebuilt=None,
)
DYNAMIC = Option(
    "dynamic",
    switch,
    False,
    help="let the scale of the scores follow the angles, after AdaCos; without, it stays 10",
    tag="dynamic",
)
LEGACY_DYNAMIC = Option(
    "legacy_dynamic",
    switch,
    False,
    help="update the scale of --dynamic by the published formulas",
    needs=with_flag("dynamic"),
)

SHARE_PARENTS = Option(
    "share_parents",
    switch,
    False,
    help="the vector of a class is a sum of vectors of the nodes on its path, so that relatives"
    " share those of their parents",
    tag="shared",
)


@dataclass(frozen=True)
class HeadOptions:
    """What a head is built from, beside the method and the number of classes C. None means not
    given.

    Attributes:
        dim: Dimension D of the embeddings.
        distance: "euc" (default) or "arccos"; not for softmax.
        proxies: How the class vectors move: by "gradient", as moving averages "ema", or not, as
            placed by "mds" or read from a "file".
        alpha: Share of a batch's mean in a moving average, in (0, 1]; default 0.01.
        fixed: (C, D) class vectors, with "mds" and "file".
        dynamic: Whether the scale follows the angles; legacy_dynamic: by the published update.
        prior: (C,) positive class prior, tau times whose logarithm is added to the scores.
        prior_kind: When it is, a key of `models.priors.PRIORS`.
        tau: That factor, > 0.
        lr: Learning rate of the dynamic scale.
        hierarchy: The class tree, for heads that look at it.
        share_parents: Whether class vectors are sums of node vectors.
        own: Values of the options that the head's class alone declares, by name.
    """

    dim: int = 128
    distance: str | None = None
    proxies: str = "gradient"
    alpha: float | None = None
    fixed: torch.Tensor | None = None
    dynamic: bool = False
    legacy_dynamic: bool = False
    prior: torch.Tensor | None = None
    prior_kind: str = "fit"
    tau: float = 1.0
    lr: float = 1e-4
    hierarchy: Hierarchy | None = None
    share_parents: bool = False
    own: Mapping[str, object] = field(default_factory=dict)

    @property
    def training_prior(self) -> torch.Tensor | None:
        """The prior (C,) that the posterior has in training, or None."""
        if self.prior is None or not PRIORS[self.prior_kind].training:
            return None
        if self.tau == 1:
            return self.prior
        power = self.prior.double() ** self.tau
        return (power / power.sum()).float()
