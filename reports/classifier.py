"""What tree the class vectors of a classifier have learned: measures, trees and a tanglegram beside
the class tree.
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from evaluation import classifier, files
from evaluation.from_elsewhere import read_class_tree
from figures import FIGURES, Subject, render
from files.text import encoded, for_people
from files.writing import write_whole
from hierarchies.tree import Hierarchy
from reports.single_runs import print_measures

TABLE = "class_vectors.csv"
MADE_OF = "made_of.json"  # what the files beside it are of
# measures of class vectors alone that are printed beside the main ones
PRINTED = ("W/corr_p", "W/corr_elementwise", "W/cophenetic", "W/upgma_recovered", "W/p@1_level1")


def show(
    which: str,
    tree_file: str,
    key: str | None,
    distance: str,
    record: str,
    wanted: Sequence[str] | None,
    drawn: bool,
) -> int:
    """Measures the class vectors of a classifier and writes what is found below <record>.

    Args:
        which, key: See `evaluation.classifier.read_class_vectors`.
        tree_file: Of the class tree.
        distance: 'euc' or 'arccos', by which class vectors are compared.
        record: Folder in which classifiers/<name> is made.
        wanted: Names or patterns of the measures to print; None for the main ones.
        drawn: Whether to print the learned trees, too.

    Returns: The exit status.
    Raises: ValueError: If the tree or the class vectors cannot be read.
    """
    tree, notes = read_class_tree(tree_file)
    found = classifier.read_class_vectors(which, tree, tree_file, key)
    for note in dict.fromkeys([*notes, *found.notes]):
        print(f"note: {note}")
    print(
        f"{found.origin}: {tree.num_classes} class vectors of {found.vectors.shape[1]} dimensions"
    )
    outputs = classifier.inspect(found.vectors, tree, distance)
    measures = classifier.structure_measures(outputs)
    added = [name for name in PRINTED if name in set(measures["metric"])]
    print_measures(measures, wanted, TABLE, added)
    texts = files.tree_texts(outputs)
    if drawn:
        print(texts.get("trees.txt", "note: --tree: no tree can be learned of so few classes"))
    sys.stdout.flush()  # of many classes the tanglegram takes longer than all that is above
    folder = Path(record, "classifiers", Path(which).stem)
    made_of = _made_of(found.vectors, tree, distance)
    if _are_of_others(folder, made_of):
        print(
            f"note: {folder} held what another classifier, tree or --distance gave, which this"
            " replaces: to keep both, give each a --record of its own"
        )
    for name, text in {
        MADE_OF: made_of,
        **texts,
        TABLE: for_people(measures).to_csv(index=False, lineterminator="\n"),
    }.items():
        write_whole(folder / name, encoded(text))
    figure = render(
        FIGURES["tanglegram"].draw, Subject(outputs, pd.DataFrame(), {}), formats=("png", "pdf")
    )
    for kind, content in figure.images.items():
        write_whole(folder / f"tanglegram.{kind}", content)
    written = [TABLE]
    if "trees.txt" in texts:
        written.append("the learned trees (Newick, trees.txt)")
    if figure.images:
        written.append("a tanglegram")
    print(f"wrote {', '.join(written)} into {folder}")
    return 0


def _made_of(vectors: np.ndarray, tree: Hierarchy, distance: str) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(vectors, dtype=np.float64).tobytes()).hexdigest()
    return json.dumps({"class_vectors": digest, "tree": tree.digest, "distance": distance})


def _are_of_others(folder: Path, made_of: str) -> bool:
    """Whether the folder says that it is of other class vectors, another tree or distance."""
    try:
        return (folder / MADE_OF).read_text("utf-8") != made_of
    except (OSError, ValueError):
        return False
