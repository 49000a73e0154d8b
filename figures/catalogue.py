"""The figures of every run."""

from collections.abc import Callable
from typing import NamedTuple

from figures.curves import training_curves
from figures.dendrograms import dendrogram
from figures.heatmaps import confusions, distance_maps
from figures.maps import mds_map, tsne_map
from figures.mistakes import mistake_heights, mistake_images
from figures.operating import operating_curves
from figures.reliability import reliability_diagram
from figures.style import Drawing
from figures.subject import Subject
from figures.tanglegrams import tanglegram


class Plan(NamedTuple):
    """A figure of every run.

    Attributes:
        title: Heading in the report.
        draw: From a subject to its drawing; raises NothingToDraw where there is none.
        line_art: Whether it is made up of few colours.
    """

    title: str
    draw: Callable[[Subject], Drawing]
    line_art: bool = False


# in the order of the report; the name is that of the files
FIGURES: dict[str, Plan] = {
    "training_curves": Plan("Training", training_curves),
    "mistake_heights": Plan("Where mistakes go", mistake_heights),
    "mistake_images": Plan("Images of the worst mistakes", mistake_images),
    "confusions": Plan("Confusions", confusions),
    "reliability": Plan("Reliability of confidences", reliability_diagram),
    "operating_curves": Plan("How far answers can be trusted", operating_curves),
    "tanglegram": Plan("Class tree and learned tree", tanglegram, line_art=True),
    "dendrogram": Plan("Learned tree", dendrogram, line_art=True),
    "distances": Plan("Distances between classes", distance_maps),
    "map_mds": Plan("Map of images and class vectors: MDS", mds_map),
    "map_tsne": Plan("Map of images and class vectors: t-SNE", tsne_map),
}
