"""Our losses, measures and tables beside those of libraries that users may know: values, and time of ours / theirs.

    python benchmarks/peers.py
    python benchmarks/peers.py --only torchmetrics formulas

None of the libraries is needed for anything else; the ones that requirements.txt has are always compared, the others with
`pip install hiclass pytorch-metric-learning torchmetrics ete4 netcal mapie`. What is not installed is named and left out.
`formulas` are those of the two publications behind this project, written as plainly as they are printed there.

Both sides do the same work in turns within one process, on one thread; a ratio is that of the median processor times,
and the first turn, which fills caches, is not counted. Values that differ by more than rounding must do so by a
convention, which is named; otherwise the script ends with status 1.
"""  # noqa: E501

import argparse
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    # this script's folder would hide packages of the same name
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    # numpy reads them right below
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.metrics import made_outputs
from hierarchies import node_weights
from losses import build_loss
from metrics import (
    calibration,
    covers,
    flat,
    hierarchical,
    inference,
    nodes,
    ranks,
    retrieval,
    trees,
)
from metrics.mantel import Nested
from metrics.mantel import mantel as our_test
from metrics.posterior import softmax
from metrics.vectors import pairwise_distances
from models import HeadOptions, build_head
from options.parser import Parser

BATCH = 256  # of the losses
NOISE = 3.0  # of scores whose right class is 10 above the others: not too easy
PERMUTATIONS = 199  # of Mantel tests
TARGET = 0.9  # of sets of classes
TOLERANCE = 2e-5  # relative, of float32; peers that work in it are off by this
Values = Mapping[str, float]


class Comparison(NamedTuple):
    """One kind of work, done by us and by a peer.

    Attributes:
        what: Its name.
        ours, theirs: Do it, and return its values by name.
        conventions: Value -> why that of the peer may differ.
    """

    what: str
    ours: Callable[[], Values]
    theirs: Callable[[], Values]
    conventions: Mapping[str, str] = {}


class Made:
    """Outputs of a made-up run, and what peers want of them."""

    def __init__(self, images: int, classes: int, dim: int):
        drawn = made_outputs(images, classes, dim)
        noise = np.random.default_rng(1).normal(0, NOISE, drawn.scores.shape)
        self.outputs = replace(drawn, scores=drawn.scores + noise.astype(np.float32))
        self.tree, self.labels = self.outputs.hierarchy, self.outputs.labels
        self.scores = self.outputs.scores
        self.classes, self.dim = classes, dim

    def fresh(self):
        """The outputs without anything that a measure has computed of them before."""
        return replace(self.outputs)

    @cached_property
    def probabilities(self) -> np.ndarray:
        """The posterior, (S, C)."""
        return softmax(self.scores)

    @cached_property
    def tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores and labels."""
        return torch.from_numpy(self.scores), torch.from_numpy(self.labels)

    @cached_property
    def paths(self) -> np.ndarray:
        """Names of the nodes of each class from the top, "" below it, (C, H)."""
        height = self.tree.max_depth
        rows = [["/".join(p[: i + 1]) for i in range(len(p))] for p in self.tree.class_paths]
        return np.array([row + [""] * (height - len(row)) for row in rows], object)

    @cached_property
    def distances(self) -> np.ndarray:
        """Between the class vectors, (C, C)."""
        return pairwise_distances(self.outputs.class_vectors, "euc")

    @cached_property
    def learned(self) -> trees.LearnedTree:
        """The tree of the class vectors by average linkage."""
        return trees.upgma(self.distances)

    @cached_property
    def newicks(self) -> tuple[str, str]:
        """The learned tree and the hierarchy in Newick, tips named by their class."""
        names = [f"c{c}" for c in range(self.classes)]
        tree = self.tree
        given = trees.LearnedTree(
            tree.parent.tolist(), tree.class_of.tolist(), [1.0] * tree.num_nodes
        )
        return trees.to_newick(self.learned, names), trees.to_newick(given, names)

    @cached_property
    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings and labels of the first images."""
        rows = slice(0, BATCH)
        return (
            torch.from_numpy(self.outputs.embeddings[rows]),
            torch.from_numpy(self.labels[rows]),
        )

    def of_step(self, loss: Callable, vectors: torch.Tensor) -> Values:
        """Value and lengths of the gradients of loss(embeddings, targets) with these vectors."""
        embeddings = self.batch[0].clone().requires_grad_()
        vectors.grad = None
        value = loss(embeddings, self.batch[1])
        value.backward()
        return {
            "loss": value.item(),
            "gradient of embeddings": embeddings.grad.norm().item(),
            "gradient of class vectors": vectors.grad.norm().item(),
        }


def of_results(results: Mapping[str, object], names: Sequence[str]) -> Values:
    """Values of measures by name."""
    return {name: results[name].value for name in names}


def flat_measures(outputs) -> Values:
    """The measures of predicted classes that every library has."""
    names = ("accuracy", "accuracy@5", "macro_accuracy", "macro_precision", "macro_f1")
    return {name: flat.METRICS[name](outputs).value for name in names}


NEVER = "a class never predicted has no precision with us, and precision 0 there"


def with_torchmetrics(made: Made) -> Iterator[Comparison]:
    """Measures of predicted classes, and the calibration error."""
    from torchmetrics.functional import classification as peer

    def measures() -> Values:
        given = (*made.tensors, made.classes)
        return {
            "accuracy": peer.multiclass_accuracy(*given, average="micro").item(),
            "accuracy@5": peer.multiclass_accuracy(*given, average="micro", top_k=5).item(),
            "macro_accuracy": peer.multiclass_accuracy(*given, average="macro").item(),
            "macro_precision": peer.multiclass_precision(*given, average="macro").item(),
            "macro_f1": peer.multiclass_f1_score(*given, average="macro").item(),
        }

    yield Comparison(
        "accuracy and macro measures",
        lambda: flat_measures(made.fresh()),
        measures,
        {"macro_precision": NEVER},
    )
    yield Comparison(
        "calibration error, 15 bins",
        lambda: errors_of(made),
        lambda: {
            name: peer.multiclass_calibration_error(*made.tensors, made.classes, 15, norm).item()
            for name, norm in (("ece", "l1"), ("mce", "max"))
        },
    )


def errors_of(made: Made) -> Values:
    """Our calibration errors."""
    outputs = made.fresh()
    found = calibration.calibration_error(outputs.confidence, outputs.predictions == outputs.labels)
    return dict(zip(("ece", "mce"), found))


def with_netcal(made: Made) -> Iterator[Comparison]:
    """The calibration error."""
    from netcal.metrics import ECE, MCE

    def measures() -> Values:
        p = softmax(made.scores)
        return {
            "ece": float(ECE(15).measure(p, made.labels)),
            "mce": float(MCE(15).measure(p, made.labels)),
        }

    yield Comparison("calibration error, 15 bins", lambda: errors_of(made), measures)


def with_scikit_learn(made: Made) -> Iterator[Comparison]:
    """Measures of predicted classes, and their tables."""
    from sklearn import metrics as peer

    every = np.arange(made.classes)

    def measures() -> Values:
        predicted, labels = made.scores.argmax(axis=1), made.labels
        options = {"labels": every, "average": "macro", "zero_division": np.nan}
        return {
            "accuracy": peer.accuracy_score(labels, predicted),
            "accuracy@5": peer.top_k_accuracy_score(labels, made.scores, k=5, labels=every),
            "macro_accuracy": peer.balanced_accuracy_score(labels, predicted),
            "macro_precision": peer.precision_score(labels, predicted, **options),
            "macro_f1": peer.f1_score(labels, predicted, **options),
        }

    def table() -> Values:
        predicted = made.scores.argmax(axis=1)
        columns = peer.precision_recall_fscore_support(
            made.labels, predicted, labels=every, zero_division=np.nan
        )
        return dict(zip(("precision", "recall", "f1"), map(np.nanmean, columns)))

    def our_table() -> Values:
        found = flat.per_class(made.fresh())
        return {name: found[name].mean() for name in ("precision", "recall", "f1")}

    yield Comparison("accuracy and macro measures", lambda: flat_measures(made.fresh()), measures)
    yield Comparison("table of classes", our_table, table)
    yield Comparison(
        "confusion of classes",
        lambda: {"diagonal": np.trace(flat.confusion(made.fresh())[1])},
        lambda: {
            "diagonal": np.trace(peer.confusion_matrix(made.labels, made.scores.argmax(axis=1)))
        },
    )


def with_hiclass(made: Made) -> Iterator[Comparison]:
    """Precision, recall and F over sets of ancestors."""
    from hiclass import metrics as peer

    names = ("h_precision", "h_recall", "h_f1")

    def measures() -> Values:
        true, predicted = made.paths[made.labels], made.paths[made.scores.argmax(axis=1)]
        return {
            f"{name}{suffix}": getattr(peer, name[2:])(true, predicted, average=average)
            for suffix, average in (("", "micro"), ("_macro", "macro"))
            for name in names
        }

    def ours() -> Values:
        outputs = made.fresh()
        leaves = made.tree.leaves
        found = nodes.set_measures(made.tree, leaves[outputs.predictions], leaves[outputs.labels])
        return of_results(found, [f"{name}{suffix}" for suffix in ("", "_macro") for name in names])

    conventions = {
        "h_f1_macro": "harmonic mean of the two averages with us, average of each image's there"
    }
    yield Comparison("hierarchical precision, recall, F", ours, measures, conventions)


def with_mapie(made: Made) -> Iterator[Comparison]:
    """Sets of classes that hold the true one as often as asked."""
    from mapie.classification import SplitConformalClassifier
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Given(ClassifierMixin, BaseEstimator):
        """A classifier whose images are their own posterior."""

        classes_ = np.arange(made.classes)
        n_features_in_ = made.classes

        def fit(self, X, y):
            return self

        def __sklearn_is_fitted__(self):
            return True

        def predict_proba(self, X):
            return X

        def predict(self, X):
            return X.argmax(axis=1)

    half = len(made.labels) // 2
    p, labels = made.probabilities, made.labels

    def values(members: np.ndarray) -> Values:
        held = members[np.arange(len(members)), labels[half:]]
        return {"coverage": held.mean(), "classes in a set": members.sum(axis=1).mean()}

    def ours() -> Values:
        threshold = covers.set_threshold(p[np.arange(half), labels[:half]], TARGET)
        return values(p[half:] >= threshold)

    def theirs() -> Values:
        peer = SplitConformalClassifier(
            Given(), confidence_level=TARGET, conformity_score="lac", prefit=True
        )
        peer.conformalize(p[:half], labels[:half])
        return values(peer.predict_set(p[half:])[1][:, :, 0])

    conventions = {"classes in a set": "MAPIE takes classes up to 1e-8 below the threshold, too"}
    yield Comparison("conformal sets (LAC) for 0.9", ours, theirs, conventions)


def with_scikit_bio(made: Made) -> Iterator[Comparison]:
    """Trees of class vectors, and tests of their correlation with the hierarchy."""
    from skbio import DistanceMatrix, TreeNode
    from skbio.stats.distance import mantel
    from skbio.tree import nj

    path = made.outputs.path
    a, b = (DistanceMatrix(np.asarray(table, np.float64)) for table in (made.distances, path))

    def matrix() -> DistanceMatrix:
        return DistanceMatrix(np.asarray(made.distances, np.float64))

    hierarchy = made.outputs.hierarchy
    nested = Nested(hierarchy.level_table, hierarchy.depth[hierarchy.leaves])

    def our_mantel() -> Values:
        x, y = (ranks.rank_distances(table, True) for table in (made.distances, path))
        p = our_test(x, y, PERMUTATIONS, nested=nested, classwise_too=False)[1]
        return {"correlation": ranks.elementwise(x, y), "p": p}

    def their_mantel() -> Values:
        options = {"method": "spearman", "permutations": PERMUTATIONS, "alternative": "greater"}
        return dict(zip(("correlation", "p"), mantel(a, b, **options, seed=0)))

    yield Comparison(
        f"Mantel test of all pairs, {PERMUTATIONS} permutations",
        our_mantel,
        their_mantel,
        {"p": "other permutations are drawn"},
    )
    yield Comparison(
        "Robinson-Foulds distance",
        lambda: {"rf": trees.compare(made.learned, made.tree)["rf"].value},
        lambda: {"rf": robinson_foulds_of(made, TreeNode)},
    )
    yield Comparison(
        "neighbour joining",
        lambda: {"length": sum(trees.neighbour_joining(made.distances).length)},
        lambda: {"length": sum(node.length or 0.0 for node in nj(matrix()).traverse())},
    )


def robinson_foulds_of(made: Made, kind: type) -> float:
    """Of the learned tree and the hierarchy, by scikit-bio."""
    learned, given = (kind.read([text]) for text in made.newicks)
    return learned.compare_rfd(given, rooted=False)


def with_ete4(made: Made) -> Iterator[Comparison]:
    """The Robinson-Foulds distance."""
    from ete4 import Tree

    def theirs() -> Values:
        learned, given = map(Tree, made.newicks)
        return {"rf": learned.robinson_foulds(given, unrooted_trees=True)[0]}

    yield Comparison(
        "Robinson-Foulds distance",
        lambda: {"rf": trees.compare(made.learned, made.tree)["rf"].value},
        theirs,
    )


def with_scipy(made: Made) -> Iterator[Comparison]:
    """Rank correlations class by class, and the cophenetic one."""
    from scipy.cluster.hierarchy import cophenet, linkage
    from scipy.spatial.distance import squareform
    from scipy.stats import spearmanr

    path = made.outputs.path
    others = ~np.eye(made.classes, dtype=bool)

    def classwise() -> Values:
        rho = [
            spearmanr(made.distances[c, row], path[c, row]).statistic
            for c, row in enumerate(others)
        ]
        clipped = np.clip(rho, -1 + 1e-6, 1 - 1e-6)
        return {"corr": np.tanh(np.nanmean(np.arctanh(clipped)))}

    def cophenetic() -> Values:
        pairs = squareform(made.distances, checks=False)
        return {"cophenetic": cophenet(linkage(pairs, "average"), pairs)[0]}

    yield Comparison(
        "correlation of each class",
        lambda: {"corr": inference.classwise_correlation(made.distances, path).value},
        classwise,
    )
    yield Comparison(
        "cophenetic correlation",
        lambda: {"cophenetic": inference.cophenetic_correlation(made.distances).value},
        cophenetic,
    )


def with_metric_learning(made: Made) -> Iterator[Comparison]:
    """Losses of class vectors, and how these find their superclass."""
    from pytorch_metric_learning import losses as peer
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
    from pytorch_metric_learning.utils.inference import CustomKNN

    def head(method: str) -> tuple[Callable, torch.Tensor]:
        torch.manual_seed(0)
        built = build_head(method, made.classes, HeadOptions(dim=made.dim))
        return lambda embeddings, y: F.cross_entropy(built(embeddings), y), built.weight

    ours, weight = head("normface")
    normalised = peer.NormalizedSoftmaxLoss(made.classes, made.dim, temperature=0.1)
    normalised.W.data = weight.detach().T.clone()
    nca = peer.ProxyNCALoss(made.classes, made.dim, softmax_scale=5)
    anchor = peer.ProxyAnchorLoss(made.classes, made.dim)
    nca.proxies.data, anchor.proxies.data = weight.detach().clone(), weight.detach().clone()
    yield Comparison(
        "NormFace, NormalizedSoftmaxLoss at temperature 1 / 10",
        lambda: made.of_step(ours, weight),
        lambda: made.of_step(normalised, normalised.W),
    )
    yield Comparison(
        "NormFace, ProxyNCALoss at scale 10 / 2 of squared chords",
        lambda: made.of_step(ours, weight),
        lambda: made.of_step(nca, nca.proxies),
    )
    ratio, vectors = head("DR")
    other = "another formula: a margin, and a sum over the proxies of the batch"
    yield Comparison(
        "ProxyDR, ProxyAnchorLoss",
        lambda: made.of_step(ratio, vectors),
        lambda: made.of_step(anchor, anchor.proxies),
        dict.fromkeys(("loss", "gradient of embeddings", "gradient of class vectors"), other),
    )
    keys = {"p@1": "precision_at_1", "r_precision": "r_precision"}
    keys |= {"map@r": "mean_average_precision_at_r"}
    calculator = AccuracyCalculator(
        include=tuple(keys.values()), k="max_bin_count", knn_func=CustomKNN(LpDistance())
    )
    columns = torch.from_numpy(made.outputs.class_vectors)
    last = made.tree.max_depth - 1  # where each class is alone

    def calculated() -> Values:
        values = {}
        for level, above in enumerate(made.tree.level_table.T[:last].astype(np.int64), 1):
            found = calculator.get_accuracy(columns, torch.from_numpy(above))
            values |= {f"{name}_level{level}": found[key] for name, key in keys.items()}
        return values

    def retrieved() -> Values:
        found = retrieval.level_retrieval(made.outputs.class_vectors, made.tree, "euc")
        return {name: result.value for name, result in found.items()}

    yield Comparison("retrieval of superclasses, each level", retrieved, calculated)


def with_formulas(made: Made) -> Iterator[Comparison]:
    """The formulas of Kim et al. 2023 and Urbani et al. 2024, as printed."""
    yield _superclass_loss(made)
    yield _dissimilarity_ratio(made)
    yield _hierarchical_measures(made)
    yield _published_correlation(made)


def _superclass_loss(made: Made) -> Comparison:
    tree = made.tree
    members = torch.zeros(tree.num_nodes, made.classes)  # which classes are below which node
    for c, leaf in enumerate(tree.leaves.tolist()):
        while leaf >= 0:
            members[leaf, c], leaf = 1, int(tree.parent[leaf])
    above = torch.zeros(made.classes, tree.max_depth, dtype=torch.int64)  # 0, the root, weighs 0
    for c, leaf in enumerate(tree.leaves.tolist()):
        while leaf > 0:
            above[c, tree.depth[leaf] - 1], leaf = leaf, int(tree.parent[leaf])
    weights = torch.from_numpy(node_weights(tree, "balanced")).float()
    superclass = build_loss("hierarchical", tree)
    scores = torch.from_numpy(made.scores[:BATCH])

    def of_scores(loss: Callable) -> Values:
        given = scores.clone().requires_grad_()
        value = loss(given, made.batch[1])
        value.backward()
        return {"loss": value.item(), "gradient": given.grad.norm().item()}

    def printed_superclass(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        nodes = above[y]  # (B, H)
        p = (z.softmax(dim=1)[:, None] * members[nodes]).sum(dim=2)  # through (B, H, C)
        return -(weights[nodes] * p.log()).sum(dim=1).mean()

    return Comparison(
        "superclass loss (Urbani et al.)",
        lambda: of_scores(superclass),
        lambda: of_scores(printed_superclass),
    )


def _dissimilarity_ratio(made: Made) -> Comparison:
    torch.manual_seed(0)
    head = build_head("DR", made.classes, HeadOptions(dim=made.dim))
    vectors = head.weight.detach().clone().requires_grad_()

    def printed_ratio(embeddings: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        cosines = F.normalize(embeddings) @ F.normalize(vectors).T
        powers = (2 - 2 * cosines + 1e-12) ** (-head.scale / 2)
        p = powers / powers.sum(dim=1, keepdim=True)
        return -p[torch.arange(len(y)), y].log().mean()

    return Comparison(
        "ProxyDR (Kim et al.)",
        lambda: made.of_step(lambda e, y: F.cross_entropy(head(e), y), head.weight),
        lambda: made.of_step(printed_ratio, vectors),
    )


def _hierarchical_measures(made: Made) -> Comparison:
    path = made.outputs.path

    def printed_measures() -> Values:
        order = np.argsort(-made.scores, axis=1)[:, :5]
        ahc, ahd, hp = [], [], []
        for ranked, y in zip(order, made.labels):
            near = np.sort(path[y])[6 if made.classes > 6 else -1]  # the entry at index k + 1
            ahc.append(path[y, ranked[0]])
            ahd.append(path[y, ranked].mean())
            hp.append((path[y, ranked] <= near).mean())
        return {"ahc": np.mean(ahc), "ahd@5": np.mean(ahd), "hp@5_published": np.mean(hp)}

    def our_measures() -> Values:
        outputs = made.fresh()
        return {
            "ahc": hierarchical.ahd(outputs, 1).value,
            "ahd@5": hierarchical.ahd(outputs, 5).value,
            "hp@5_published": hierarchical.neighbour_precision(outputs)["hp@5_published"].value,
        }

    return Comparison("AHC, AHD@5, HP@5 (Kim et al.)", our_measures, printed_measures)


def _published_correlation(made: Made) -> Comparison:
    from scipy.stats import spearmanr

    path = made.outputs.path

    def printed_correlation() -> Values:
        found = [spearmanr(a, b).statistic for a, b in zip(made.distances, path)]
        clipped = np.clip(found, -1 + 1e-6, 1 - 1e-6)
        return {"corr_published": np.tanh(np.nanmean(np.arctanh(clipped)))}

    return Comparison(
        "correlation with the tree (Kim et al.)",
        lambda: {"corr_published": inference.published_correlation(made.distances, path)[0].value},
        printed_correlation,
    )


# as pip knows it -> its comparisons
PEERS: dict[str, Callable[[Made], Iterator[Comparison]]] = {
    "formulas": with_formulas,
    "scipy": with_scipy,
    "scikit-learn": with_scikit_learn,
    "scikit-bio": with_scikit_bio,
    "torchmetrics": with_torchmetrics,
    "pytorch-metric-learning": with_metric_learning,
    "hiclass": with_hiclass,
    "netcal": with_netcal,
    "mapie": with_mapie,
    "ete4": with_ete4,
}


def seconds_in_turns(pair: Sequence[Callable[[], Values]], repeats: int) -> list[float]:
    """Median processor seconds of each, called in turns; one turn more goes before, uncounted."""
    times: list[list[float]] = [[] for _ in pair]
    for repeat in range(repeats + 1):
        for run, found in zip(pair, times):
            start = time.process_time()
            run()
            if repeat:
                found.append(time.process_time() - start)
    return [float(np.median(found)) for found in times]


def compare_values(comparison: Comparison) -> list[tuple[str, float, float, str]]:
    """Name, our value, the peer's, and "equal", a convention, or "DIFFERS", of every value."""
    ours, theirs = comparison.ours(), comparison.theirs()
    rows = []
    for name, value in ours.items():
        equal = np.isclose(value, theirs[name], rtol=TOLERANCE, atol=1e-6, equal_nan=True)
        said = "equal" if equal else comparison.conventions.get(name, "DIFFERS")
        rows.append((name, float(value), float(theirs[name]), said))
    return rows


def print_peer(peer: str, made: Made, repeats: int) -> tuple[list[str], list[str]]:
    """Prints the rows of a peer, and returns which values differ and which of ours are slower."""
    differ, slower = [], []
    for comparison in PEERS[peer](made):
        rows = compare_values(comparison)
        ours, theirs = seconds_in_turns((comparison.ours, comparison.theirs), repeats)
        ratio = ours / max(theirs, 1e-9)
        cells = "; ".join(f"{name} {a:.5g}, {b:.5g}: {said}" for name, a, b, said in rows)
        times = f"{1e3 * ours:.2f} | {1e3 * theirs:.2f} | {ratio:.2f}"
        print(f"| {peer} | {comparison.what} | {cells} | {times} |", flush=True)
        differ += [
            f"{peer}, {comparison.what}: {name}" for name, *_, said in rows if said == "DIFFERS"
        ]
        if ratio > 1:
            slower.append(f"{peer}, {comparison.what}: {ratio:.2f}")
    return differ, slower


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Reads the flags."""
    parser = Parser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000, help="test images")
    parser.add_argument("--classes", type=int, default=555, help="classes")
    parser.add_argument("--dim", type=int, default=128, help="of embeddings")
    parser.add_argument(
        "--repeats", type=int, default=5, help="turns that are timed, each work once"
    )
    parser.add_argument(
        "--only", nargs="+", choices=PEERS, metavar="PEER", help=f"of {', '.join(PEERS)}"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table. Returns 1 where a value differs by no named convention, else 0."""
    options = parse(argv)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # peers warn of what they deprecate
    made = Made(options.images, options.classes, options.dim)
    load = f"; load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(
        f"{options.images:,} images, {options.classes:,} classes, {options.dim} dimensions; Python"
        f" {platform.python_version()}, torch {torch.__version__}{load}\n"
    )
    print("| peer | work | values, ours and the peer's | ours, ms | peer, ms | ours / peer |")
    print("|---" * 6 + "|")
    differ, slower, missing = [], [], []
    for peer in options.only or PEERS:
        try:
            found = print_peer(peer, made, options.repeats)
        except ImportError as error:
            missing.append(f"{peer} ({error})")
            continue
        differ += found[0]
        slower += found[1]
    versions = [f"{peer} {version_of(peer)}" for peer in options.only or PEERS if version_of(peer)]
    print(f"\nversions: {', '.join(versions) or 'none'}")
    for title, lines in (
        ("not compared, as it cannot be imported", missing),
        ("slower than the peer", slower),
        ("values that differ by no named convention", differ),
    ):
        print(f"{title}: {'; '.join(lines) or 'none'}")
    return 1 if differ else 0


def version_of(peer: str) -> str | None:
    """Version of an installed library; None without."""
    try:
        return metadata.version(peer)
    except metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
