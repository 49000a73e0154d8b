"""The class vectors of a published classifier beside a class tree, without any image."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from evaluation.from_elsewhere import (
    as_numbers,
    check_file,
    class_names,
    in_class_order,
    named_array,
    read_arrays,
    read_table,
    real_numbers,
)
from hierarchies import Hierarchy
from hierarchies.tree import parse_path
from metrics import Outputs
from metrics.inference import METRICS as CORRELATIONS
from metrics.retrieval import class_retrieval
from metrics.suite import results_table
from metrics.trees import METRICS as TREES

WEIGHTS = (".pt", ".pth", ".bin", ".safetensors")


class ClassVectors(NamedTuple):
    """Rows of a last layer.

    Attributes:
        vectors: (C, D) float64, in the tree's class order.
        origin: Where they come from: a file and the name of the tensor in it, or a network.
        notes: What the user should be told.
    """

    vectors: np.ndarray
    origin: str
    notes: tuple[str, ...] = ()


def read_class_vectors(
    classifier: str, tree: Hierarchy, source: str, key: str | None = None
) -> ClassVectors:
    """The class vectors of a classifier.

    Args:
        classifier: .npy (C, D); .npz with `weight` or `class_vectors` (C, D) and maybe `classes`;
            .csv, .tsv with the class in the first column and numbers in the others; weights of a
            network (.pt, .pth, .bin, .safetensors); or the name of a network of timm, whose
            pretrained weights are taken.
        tree: Its classes; without names in the file, rows are taken in their order.
        source: Where the tree comes from, for messages.
        key: Name of the tensor among weights; None for the last one with a row for each class.

    Raises: ValueError: If there are no such vectors; the message says what there is.
    """
    file = Path(classifier)
    suffix = file.suffix.lower()
    if file.is_file():
        if suffix in (".npy", ".npz"):
            vectors, classes, origin = _from_numpy(file)
        elif suffix in (".csv", ".tsv"):
            vectors, classes, origin = _from_table(file)
        elif suffix in WEIGHTS:
            vectors, classes, origin = _from_weights(file, tree.num_classes, key)
        else:
            raise ValueError(
                f"--classifier {file}: expected .npy, .npz, .csv, .tsv or weights"
                f" {', '.join(WEIGHTS)}"
            )
    elif suffix in (*WEIGHTS, ".npy", ".npz", ".csv", ".tsv") or "/" in classifier:
        check_file("--classifier", classifier)
    else:
        vectors, classes, origin = _from_timm(classifier)
    if vectors.ndim != 2 or not vectors.shape[1]:
        raise ValueError(
            f"{origin} has the shape {vectors.shape}: it takes a row of numbers for each class"
        )
    if not np.isfinite(vectors).all():
        raise ValueError(f"{origin} holds NaN or infinity")
    found = in_class_order(vectors, classes, tree, source, axis=0, said=origin)
    return ClassVectors(found.values, origin, found.notes)


def inspect(vectors: np.ndarray, tree: Hierarchy, distance: str = "euc") -> Outputs:
    """Outputs without images around class vectors (C, D), for measures and figures of these."""
    nothing = np.empty((0, vectors.shape[1]))
    return Outputs(
        hierarchy=tree,
        labels=np.empty(0, np.int64),
        scores=np.empty((0, tree.num_classes)),
        embeddings=nothing,
        class_vectors=vectors,
        prototypes=None,
        distance=distance,
    )


def structure_measures(outputs: Outputs) -> pd.DataFrame:
    """The measures of class vectors: metric, value, n, undefined, as in metrics.csv."""
    results = {}
    for metric in (*CORRELATIONS.values(), *TREES.values(), class_retrieval):
        found = metric(outputs)
        results |= {name: one for name, one in found.items() if name.startswith("W/")}
    return results_table(results)


def _from_numpy(file: Path):
    arrays = read_arrays("--classifier", file)
    if "" in arrays:
        return real_numbers("--classifier", file, arrays[""]), None, str(file)
    names = ("weight", "class_vectors")
    vectors = named_array("--classifier", file, arrays, names, "(classes, dimensions)")
    return real_numbers("--classifier", file, vectors), class_names(arrays), str(file)


def _from_table(file: Path):
    table = read_table("--classifier", file, lambda titles: titles[:1])
    numbers = as_numbers(table, table.columns[1:])
    if numbers.isna().any(axis=None) or not numbers.shape[1]:
        raise ValueError(
            f"--classifier {file}: the first column names the class, all others must be numbers"
        )
    classes = [parse_path(str(name)) for name in table.iloc[:, 0]]
    return numbers.to_numpy(np.float64), classes, str(file)


def _from_weights(file: Path, classes: int, key: str | None):
    from models.weights_file import read_weights

    tensors = read_weights(file, "--classifier")
    flat = {
        name: tensor for name, tensor in tensors.items() if tensor.ndim >= 2 and len(tensor) > 1
    }
    if key is None:
        fitting = [name for name, tensor in flat.items() if len(tensor) == classes]
        fitting = [name for name in fitting if flat[name][0].numel() == flat[name].shape[1]]
        if not fitting:
            last = ", ".join(f"{name} {tuple(flat[name].shape)}" for name in list(flat)[-4:])
            raise ValueError(
                f"--classifier {file}: no tensor has a row for each of the {classes} classes; the"
                f" last ones are {last}. Is it a network without its last layer, or of other"
                " classes?"
            )
        key = fitting[-1]
    elif key not in flat:
        raise ValueError(f"--classifier_key {key}: {file} has no such tensor")
    vectors = flat[key].flatten(1).double().numpy()
    return vectors, None, f"{key} in {file}"


def _from_timm(name: str):
    import timm

    if not timm.is_model(name):
        close = timm.list_models(f"*{name}*")[:3]
        hint = f"; did you mean {', '.join(close)}?" if close else ""
        raise ValueError(f"--classifier {name}: neither a file nor a network of timm{hint}")
    try:
        layer = timm.create_model(name, pretrained=True).get_classifier()
    except Exception as error:  # no network, no weights: what the hub raises is anything
        raise ValueError(
            f"--classifier {name}: its weights cannot be had ({type(error).__name__}: {error});"
            " name a file of them"
        ) from None
    return layer.weight.detach().flatten(1).double().numpy(), None, f"last layer of {name}"
