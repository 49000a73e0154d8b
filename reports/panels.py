"""The parts of a run's page that the browser fills in, each a row of `panels`. A table says here
what its columns and rows are, and nothing else is needed; what is drawn is a key of `run_data`, and
run_page.js or run_plots.js draws it at its name.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from figures.subject import Subject
from metrics.flat import per_class, per_level
from metrics.per_image import worst_images
from metrics.posterior import lca_nodes
from metrics.review import likely_mislabelled, worth_labelling
from reports.tree_data import node_names

WORST = 100  # rows of the table of worst mistakes
SUSPECTS = 100  # rows of the table of labels that may be wrong
UNSURE, PER_ANSWER = 50, 5  # rows of the table of images worth labelling, of one answer at most


class Column(NamedTuple):
    """A column of a table.

    Fields:
        name: Its heading.
        kind: What its cells are, see KINDS in run_page.js: an "image" of the test split, a "node"
            of the tree, a "class", the class of whose images "examples" are shown, a "number", a
            number with "2 digits" or "3 digits", or "text".
        tip: What is said of the heading.
    """

    name: str
    kind: str = "number"
    tip: str = ""


class Panel(NamedTuple):
    """A part of a run's page.

    Fields:
        name: Where it is in the page.
        title, sentence: Its heading, and what is said below that.
        columns, rows: Of a table. A column of images is its first.
    """

    name: str
    title: str
    sentence: str
    columns: tuple[Column, ...] = ()
    rows: Sequence[list] = ()

    @property
    def images(self) -> list[int]:
        """The test images that the rows are of; [] if they are of something else."""
        of_images = self.columns and self.columns[0].kind == "image"
        return [row[0] for row in self.rows] if of_images else []

    def listed(self, place: Mapping[int, int]) -> list[list]:
        """The rows with the place of each image in the page's list instead of its number."""
        return [[place[row[0]], *row[1:]] for row in self.rows] if self.images else [*self.rows]


def panels(subject: Subject) -> list[Panel]:
    """All of them, in the order of the page."""
    return [
        _classes(subject),
        _superclasses(subject),
        Panel(
            "confusion",
            "Confusion matrix",
            "Rows are true classes, columns answers. Click a number to see its images with their"
            " files, a superclass to open or close it; arrow keys go from number to number.",
        ),
        Panel(
            "heights",
            "Where mistakes go",
            "How far up the class tree the true class and a wrong answer first meet: at height 1"
            " they are siblings, at the greatest height only the top holds both. A classifier that"
            " knows the tree errs further to the left than answers at random.",
        ),
        _worst(subject),
        _suspects(subject),
        _unsure(subject),
        Panel(
            "map",
            "Map of the images",
            "Each point is a test image or a class, near to what the classifier finds alike. Point"
            " at one for its file, class and answer; click it for its picture.",
        ),
        Panel(
            "operating",
            "How far answers can be trusted",
            "What is right when answers back off to superclasses, when the least sure are withheld,"
            " and whether probabilities mean what they say. Point at a line for its values.",
        ),
        Panel(
            "trees",
            "Class tree and learned tree",
            "The learned tree joins classes whose vectors are near, by average linkage (UPGMA); the"
            " trees are turned so that few of the lines between equal classes cross. Point at a"
            " branch, a name or a dot to read what it is.",
        ),
        Panel("training-curves", "Training", "Point at a line for its values."),
    ]


_MEASURED = (
    Column("test images"),
    Column("recall", "3 digits", "Share of its test images that are answered rightly."),
    Column("precision", "3 digits", "Share of the answers with this name that are right."),
    Column("F1", "3 digits", "Harmonic mean of precision and recall."),
)


def _measured(table: pd.DataFrame) -> list[list]:
    shares = (map(_number, table[name]) for name in ("recall", "precision", "f1"))
    return [list(cells) for cells in zip(table["n_true"].tolist(), *shares)]


def _classes(subject: Subject) -> Panel:
    outputs, tree = subject.outputs, subject.hierarchy
    taken: list[tuple[int | None, int]] = [(None, 0)] * tree.num_classes
    for true, answer, count in zip(*confusions(subject).values()):
        if true != answer and count > taken[true][1]:
            taken[true] = tree.leaves[answer].item(), count
    columns = (
        Column("class", "node"),
        *_MEASURED,
        Column("most often taken for", "node"),
        Column("times", "number", "Test images of the class that got this wrong answer."),
        Column("examples", "examples"),
    )
    rows = [
        [tree.leaves[c].item(), *cells, *taken[c], c]
        for c, cells in enumerate(_measured(per_class(outputs)))
    ]
    sentence = "Click a heading to sort; search by a part of a name."
    return Panel("per-class", "Classes", sentence, columns, rows)


def confusions(subject: Subject) -> dict[str, list[int]]:
    """true class, answer and count of each pair of them that occurs."""
    outputs, classes = subject.outputs, subject.hierarchy.num_classes
    both = outputs.labels.astype(np.int64) * classes + outputs.predictions
    pairs, count = np.unique(both, return_counts=True)
    true, answer = np.divmod(pairs, classes)
    return {"true": true.tolist(), "answer": answer.tolist(), "count": count.tolist()}


def _superclasses(subject: Subject) -> Panel:
    table = per_level(subject.outputs)
    table = table[~table["node"].isin(subject.hierarchy.leaves)]
    columns = (
        Column("superclass", "node"),
        Column("level", "number", "Edges from the root of the class tree."),
        *_MEASURED,
    )
    nodes = zip(table["node"].tolist(), table["level"].tolist())
    rows = [[*node, *cells] for node, cells in zip(nodes, _measured(table))]
    sentence = "What is right when answers count at each superclass."
    return Panel("per-level", "Superclasses", sentence, columns, rows)


def _worst(subject: Subject) -> Panel:
    outputs, tree = subject.outputs, subject.hierarchy
    images = worst_images(outputs)[:WORST]
    true, answers = outputs.labels[images], outputs.predictions[images]
    common = np.ravel(lca_nodes(tree, tree.leaves[true], tree.leaves[answers]))
    return Panel(
        "worst",
        "Worst mistakes",
        "The answers that are farthest from the truth in the class tree, and of those equally"
        " far the surest.",
        (
            Column("file", "image"),
            Column("true class", "class"),
            Column("answer", "class"),
            Column(
                "probability",
                "2 digits",
                "That the classifier gives to its answer, before predict.py calibrates it.",
            ),
            Column(
                "common ancestor",
                "node",
                "The smallest superclass that holds both the true class and the answer.",
            ),
            Column(
                "height",
                tip="Of the common ancestor in the class tree, in edges above its classes.",
            ),
        ),
        _rows(images, true, answers, outputs.confidence[images], common, tree.height[common]),
    )


def _suspects(subject: Subject) -> Panel:
    found, labels = likely_mislabelled(subject.outputs), subject.outputs.labels
    shown = found[:SUSPECTS]
    named = _class_names(subject)
    why = [
        f"Its label has probability {own:.2f} (images with that label: {mean:.2f} on average);"
        f" {named[other]} has {likely:.2f} ({others:.2f})."
        for other, own, mean, likely, others in zip(
            *(shown[name] for name in ("suggested", "own", "own_mean", "other", "other_mean"))
        )
    ]
    total = f"{len(found)} in all"
    if len(shown) < len(found):
        total = f"the first {len(shown)} of {len(found):,}"
    return Panel(
        "suspects",
        "Labels that may be wrong",
        "Images that the classifier finds unlike others with their label and like those of"
        " another class (confident learning, Northcutt et al. 2021), the likeliest first:"
        f" {total}. Look at them; some are only hard. Nothing was left out"
        " of the measures for them.",
        (
            Column("file", "image"),
            Column("label", "class"),
            Column("looks like", "class"),
            Column("why", "text"),
            Column(
                "probability",
                "2 digits",
                "That the classifier gives to the label, before predict.py calibrates it.",
            ),
        ),
        _rows(shown["image"], labels[shown["image"]], shown["suggested"], why, shown["own"]),
    )


def _unsure(subject: Subject) -> Panel:
    found = worth_labelling(subject.outputs, UNSURE, PER_ANSWER)
    named, labels = _class_names(subject), subject.outputs.labels
    pairs = ("answer", "second", "probability", "second_probability")
    why = [
        f"{first:.2f} for {named[answer]} against {next_:.2f} for {named[second]}."
        for answer, second, first, next_ in zip(*(found[name] for name in pairs))
    ]
    images = found["image"].astype(int)
    return Panel(
        "unsure",
        "Images worth labelling next",
        "The test images that the classifier is least sure about, by the margin between its two"
        " most probable classes, at most five of one answer: more labelled images like these"
        " would teach it most. They have labels; look for others of their kind.",
        (
            Column("file", "image"),
            Column("true class", "class"),
            Column("answer", "class"),
            Column("or", "class", "The second most probable class."),
            Column("why", "text"),
            Column(
                "margin",
                "2 digits",
                "Difference of the two probabilities: 0 is undecided, 1 is sure.",
            ),
            Column(
                "entropy",
                "2 digits",
                "How evenly the probability is spread over all classes: 0 on one class, 1 on all"
                " alike.",
            ),
        ),
        _rows(
            images,
            labels[images],
            found["answer"],
            found["second"],
            why,
            found["margin"],
            found["entropy"],
        ),
    )


def _class_names(subject: Subject) -> list[str]:
    names = node_names(subject.hierarchy)
    return [names[leaf] for leaf in subject.hierarchy.leaves]


def _rows(*columns: Sequence) -> list[list]:
    """The rows of these columns, of arrays or lists."""
    values = (np.asarray(column).tolist() for column in columns)
    return [
        [_number(cell) if isinstance(cell, float) else cell for cell in row] for row in zip(*values)
    ]


def _number(value: float) -> float | None:
    return None if pd.isna(value) else round(float(value), 7)  # the page rounds to 2 or 3 digits
