"""What the tests of figures draw: subjects and run folders of a synthetic classifier that follows
the tree, with noise.
"""

import numpy as np
import pandas as pd
from recorded import write_run
from trees import TREE

import visualize
from data.demo import SPECIES
from figures import Subject
from hierarchies import Hierarchy, distances
from metrics.outputs import Outputs
from runs.folder import Run

METRICS = {
    "accuracy": 0.7,
    "ahc": 1.5,
    "W/corr": 0.4,
    **{f"height_accuracy@{h}": 0.7 + h / 10 for h in range(4)},
}
# the demo's classes; a folder that also holds folders is no leaf, so its class gets a leaf of its
# own
DEMO = Hierarchy.from_paths([tuple(name.split("/")) for name in sorted(SPECIES)], self_leaves=True)


def uneven_tree(num_classes: int, num_groups: int, seed: int = 0) -> Hierarchy:
    """Classes in groups of very different size, most of them below a family; class order is
    shuffled.
    """
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.full(num_groups, 0.4))
    group = np.concatenate(
        [np.arange(num_groups), rng.choice(num_groups, num_classes - num_groups, p=shares)]
    )
    paths = []
    for c, g in enumerate(group.tolist()):
        family = (f"Family {g}.{rng.integers(0, 4)}",) if rng.random() > 0.15 else ()
        paths.append((f"Order {g}", *family, f"A species number {c}"))
    return Hierarchy.from_paths([paths[c] for c in rng.permutation(num_classes)])


def make_outputs(
    hierarchy: Hierarchy, samples: int, seed: int = 0, noise: float = 0.25, **others
) -> Outputs:
    """Embeddings around class vectors whose distances follow the tree; scores are their scaled
    cosines.
    """
    rng = np.random.default_rng(seed)
    path = distances.path_length(hierarchy).astype(float)
    cosines = 1 - (path / (1 + path)) ** 2 + 1e-6 * np.eye(len(path))
    vectors = np.linalg.cholesky(cosines) @ rng.standard_normal((len(path), 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = rng.integers(0, len(path), samples)
    embeddings = (vectors[labels] + noise * rng.standard_normal((samples, 16))).astype(np.float32)
    scores = (12 * embeddings @ vectors.T).astype(np.float32)
    given = {"prototypes": vectors.copy(), "prototype_scores": scores, **others}
    return Outputs(hierarchy, labels, scores, embeddings, vectors, **given)


def make_epochs(count: int = 6) -> pd.DataFrame:
    """An epochs.csv in which validation is best in epoch 4."""
    epoch = np.arange(1, count + 1)
    table = pd.DataFrame({"epoch": epoch, "train_loss": 3.0 / epoch, "val_loss": 3.5 / epoch})
    table["train_accuracy"], table["val_accuracy"] = 1 - 0.9**epoch, 0.5 - (epoch - 4) ** 2 / 100
    return table.assign(scale=10.0, **{"W/corr": 0.3, "P/corr": 0.2 + epoch / 100})


def make_subject(hierarchy: Hierarchy, samples: int = 300, seed: int = 0, **others) -> Subject:
    """A subject with a validation split and images in which the grey level says which image it
    is.
    """
    outputs = make_outputs(hierarchy, samples, seed)
    given = {
        "validation": make_outputs(hierarchy, samples, seed + 1),
        "files": np.array([str(i) for i in range(samples)]),
    }
    given |= {
        "open_image": lambda file: np.full((8, 12), int(file) % 256, np.uint8),
        "best_epoch": 4,
        **others,
    }
    return Subject(outputs, make_epochs(), {"dataset": "demo"}, **given)


def finish(record, name, seed, tree=TREE, accuracy=0.7, **options) -> Run:
    """A finished run with arrays of a synthetic classifier and epochs."""
    run = write_run(record, name, seed, {**METRICS, "accuracy": accuracy}, tree=tree, **options)
    outputs = make_outputs(tree, 40, seed)
    fields = ("labels", "scores", "embeddings", "class_vectors", "prototypes", "prototype_scores")
    arrays = {field: getattr(outputs, field) for field in fields}
    run.write_arrays("test", {**arrays, "files": np.array([f"{i}.png" for i in range(40)])})
    run.write_table("epochs.csv", make_epochs())
    return run


def draw(*arguments, formats=("png",)) -> int:
    """visualize.py with the figures for papers."""
    return visualize.main([*map(str, arguments), "--figures", "--format", *formats])
