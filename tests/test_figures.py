"""Every figure at every size: it shows the values it should, names fit, and nothing breaks where
there is nothing.
"""

from dataclasses import replace
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from drawable import DEMO, make_epochs, make_subject, uneven_tree
from matplotlib.figure import Figure
from matplotlib.text import Text
from scored_outputs import A1, A2A, A2B, C, X, Y, Z, posterior, predicted
from trees import FLAT, TREE

from figures import FIGURES, render
from figures.common import NothingToDraw, ordinal
from figures.comparison import height_curves, method_dots
from figures.curves import method_curves, training_curves
from figures.dendrograms import dendrogram
from figures.groups import top_groups
from figures.heatmaps import confusions, distance_maps
from figures.maps import mds_map
from figures.mistakes import mistake_heights, mistake_images, worst_mistakes
from figures.operating import operating_curves
from figures.palette import OTHERS, SERIES
from figures.planes import draw_sample, place_by_stress
from figures.reliability import reliability_diagram
from figures.style import LONGEST_NAME, distinct, name_rows, printable, styled
from figures.subject import short_names
from figures.tanglegrams import tanglegram
from hierarchies import Hierarchy
from metrics.calibration import calibration_error
from metrics.curves import operating_measures

pytestmark = [
    pytest.mark.filterwarnings("error"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

BIRDS = uneven_tree(555, 22)
ODD_NAMES = [
    "$a_b$",
    "<b>&",
    "two\nlines",
    "中文",
    "fish 🐟",
    "\udcff",
    "x" * 90,
    "%d{}",
    "it's",
    "_under",
    "ü",
    "a",
]


@pytest.fixture(scope="module")
def demo():
    return make_subject(DEMO)


@pytest.fixture(scope="module")
def birds():
    return make_subject(BIRDS, samples=1500)


def drawn(function, *arguments) -> tuple[Figure, str]:
    with styled():
        figure, caption = function(*arguments)
        figure.canvas.draw()
    return figure, caption


def said(function, *arguments) -> str:
    """The caption of what is drawn, or why nothing is; files are written by other tests."""
    try:
        return drawn(function, *arguments)[1]
    except NothingToDraw as reason:
        return str(reason)


def texts(figure: Figure) -> list[Text]:
    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]


def boxes(figure: Figure, names) -> dict[str, list]:
    """Places on the page of the texts with the given contents, in pixels."""
    renderer, found = figure.canvas.get_renderer(), {name: [] for name in names}
    for text in texts(figure):
        if text.get_text() in found:
            found[text.get_text()].append(text.get_window_extent(renderer))
    return found


# ---- names and colours


def test_names_are_one_line_that_the_font_can_show():
    assert printable("two\nlines") == "two lines" and printable("Fisch ü") == "Fisch ü"
    assert printable("\U000f0000a\udcff") == "□a□"  # letters of private use
    assert len(printable("x" * 200)) <= LONGEST_NAME and printable("x" * 200).count("…") == 1


def test_classes_of_the_same_name_show_their_parents():
    tree = Hierarchy.from_paths([("A", "other"), ("B", "other"), ("B", "one")])
    assert short_names(tree) == ("other (A)", "other (B)", "one")


def test_names_get_closer_smaller_and_fewer_the_more_there_are():
    few, many, most = (name_rows(count, 42.0) for count in (10, 555, 2000))
    assert few.size > many.size >= 4.5 and few.step == many.step == 1 and many.pitch * 555 <= 42.001
    assert (
        most.step == 4
        and most.shown(2000)[:2] == [0, 4]
        and "Only every 4th of the classes" in most.note()
    )
    assert few.note() == "" and [ordinal(n) for n in (2, 3, 11, 21, 22)] == [
        "second",
        "third",
        "11th",
        "21st",
        "22nd",
    ]


def test_the_groups_are_the_children_of_the_first_node_that_branches():
    groups = top_groups(TREE)
    assert groups.names == ("C", "A", "B") and groups.sizes.tolist() == [1, 3, 3]
    assert groups.of_class.tolist() == [0, 1, 2, 1, 1, 2, 2]
    chain = Hierarchy.from_paths([("life", "animals", f"g{c % 3}", f"c{c}") for c in range(6)])
    assert top_groups(chain).names == ("g0", "g1", "g2")


def test_the_largest_groups_get_the_palette_and_the_others_are_grey_and_said():
    groups = top_groups(BIRDS)
    assert len(groups.own) == len(SERIES) and len(set(groups.colours)) == len(SERIES) + 1
    assert groups.sizes[groups.own].min() >= groups.sizes[groups.others].max()
    assert f"{len(SERIES)} largest of 22 groups" in groups.note()
    assert [handle.get_label() for handle in groups.handles()][-1] == "14 other groups"


def test_a_few_groups_without_a_colour_are_named():
    count = len(SERIES) + 1
    tree = Hierarchy.from_paths(
        [(f"g{c % count}", f"c{c}") for c in range(4 * count) if c % count or c < 20]
    )
    groups = top_groups(tree)
    assert groups.others_name() == "g0" and groups.handles()[-1].get_label() == "g0"
    assert groups.note().endswith(f"{len(SERIES)} largest of {count} groups; g0 is grey.")


def test_a_flat_tree_has_colours_only_while_they_last():
    assert top_groups(FLAT).others == []
    flat = top_groups(Hierarchy.from_paths([(f"c{i}",) for i in range(20)]))
    assert set(flat.colours) == {OTHERS} and "directly below the root" in flat.note()


# ---- all figures


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_of_the_demo_is_a_png_and_a_pdf(name, demo):
    found = render(FIGURES[name].draw, demo)
    assert found.images["png"].startswith(b"\x89PNG") and found.images["pdf"].startswith(b"%PDF")
    assert len(found.caption) > 20 and "nan" not in found.caption


@pytest.mark.parametrize("name", ["tanglegram", "map_tsne"])
def test_a_figure_is_the_same_bytes_every_time_whatever_the_user_has_set(name, monkeypatch):
    subject = make_subject(TREE, samples=40)
    first = render(FIGURES[name].draw, subject).images
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "savefig.dpi": 20}):
        again = render(FIGURES[name].draw, make_subject(TREE, samples=40)).images
        assert matplotlib.rcParams["font.size"] == 30
    assert first == again


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_of_one_or_two_classes_is_drawn_or_says_why_not(name):
    for paths in ([("A", "a")], [("A", "a"), ("b",)]):
        subject = make_subject(Hierarchy.from_paths(paths), samples=12)
        assert said(FIGURES[name].draw, subject).endswith(".")


@pytest.mark.parametrize("name", ["tanglegram", "confusions", "mistake_images"])
def test_names_with_signs_of_every_kind_are_drawn(name):
    tree = Hierarchy.from_paths([(f"$group {i % 3}$", name) for i, name in enumerate(ODD_NAMES)])
    assert render(FIGURES[name].draw, make_subject(tree, samples=60), formats=("pdf",)).images


@pytest.mark.parametrize("name", FIGURES)
def test_a_split_without_images_is_drawn_or_says_why_not(name, demo):
    empty = replace(make_subject(DEMO, samples=0), validation=None)
    of_classes = ("training_curves", "tanglegram", "dendrogram", "distances", "map_mds", "map_tsne")
    assert ("no test image" in said(FIGURES[name].draw, empty)) == (name not in of_classes)


def test_figures_are_no_part_of_pyplots_state(demo):
    sources = Path(__file__).parents[1].joinpath("figures").glob("*.py")
    assert not any("import matplotlib.pyplot" in path.read_text("utf-8") for path in sources)
    before = dict(matplotlib.rcParams)
    render(training_curves, demo)
    assert plt.get_fignums() == [] and dict(matplotlib.rcParams) == before


# ---- trees


@pytest.mark.parametrize("draw", [tanglegram, dendrogram])
@pytest.mark.parametrize("size", ["ten", "birds"])
def test_every_class_is_named_in_a_tree_without_overlap_or_clipping(draw, size, birds):
    subject = birds if size == "birds" else make_subject(uneven_tree(10, 3))
    figure, caption = drawn(draw, subject)
    found = boxes(figure, subject.names)
    copies = 2 if draw is tanglegram else 1
    assert all(len(places) == copies for places in found.values())
    assert "is named" not in caption
    if draw is dendrogram and size == "birds":
        return  # turned texts: their boxes overlap, their letters do not
    width, height = figure.bbox.size
    for copy in range(copies):
        column = sorted(
            (sorted(places, key=lambda box: box.x0)[copy] for places in found.values()),
            key=lambda box: box.y0,
        )
        assert all(
            low.y1 <= high.y0 + 0.35 * (low.y1 - low.y0) for low, high in zip(column, column[1:])
        )
        if draw is tanglegram:
            assert all(
                0 <= box.x0 and box.x1 <= width and 0 <= box.y0 and box.y1 <= height
                for box in column
            )


LONG = "A class name with many words, as wide as any"


@pytest.mark.parametrize("draw", [tanglegram, dendrogram, distance_maps])
@pytest.mark.parametrize("each", [1, 9])  # upright, around a circle
def test_long_names_of_groups_fit_the_page_beside_each_other(draw, each):
    paths = [(f"{LONG} {g}", f"{g}-{i}") for g in range(8) for i in range(each)]
    figure, _ = drawn(draw, make_subject(Hierarchy.from_paths(paths)))
    page, axes = figure.bbox, figure.axes[0]
    legend = figure.legends[0] if figure.legends else axes.get_legend()
    box = legend.get_window_extent()
    assert box.width <= page.width
    if draw is dendrogram and each > 1:
        corner = axes.transData.inverted().transform((box.x1, box.y0))
        assert np.hypot(*corner) >= axes.get_xlim()[1]


def test_the_caption_of_a_tanglegram_tells_its_crossings(demo):
    _, caption = drawn(tanglegram, demo)
    assert (
        caption.startswith(f"{demo.untangled.crossings} crossing")
        and f"({demo.untangled.before}" in caption
    )


def test_where_there_is_no_room_for_all_names_some_are_left_out_and_that_is_said(demo, monkeypatch):
    monkeypatch.setattr("figures.tanglegrams.TALLEST", 1.0)
    figure, caption = drawn(tanglegram, demo)
    assert "Only every second of the classes is named." in caption
    assert sum(map(len, boxes(figure, demo.names).values())) == 24


def test_classes_without_a_finite_vector_are_left_out_of_the_trees_and_counted(demo):
    vectors = demo.outputs.class_vectors.copy()
    vectors[[2, 5]] = np.nan
    subject = replace(demo, outputs=replace(demo.outputs, class_vectors=vectors))
    figure, caption = drawn(tanglegram, subject)
    assert "2 classes without a finite class vector are left out." in caption
    assert not any(boxes(figure, [subject.names[2]]).values())
    nothing = replace(
        demo, outputs=replace(demo.outputs, class_vectors=np.full_like(vectors, np.nan))
    )
    with pytest.raises(NothingToDraw, match="no tree"):
        drawn(tanglegram, nothing)


# ---- tables of classes


def images(figure: Figure) -> list[np.ndarray]:
    """The tables shown in the panels, without the strips of colours."""
    return [
        ax.get_images()[0].get_array()
        for ax in figure.axes
        if ax.get_images() and ax.get_title(loc="left")
    ]


def test_the_distance_maps_stand_in_the_order_of_the_tree(demo):
    figure, caption = drawn(distance_maps, demo)
    vectors, tree, prototypes = images(figure)
    order = DEMO.leaf_order
    np.testing.assert_allclose(tree, demo.outputs.path[np.ix_(order, order)])
    w = demo.outputs.class_vectors[order]
    np.testing.assert_allclose(vectors, np.linalg.norm(w[:, None] - w, axis=2), atol=1e-6)
    assert "class vectors (W)" in caption and not np.ma.is_masked(prototypes)


def test_classes_without_a_prototype_are_grey_in_the_distance_map(demo):
    prototypes = demo.outputs.prototypes.copy()
    prototypes[0] = np.nan
    figure, caption = drawn(
        distance_maps, replace(demo, outputs=replace(demo.outputs, prototypes=prototypes))
    )
    place = DEMO.leaf_order.tolist().index(0)
    masked = np.ma.getmaskarray(images(figure)[2])
    assert masked[place].all() and masked[:, place].all() and masked.sum() == 2 * 24 - 1
    assert "Grey rows" in caption


def test_the_confusions_are_shares_of_the_true_class_with_counts_in_the_cells():
    subject = make_subject(TREE, samples=4)
    outputs = predicted([A1, A1, A1, X], [A1, A2A, A1, Z])
    figure, caption = drawn(confusions, replace(subject, outputs=outputs))
    table, order = figure.axes[0].get_images()[0].get_array(), TREE.leaf_order.tolist()
    row = dict(zip(order, np.ma.filled(table[order.index(A1)], np.nan)))
    assert row[A1] == pytest.approx(2 / 3) and row[A2A] == pytest.approx(1 / 3) and row[Y] == 0
    assert np.ma.getmaskarray(table)[order.index(C)].all()  # has no image
    assert (
        "2 of 4 test images are on the diagonal; 2 of the 2 mistakes stay within their" in caption
    )
    assert "5 classes have no test image" in caption


def test_with_hundreds_of_classes_the_confusions_name_groups_and_add_a_table_of_them(birds):
    figure, caption = drawn(confusions, birds)
    between = figure.axes[1].get_images()[0].get_array()
    assert between.shape == (22, 22) and "only groups are named" in caption
    np.testing.assert_allclose(between.sum(axis=1), 1)


def test_thousands_of_classes_are_averaged_to_a_picture_of_bounded_size(monkeypatch):
    monkeypatch.setattr("figures.heatmaps._FINEST", 10)
    figure, caption = drawn(distance_maps, make_subject(uneven_tree(130, 5), samples=10))
    assert images(figure)[0].shape == (10, 10) and "13 x 13 neighbouring classes" in caption


# ---- maps


def test_mds_finds_points_that_lie_in_a_plane():
    points = np.random.default_rng(0).standard_normal((12, 2))
    table = np.linalg.norm(points[:, None] - points, axis=2)
    placed, stress = place_by_stress(table)
    assert stress < 1e-3
    np.testing.assert_allclose(np.linalg.norm(placed[:, None] - placed, axis=2), table, atol=0.01)


def test_the_stress_is_kruskals():
    # four points at distance 1 from each other do not fit a plane: the best is a square or a
    # centred triangle
    placed, stress = place_by_stress(np.ones((4, 4)) - np.eye(4))
    planar = np.linalg.norm(placed[:, None] - placed, axis=2)[np.triu_indices(4, 1)]
    assert (
        stress == pytest.approx(np.sqrt(((planar - 1) ** 2).sum() / (planar**2).sum()))
        and stress > 0.1
    )


def test_a_sample_takes_images_of_every_class_and_says_how_many_are_left_out(demo, monkeypatch):
    sample = draw_sample(demo, 10, 100)
    assert len(sample.labels) == 100 and sample.images_left_out == 200
    assert set(sample.labels) == set(demo.outputs.labels)
    assert (
        len(sample.classes) == 10 and sample.classes_left_out == 14 and len(sample.vectors) == 110
    )
    assert "300 test images (small) and 24 class vectors" in drawn(mds_map, demo)[1]
    monkeypatch.setattr("figures.maps.MDS_POINTS", (10, 100))
    assert "100 of 300 test images (small) and 10 of 24 class vectors" in drawn(mds_map, demo)[1]


def test_softmax_is_mapped_with_prototypes(demo):
    softmax = replace(demo, outputs=replace(demo.outputs, prototype_scores=None))
    assert (
        draw_sample(softmax, 10, 10).kind.startswith("prototypes")
        and "prototypes" in drawn(mds_map, softmax)[1]
    )


# ---- mistakes and confidences


def test_heights_of_mistakes_and_of_random_answers_are_those_on_paper():
    # one mistake at each height: A2a for A2b 1, A2a for A1 2, A2a for C 3; and one correct image
    outputs = predicted([A2A, A2A, A2A, X], [A2B, A1, C, X])
    # from A2a, of the six other classes one is at height 1, one at 2, four at 3
    figure, caption = drawn(
        mistake_heights, replace(make_subject(TREE, samples=4), outputs=outputs)
    )
    bars = [bar.get_height() for container in figure.axes[0].containers for bar in container]
    np.testing.assert_allclose(bars, [1 / 3, 1 / 3, 1 / 3, 1 / 6, 1 / 6, 4 / 6])
    assert (
        caption.startswith("3 mistakes in 4 test images. 33% of them are at height 1")
        and "Mean height 2.00" in caption
    )


def test_the_worst_mistakes_go_highest_with_most_confidence_and_come_once_a_pair():
    rows = np.full((5, 7), 0.01)
    for row, (_, taken, p) in enumerate(
        [(A2A, A2B, 0.9), (A2A, C, 0.5), (A2A, C, 0.8), (X, C, 0.7), (C, C, 0.6)]
    ):
        rows[row, taken] = p
    outputs = posterior([A2A, A2A, A2A, X, C], rows / rows.sum(axis=1, keepdims=True))
    found = worst_mistakes(outputs)
    assert [mistake.image for mistake in found] == [2, 3, 0] and [
        mistake.height for mistake in found
    ] == [3, 3, 1]
    assert [mistake.like for mistake in found] == [4, 4, None]  # no image of A2b is recognised
    assert len(worst_mistakes(outputs, most=1)) == 1


def test_the_pictures_are_those_of_the_mistakes(demo):
    figure, _ = drawn(mistake_images, demo)
    mistakes = worst_mistakes(demo.outputs)
    shown = [
        [ax.get_images()[0].get_array()[0, 0] for ax in block.axes if ax.get_images()]
        for block in figure.subfigs
    ]
    pairs = [(mistake.image, mistake.like) for mistake in mistakes]
    assert sorted(shown) == sorted(
        [image % 256 for image in pair if image is not None] for pair in pairs
    )


def test_a_mistake_is_named_by_its_file_and_common_ancestor():
    subject = replace(make_subject(TREE, samples=3), outputs=predicted([A2A, A1, X], [A2B, X, X]))
    figure, _ = drawn(mistake_images, subject)
    titles = [block.get_suptitle() for block in figure.subfigs]
    assert [title.split("\n")[0] for title in titles] == ["1", "0"]  # the files
    assert [title.rpartition(": ")[2] for title in titles] == [TREE.names[0], "A2"]


def test_images_that_cannot_be_read_are_named_in_place_of_the_figure(demo):
    def missing(file):
        raise ValueError(f"there is no image file {file}")

    with pytest.raises(NothingToDraw, match="there is no image file"):
        drawn(mistake_images, replace(demo, open_image=missing))
    with pytest.raises(NothingToDraw, match="does not record"):
        drawn(mistake_images, replace(demo, files=None))


def test_a_run_without_mistakes_says_so(demo):
    perfect = replace(make_subject(TREE, samples=7), outputs=predicted(range(7), range(7)))
    for draw in (mistake_heights, mistake_images):
        with pytest.raises(NothingToDraw, match="No test image is classified wrongly"):
            drawn(draw, perfect)


def test_the_reliability_diagram_shows_the_calibration_error(demo):
    figure, caption = drawn(reliability_diagram, demo)
    outputs = demo.outputs
    correct = outputs.predictions == outputs.labels
    ece, _ = calibration_error(outputs.confidence, correct)
    assert figure.axes[0].get_title(loc="left") == f"as trained: ECE {ece:.3f}"
    assert "fitted on the validation split" in caption
    single, caption = drawn(reliability_diagram, replace(demo, validation=None))
    assert len(single.axes) == 2 and "no validation split" in caption


def test_the_bars_of_the_reliability_diagram_reach_accuracy_and_confidence():
    # confidences 0.75 and 0.75, one right: accuracy 1/2, 1/4 less than confident; 0.3, right: 0.7
    # more
    rows = np.array([[0.75, 0.25, 0, 0], [0.75, 0.25, 0, 0], [0.3, 0.25, 0.25, 0.2]])
    outputs = posterior([0, 1, 0], rows, FLAT)
    subject = replace(make_subject(FLAT, samples=3), outputs=outputs, validation=None)
    figure, _ = drawn(reliability_diagram, subject)
    heights = [[bar.get_height() for bar in container] for container in figure.axes[0].containers]
    np.testing.assert_allclose(heights, [[0.3, 0.5], [0, 0.25], [0.7, 0]], atol=1e-6)


def test_the_marks_of_the_operating_curves_are_the_recorded_recalls(demo):
    figure, caption = drawn(operating_curves, demo)
    lines = [
        line
        for line in figure.axes[0].lines
        if line.get_marker() in ("o", "s") and len(line.get_xdata())
    ]
    rows = operating_measures(demo.outputs)
    recalls = [
        rows[f"recall@{percent}_{value}"].value
        for percent in (90, 95)
        for value in ("depth", "info")
    ]
    np.testing.assert_allclose([line.get_xdata()[0] for line in lines], recalls)
    assert all(f"{recall:.3f}" in caption for recall in recalls)


def test_risk_against_coverage_is_that_on_paper():
    # confidences .9 right, .7 wrong, .6 wrong and right
    rows = np.array([[0.9, 0.1, 0, 0], [0.7, 0.3, 0, 0], [0.6, 0.4, 0, 0], [0.6, 0, 0.4, 0]])
    subject = replace(make_subject(FLAT, samples=4), outputs=posterior([0, 1, 1, 0], rows, FLAT))
    figure, caption = drawn(operating_curves, subject)
    np.testing.assert_allclose(
        figure.axes[1].lines[0].get_xydata(), [[1 / 4, 0], [2 / 4, 1 / 2], [1, 2 / 4]]
    )
    assert "of the 50% most confident images 50.0% are wrong, of all 50.0%; AURC 0.375" in caption


# ---- curves and comparisons


def test_training_curves_mark_the_epoch_of_the_results(demo):
    figure, caption = drawn(training_curves, demo)
    assert [ax.get_title(loc="left") for ax in figure.axes][:2] == ["Loss", "Accuracy"]
    training, validation, mark = figure.axes[0].lines
    np.testing.assert_allclose(validation.get_ydata(), make_epochs()["val_loss"])
    assert list(mark.get_xdata()) == [4, 4] and "epoch 4" in caption
    assert "last epoch" in drawn(training_curves, replace(demo, best_epoch=None))[1]


@pytest.mark.parametrize(
    "change", [{"train_loss": np.inf}, {"val_loss": np.nan}, {"scale": "broken"}]
)
def test_training_curves_pass_over_what_is_no_number(demo, change):
    changed = replace(demo, epochs=make_epochs().assign(**change))
    assert "epoch 4" in drawn(training_curves, changed)[1]


@pytest.mark.parametrize("epochs", [pd.DataFrame(), make_epochs(0), make_epochs()[["epoch"]]])
def test_without_epochs_there_are_no_curves(demo, epochs):
    with pytest.raises(NothingToDraw, match="No epoch"):
        drawn(training_curves, replace(demo, epochs=epochs, best_epoch=None))


def summary(rows) -> pd.DataFrame:
    columns = ["options", "metric", "n_seeds", "mean", "lower", "upper"]
    return pd.DataFrame(rows, columns=columns)


def test_method_dots_show_mean_interval_and_seeds():
    means = summary(
        [
            ("DR", "accuracy", 3, 0.8, 0.7, 0.9),
            ("softmax", "accuracy", 1, 0.6, np.nan, np.nan),
            ("DR", "new", 0, np.nan, np.nan, np.nan),
        ]
    )
    values = pd.DataFrame(
        {
            "options": ["DR", "DR", "DR", "softmax"],
            "metric": "accuracy",
            "value": [0.75, 0.85, 0.8, 0.6],
        }
    )
    figure, caption = drawn(method_dots, means, values, ["accuracy", "new"])
    # nothing is known of the other
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["accuracy ↑"]
    seeds, interval, mean, other_seeds, other_mean = (
        line.get_xdata() for line in figure.axes[0].lines
    )
    assert list(seeds) == [0.75, 0.85, 0.8] and list(interval) == [0.7, 0.9] and list(mean) == [0.8]
    assert list(other_seeds) == [0.6] and list(other_mean) == [0.6] and "95 %" in caption


def test_height_curves_are_panels_without_the_root_that_end_at_all_images():
    rows = [
        (name, f"height_accuracy@{h}", 3, 0.55 + 0.1 * h, 0.4, 1.7)
        for name in "abcde"
        for h in range(4)
    ]
    none = pd.DataFrame(columns=["options", "metric", "value"])
    figure, caption = drawn(height_curves, summary(rows), none)
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_title(loc="left") for ax in shown] == list("abcde")
    for ax in shown:
        (own,) = (container.lines[0] for container in ax.containers)
        np.testing.assert_allclose(own.get_ydata(orig=False), [0.55, 0.65, 0.75])
        others = [line for line in ax.lines if line.get_color() == OTHERS]
        assert len(others) == 4 and ax.get_ylim() == (0.5, 1.0)
    assert "Grey: the other methods." in caption


def test_two_seeds_are_points_and_no_interval():
    metrics = [f"height_accuracy@{height}" for height in range(3)]
    means = summary([("DR", metric, 2, 0.6, -0.67, 1.87) for metric in metrics])
    values = pd.DataFrame(
        {"options": "DR", "metric": np.repeat(metrics, 2), "value": [0.5, 0.7] * 3}
    )
    dots, caption = drawn(method_dots, means, values, metrics[:1])
    seeds, mean = (line.get_xdata() for line in dots.axes[0].lines)
    assert list(seeds) == [0.5, 0.7] and list(mean) == [0.6]
    assert "95 %" not in caption and "fewer than 3 seeds" in caption
    heights, caption = drawn(height_curves, means, values)
    points = [line.get_ydata() for line in heights.axes[0].lines if line.get_marker() == "o"]
    assert [0.5, 0.7] in [list(point) for point in points] and "95 %" not in caption
    assert np.ptp(heights.axes[0].dataLim.intervaly) < 0.3  # the error bars reach no further
    curves = pd.DataFrame(
        {"options": "DR", "column": "val_loss", "epoch": [1, 2], "count": 2, "mean": [3.0, 2.0]}
    ).assign(lower=-9.0, upper=9.0, min=[2.9, 1.9], max=[3.1, 2.1])
    figure, caption = drawn(method_curves, curves)
    assert [list(line.get_ydata()) for line in figure.axes[0].lines[1:]] == [[2.9, 1.9], [3.1, 2.1]]
    assert not figure.axes[0].collections and "two seeds" in caption and "Bands" not in caption


def test_labels_of_a_figure_differ_where_names_do():
    long = [f"DR-{'a' * 40}-{middle}-{'b' * 40}" for middle in ("one", "two")]
    means = summary([(name, "accuracy", 1, 0.5, np.nan, np.nan) for name in long])
    values = means.rename(columns={"mean": "value"})
    figure, _ = drawn(method_dots, means, values, ["accuracy"])
    assert len({text.get_text() for text in figure.axes[0].get_yticklabels()}) == 2
    for name in [*long, "x" * 90]:  # nothing is cut
        lines = distinct([name])[0].split("\n")
        assert "".join(lines) == name and max(map(len, lines)) <= 34
    assert distinct(["DR-ema [beta=1.5]"]) == ["DR-ema [beta=1.5]"]
    assert distinct(["DR-hierarchical-decay=0.9"], 18) == ["DR-hierarchical-\ndecay=0.9"]
    assert len(set(distinct(["\U0001f41f", "\U0001f420"]))) == 2 and distinct([]) == []


def test_more_methods_than_colours_get_a_panel_each():
    names = [f"DR-{'ema-' * 6}{i}" for i in range(len(SERIES) + 1)]
    rows = [
        (name, column, epoch, 3, 0.5, 0.45, 0.55)
        for name in names
        for column in ("val_accuracy", "train_loss")
        for epoch in (1, 2)
    ]
    columns = ["options", "column", "epoch", "count", "mean", "lower", "upper"]
    figure, caption = drawn(method_curves, pd.DataFrame(rows, columns=columns))
    assert [block.get_suptitle() for block in figure.subfigs] == [
        "Validation accuracy",
        "Training loss",
    ]
    for block in figure.subfigs:
        shown = [ax for ax in block.axes if ax.get_visible()]
        assert [ax.get_title(loc="left").replace("\n", "") for ax in shown] == names
        for ax in shown:
            colours = [line.get_color() for line in ax.lines]
            assert colours.count(OTHERS) == len(names) - 1 and len(colours) == len(names)
    assert "Grey: the other methods." in caption and "Bands" in caption


def test_method_curves_have_bands_where_there_are_intervals():
    table = pd.DataFrame(
        {"options": "DR", "column": "val_accuracy", "epoch": [1, 2], "mean": [0.1, 0.2]}
    ).assign(count=1, min=[0.1, 0.2], max=[0.1, 0.2])
    banded = table.assign(options="softmax", count=3, lower=[0.05, 0.15], upper=[0.15, 0.25])
    figure, caption = drawn(
        method_curves, pd.concat([table.assign(lower=np.nan, upper=np.nan), banded])
    )
    assert (
        sum(len(line.get_xdata()) > 0 for line in figure.axes[0].lines) == 2
        and len(figure.axes[0].collections) == 1
        and "Bands" in caption
    )
    with pytest.raises(NothingToDraw):
        drawn(method_curves, table.iloc[:0].assign(lower=[], upper=[]))
