"""The command: reports of one run and of many, what is in them, and damage that harms no other
run.
"""

import base64
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from drawable import METRICS, draw, finish, make_epochs
from matplotlib.figure import Figure
from PIL import Image
from recorded import write_run

import figures
import visualize
from data.reading import Reading
from evaluation.images import ImageFolder, image_folder, open_image
from figures import FIGURES
from hierarchies import Hierarchy
from reports import comparison_data, page, tree_data
from reports.compared import Group
from reports.comparison_report import paired_tests
from reports.run_report import read_subject
from runs import records
from runs.folder import Run


class Page(HTMLParser):
    """What a report refers to."""

    def __init__(self, path: Path):
        super().__init__()
        self.tags, self.images, self.links, self.anchors = [], [], [], set()
        content = path.read_text("utf-8")
        self.feed(content)
        self.text = re.sub(r"base64,[^\"]+", "", content)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.images += [attributes["src"]] if tag == "img" else []
        self.links += [attributes["href"]] if "href" in attributes else []
        self.anchors |= {attributes["id"]} if "id" in attributes else set()


FEW = {name: FIGURES[name] for name in ("training_curves", "tanglegram", "mistake_images")}


def draw_few_figures(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(figures, "FIGURES", FEW)


def leave_figures_blank(patch: pytest.MonkeyPatch) -> None:
    """Makes figures, but leaves them blank: that they are drawn is tested in test_figures.py."""

    def write(figure, file, *, format, **options):
        Image.new("RGB", (8, 8)).save(file, format)

    patch.setattr(Figure, "savefig", write)


@pytest.fixture
def blank(monkeypatch):
    """Reports whose figures are blank."""
    leave_figures_blank(monkeypatch)


@pytest.fixture
def few(monkeypatch):
    """Reports of runs with few figures."""
    draw_few_figures(monkeypatch)


@pytest.fixture
def quick(few, blank):
    """Reports of runs with few figures, and blank ones."""


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """Two methods with two seeds each, drawn; the first run with all its figures."""
    folder = tmp_path_factory.mktemp("visualize") / "demo"
    for name, accuracy in (("DR-euc", 0.8), ("NormFace-euc", 0.6)):
        for seed in (1, 2):
            finish(folder.parent, name, seed, accuracy=accuracy + seed / 100)
    with pytest.MonkeyPatch.context() as patch:
        leave_figures_blank(patch)
        with pytest.MonkeyPatch.context() as fewer:
            draw_few_figures(fewer)
            assert draw(folder) == 0
        assert draw(folder / "DR-euc" / "seed1") == 0
    return folder


def test_the_report_of_a_run_shows_every_figure_and_every_measure(record):
    folder = record / "DR-euc" / "seed1"
    page = Page(folder / "report.html")
    drawn = {path.stem for path in (folder / "figures").iterdir()}
    assert drawn == set(FIGURES) - {"mistake_images"}  # the images are not there
    assert len(page.images) == len(drawn)
    for text in (
        *(plan.title for plan in FIGURES.values()),
        *METRICS,
        "demo: DR-euc, seed 1",
        "name its folder with --data_dir",
    ):
        assert text in page.text
    anchors = [link for link in page.links if link.startswith("#")]
    assert len(set(anchors)) == len(anchors)  # a heading each
    tables = page.text[page.text.index("measures of the test split") :]
    rows = re.findall(r"<tr><td class=\"label\">(.*?)</td>", tables[: tables.index("</details>")])
    assert len(rows) >= len(METRICS) and all("data-tip=" in row for row in rows)


def test_a_report_needs_nothing_outside_itself(record):
    for path in record.rglob("report.html"):
        page = Page(path)
        assert all(image.startswith("data:image/png;base64,") for image in page.images)
        assert not {"link", "iframe", "object"} & set(page.tags)
        scripts = re.findall(r"<script>(.*?)</script>", path.read_text("utf-8"), re.DOTALL)
        digests = [
            base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
            for script in scripts
        ]
        assert len(scripts) == 1
        assert all(f"script-src 'sha256-{digest}'" in page.text for digest in digests)
        assert "default-src 'none'; img-src data:" in page.text and not re.search(
            r"https?://", page.text.replace("http://www.w3.org/2000/svg", "")
        )


def test_links_lead_to_files_and_headings_that_exist(record):
    for path in record.rglob("report.html"):
        page = Page(path)
        assert page.links
        for link in page.links:
            assert (
                link[1:] in page.anchors
                if link.startswith("#")
                else (path.parent / unquote(link)).is_file()
            ), link


def test_the_comparison_shows_methods_tests_curves_trees_and_links_the_runs(record):
    page = Page(record / "report.html")
    names = {path.name for path in (record / "figures").iterdir()}
    assert names == {
        "methods.png",
        "heights.png",
        "curves.png",
        "tanglegram_DR.png",
        "tanglegram_NormFace.png",
    }
    # 0.81, 0.82
    assert (
        len(page.images) == 5
        and "Paired tests" in page.text
        and "0.815<small>±0.007</small>" in page.text
    )
    assert page.text.count("the class tree keeps its order") == 2  # one order for all methods
    assert "see the paired differences below" in page.text and "--compare" not in page.text
    assert sum(link.endswith("report.html") for link in page.links) == 4


def test_the_comparison_has_no_figures_but_where_they_are_asked_for(record, tmp_path):
    out = tmp_path / "out"
    assert visualize.main([str(record), "--comparison_only", "--out", str(out)]) == 0
    page = Page(out / "report.html")
    assert [path.name for path in out.iterdir()] == ["report.html"] and not page.images
    assert page.tags.count("script") == 2 and 'data-part="scatter"' in page.text


def test_the_comparison_of_a_collection_of_ones_own_is_called_like_it(tmp_path):
    for name in ("DR-euc", "NormFace-euc"):
        write_run(tmp_path, name, 1, {"accuracy": 0.5}, dataset="folder")
    (tmp_path / "folder").rename(tmp_path / "my plankton")
    assert visualize.main([str(tmp_path / "my plankton"), "--comparison_only"]) == 0
    text = (tmp_path / "my plankton" / "report.html").read_text("utf-8")
    assert "<h1>my plankton: methods compared</h1>" in text and "folder, tree" not in text


def test_trees_that_are_too_long_are_left_out_with_a_word(record, tmp_path, monkeypatch):
    monkeypatch.setattr(tree_data, "MOST", 6)
    assert visualize.main([str(record), "--comparison_only", "--out", str(tmp_path)]) == 0
    page = Page(tmp_path / "report.html")
    assert "Trees of 7 classes are too long" in page.text and 'data-part="trees"' not in page.text


def test_the_numbers_of_the_page_are_those_of_the_runs():
    rows = {"a <b>": (0.5, 0.6, 0.7), "c": (0.6, 0.8)}
    values = pd.DataFrame(
        [
            ("demo", "t", "DR", row, seed, "s", "euc", "f", metric, value)
            for row, numbers in rows.items()
            for seed, value in enumerate(numbers, 1)
            for metric in ("accuracy", "height_accuracy@0", "height_accuracy@1")
        ],
        columns=[*records.ROW, "seed", "split", "similarity", "folder", "metric", "value"],
    )
    curve = {"column": "scale", "epoch": 1, "mean": 2.0}
    epochs = pd.DataFrame([{"options": row, **curve} for row in rows])
    found = comparison_data.group_data(values, ["accuracy", "wtd"], epochs, ["c"])
    assert [m["name"] for m in found["measures"]] == ["accuracy"]
    three, two = (of_row[0] for of_row in found["values"])
    assert three["mean"] == 0.6 and three["lower"] < 0.6 and two["seeds"] == [[1, 0.6], [2, 0.8]]
    assert two["lower"] is None and two["mean"] == 0.7  # two seeds are points
    test = found["tests"][0][1][0]
    assert test["differences"] == [0.1, 0.2] and test["mean"] == 0.15 and test["lower"] is None
    assert found["curves"]["Scale of the scores"] == [{"x": [], "y": []}, {"x": [1], "y": [2.0]}]
    assert found["heights"][0] == {"x": [0], "y": [0.6]} and found["heightRange"] == [0.6, 1.0]
    assert "<" not in page.as_json([found])
    assert not comparison_data.group_data(values, ["accuracy"], epochs, [])["curves"]
    # of measures over each row's own similarity of classes there are no differences
    one = values[values["metric"] == "accuracy"].assign(metric="hs@1")
    for kind, differences in (("euc", [0.1, 0.2]), (one["options"], [])):
        found = comparison_data.group_data(one.assign(similarity=kind), ["hs@1"], epochs, [])
        assert found["tests"][0][1][0]["differences"] == differences


def compared_rows(folder: Path, seeds: dict[str, tuple[int, ...]]) -> Group:
    """Rows with the given seeds and an accuracy that differs by row and seed."""
    for i, (name, numbers) in enumerate(seeds.items()):
        for seed in numbers:
            write_run(
                folder, name, seed, {"accuracy": 0.5 + i / 10 + seed * (i + 1) / 100}, note=name
            )
    return Group("demo", "", records.read_record(folder).values, ["accuracy"])


def test_every_pair_of_a_few_methods_is_tested(record, tmp_path):
    group = compared_rows(
        tmp_path, {"A": (1, 2, 3), "B": (1, 2, 3), "C": (2, 3), "D": (2, 3), "alone": (7,)}
    )
    a, b, c, d = (row for row in group.rows if row != "alone")
    tests, said = paired_tests(group)
    titles = [f"{b} against {a}", f"{c} against {a}", f"{d} against {a}"]
    assert [test.title for test in tests] == [
        *titles,
        f"{c} against {b}",
        f"{d} against {b}",
        f"{d} against {c}",
    ]
    assert [test.notes[0] for test in tests] == [
        "paired seeds: 1, 2, 3",
        *["paired seeds: 2, 3"] * 5,
    ]
    # 0.1 and 0.01 * seed for each step from row to row
    assert [test.rows[0][4] for test in tests] == [
        "0.120",
        "0.250",
        "0.375",
        "0.125",
        "0.250",
        "0.125",
    ]
    assert "every pair" in said and "not for that of pairs" in said
    assert said in Page(record / "report.html").text


@pytest.mark.parametrize(
    ("count", "rows"), [(5, "the other rows"), (10, "the next 8 of 9 other rows")]
)
def test_many_methods_are_tested_against_the_first_one_only(tmp_path, count, rows):
    group = compared_rows(tmp_path, {f"row{i}": (1, 2) for i in range(count)})
    first, *others = group.rows
    tests, said = paired_tests(group)
    assert [test.title for test in tests] == [f"{other} against {first}" for other in others[:8]]
    assert said.startswith(f"{rows} are tested against the first one, {first}, not each other")
    assert "not for that of pairs" in said


def test_methods_without_common_seeds_are_not_tested(tmp_path):
    assert paired_tests(compared_rows(tmp_path, {"A": (1, 2), "B": (2, 3), "C": (4,)}))[0] == []


def test_the_same_run_gives_the_same_bytes(tmp_path, few):
    finish(tmp_path, "DR-euc", 1)
    run = tmp_path / "demo" / "DR-euc" / "seed1"
    contents = []
    for out in ("a", "b"):
        assert draw(run, "--out", tmp_path / out, formats=("pdf", "png")) == 0
        files = sorted(path for path in (tmp_path / out).rglob("*") if path.is_file())
        contents.append({path.relative_to(tmp_path / out): path.read_bytes() for path in files})
    assert contents[0] == contents[1] and len(contents[0]) == 2 * (len(FEW) - 1) + 1
    assert not (run / "figures").exists() and not (run / "report.html").exists()


def test_the_formats_asked_for_are_written_and_linked(tmp_path, quick):
    finish(tmp_path, "DR-euc", 1)
    run = tmp_path / "demo" / "DR-euc" / "seed1"
    assert draw(run, formats=("pdf",)) == 0
    assert {path.suffix for path in (run / "figures").iterdir()} == {".pdf"}
    assert all(
        link.endswith(".pdf")
        for link in Page(run / "report.html").links
        if not link.startswith("#")
    )


def test_damaged_and_unfinished_runs_are_named_and_the_others_drawn(tmp_path, capsys, quick):
    for seed in (1, 2, 3, 4):
        finish(tmp_path, "DR-euc", seed)
    runs = [tmp_path / "demo" / "DR-euc" / f"seed{seed}" for seed in (1, 2, 3, 4)]
    (runs[1] / "test.pkl").write_bytes(b"\x80\x04 cut off")
    (runs[2] / "config.json").write_text("{")
    (runs[3] / "metrics.csv").unlink()
    assert draw(tmp_path / "demo") == 1
    errors = capsys.readouterr().err
    assert all(
        part in errors
        for part in ("seed2/test.pkl", "seed3/config.json", "unfinished: ", "seed4: 6 of 20 epochs")
    )
    assert [(run / "report.html").exists() for run in runs] == [True, False, False, False]
    page = Page(tmp_path / "demo" / "report.html").text
    assert (
        "Left out or damaged" in page
        and "seed3/config.json" in page
        and "seed4: 6 of 20 epochs" in page
    )


def test_a_row_whose_first_run_is_damaged_shows_the_tree_of_the_next(tmp_path, blank):
    for seed in (1, 2):
        finish(tmp_path, "DR-euc", seed)
    (tmp_path / "demo" / "DR-euc" / "seed1" / "test.pkl").unlink()
    assert draw(tmp_path / "demo", "--comparison_only") == 0
    assert (tmp_path / "demo" / "figures" / "tanglegram_DR-euc.png").is_file()
    (tmp_path / "demo" / "DR-euc" / "seed2" / "test.pkl").unlink()
    assert draw(tmp_path / "demo", "--comparison_only") == 0
    assert not (tmp_path / "demo" / "figures" / "tanglegram_DR-euc.png").exists()
    assert "no run can be drawn" in Page(tmp_path / "demo" / "report.html").text


def test_nothing_to_draw_is_an_error_that_names_the_folder(tmp_path, capsys):
    assert draw(tmp_path / "nowhere") == 2
    assert "nowhere" in capsys.readouterr().err
    write_run(tmp_path, "DR-euc", 1)
    assert draw(tmp_path / "demo") == 2
    assert "go on with --resume" in capsys.readouterr().err


def test_a_folder_that_is_no_run_is_refused_before_anything_is_drawn(tmp_path, capsys):
    assert visualize.main([str(tmp_path / "nowhere")]) == 2
    err = capsys.readouterr().err
    assert (
        err.startswith("error: ")
        and "nowhere: there is no such folder" in err
        and "drawing" not in err
    )


def test_runs_named_one_by_one_are_compared_without_the_others(record, tmp_path, quick):
    out = tmp_path / "out"
    assert (
        draw(
            record / "DR-euc" / "seed2",
            record / "NormFace-euc" / "seed1",
            "--out",
            out,
            "--metrics",
            "acc*",
        )
        == 0
    )
    assert sorted(str(path.relative_to(out)) for path in out.rglob("report.html")) == [
        "DR-euc/seed2/report.html",
        "NormFace-euc/seed1/report.html",
        "report.html",
    ]
    page = Page(out / "report.html")
    assert (
        "2 runs of 2 kinds" in page.text
        and "Paired tests" not in page.text
        and "ahc" not in page.text
    )
    assert all((out / unquote(link)).is_file() for link in page.links if not link.startswith("#"))


def test_datasets_and_trees_are_compared_apart(tmp_path, blank):
    other = Hierarchy.from_paths([(f"g{c % 2}", f"c{c}") for c in range(5)])
    finish(tmp_path, "DR-euc", 1)
    finish(tmp_path, "DR-euc", 1, tree=other, dataset="fish & chips")
    assert draw(tmp_path, "--comparison_only") == 0
    page = Page(tmp_path / "report.html")
    assert "fish &amp; chips: Methods" in page.text and len(page.images) == 8
    assert any("fish-chips" in path.name for path in (tmp_path / "figures").iterdir())


def test_flags_that_do_not_fit_are_refused_by_name(record, capsys):
    for flags in (["--comparison_only"], ["--metrics", "accuracy"]):
        assert draw(record / "DR-euc" / "seed1", *flags) == 2
        assert f"{flags[0]} needs several runs" in capsys.readouterr().err
    assert visualize.main([str(record / "DR-euc" / "seed1"), "--format", "pdf"]) == 2
    assert "--format is of the files that --figures draws" in capsys.readouterr().err
    assert draw(record, "--comparison_only", "--metrics", "accurcy") == 2
    assert "did you mean" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_an_error_with_a_way_out(
    record, tmp_path, capsys, quick
):
    (tmp_path / "file").write_text("")
    assert draw(record / "DR-euc" / "seed1", "--out", tmp_path / "file") == 2
    assert "--out DIR" in capsys.readouterr().err


def test_names_of_classes_and_options_cannot_become_part_of_the_page(tmp_path, quick):
    tree = Hierarchy.from_paths(
        [("<img src=x onerror=alert(1)>", "a&b"), ("'\"", "</table><script>")]
    )
    run = finish(tmp_path, "DR-euc", 1, tree=tree, note="<script>alert(2)</script>")
    config = json.loads((run.folder / "config.json").read_text())
    (run.folder / "config.json").write_text(json.dumps({**config, "command": ["<b>", "\udcff"]}))
    assert draw(run.folder) == 0
    page = Page(run.folder / "report.html")
    assert (
        page.tags.count("script") == 3  # the page's own: the library, what it shows, and the code
        and "b" not in page.tags
        and not any(image == "x" for image in page.images)
    )


def test_images_are_found_where_they_are_named_or_training_found_them_or_the_dataset_keeps_them(
    tmp_path,
):
    run = finish(tmp_path, "DR-euc", 1)
    assert image_folder(run, "given").places[0] == Path("given")
    assert image_folder(run, None).places[0] == Path("demo_images")
    config = json.loads((run.folder / "config.json").read_text())
    (run.folder / "config.json").write_text(
        json.dumps({**config, "places": {"data_dir": "/from/training"}})
    )
    assert image_folder(Run(run.folder), None).places[0] == Path("/from/training")
    places = {"data_dir": "/above", "images": "/above/as/downloaded"}
    (run.folder / "config.json").write_text(json.dumps({**config, "places": places}))
    for given in (None, "/above", "/now"):  # with it: the same folder inside another one
        above = Path(given or "/above")
        assert image_folder(Run(run.folder), given).places[:2] == [above, above / "as/downloaded"]
    places["images"] = "/above/../home"
    (run.folder / "config.json").write_text(json.dumps({**config, "places": places}))
    assert all("home" not in str(p) for p in image_folder(Run(run.folder), None).places)
    other = finish(tmp_path, "DR-euc", 2, dataset="my own")
    assert image_folder(other, None).places == []
    with pytest.raises(ValueError, match="--data_dir"):
        open_image("a.png", ImageFolder([]))


def test_pictures_are_small_and_grey_where_the_run_was(tmp_path):
    Image.fromarray(np.full((900, 600, 3), (10, 200, 30), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    assert open_image("a.png", ImageFolder([tmp_path])).shape == (320, 213, 3)
    assert open_image("a.png", ImageFolder([tmp_path], reading=Reading(gray=True))).shape == (
        320,
        213,
    )
    with pytest.raises(ValueError, match=r"broken\.png: this is not an image"):
        open_image("broken.png", ImageFolder([tmp_path]))


def test_the_worst_mistakes_are_shown_where_the_images_are(tmp_path, quick):
    run = finish(tmp_path, "DR-euc", 1)
    images = tmp_path / "images"
    images.mkdir()
    for i in range(40):
        Image.fromarray(np.full((10, 10), i, np.uint8)).save(images / f"{i}.png")
    assert draw(run.folder, "--data_dir", images) == 0
    assert (run.folder / "figures" / "mistake_images.png").is_file()
    assert draw(run.folder, "--data_dir", tmp_path) == 0
    assert not (
        run.folder / "figures" / "mistake_images.png"
    ).exists()  # no figure of an earlier report stays


def test_the_epoch_of_the_results_is_the_first_of_the_best(tmp_path):
    run = finish(tmp_path, "DR-euc", 1)
    assert read_subject(run).best_epoch is None  # last.pt is the result
    config = json.loads((run.folder / "config.json").read_text())
    (run.folder / "config.json").write_text(json.dumps({**config, "result_checkpoint": "best.pt"}))
    table = make_epochs().assign(val_accuracy=[0.1, 0.5, 0.5, np.nan, 0.2, 0.5])
    run.write_table("epochs.csv", table)
    assert read_subject(Run(run.folder)).best_epoch == 2
    run.write_table("epochs.csv", pd.DataFrame({"epoch": [1], "val_accuracy": [np.nan]}))
    assert read_subject(Run(run.folder)).best_epoch is None


def test_pages_wait_for_no_large_library(tmp_path):
    Image.new("L", (9, 9)).save(tmp_path / "0.png")
    places = {"data_dir": str(tmp_path)}
    for name in ("DR-euc", "NormFace-euc"):
        run = finish(tmp_path, name, 1)
        config = json.loads((run.folder / "config.json").read_text())
        (run.folder / "config.json").write_text(json.dumps({**config, "places": places}))
    (run.folder / "last.pt").write_bytes(b"which no page reads")
    script = (
        "import sys, visualize; status = visualize.main(sys.argv[1:])\n"
        "large = {'torch', 'matplotlib', 'skbio', 'mlflow', 'plotly'}\n"
        "print(status, *sorted(large & sys.modules.keys()))"
    )
    root = Path(visualize.__file__).parent
    command = [sys.executable, "-c", script, str(tmp_path / "demo")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0"
    assert not (run.folder / "figures").exists()
    assert not Page(run.folder / "report.html").images
    assert (tmp_path / "demo" / "report.html").is_file()


def test_a_file_in_the_place_of_a_folder_is_refused_before_anything_is_drawn(tmp_path, capsys):
    finish(tmp_path, "DR-euc", 1)
    (tmp_path / "file").touch()
    for flag, path in (("--out", "file"), ("--data_dir", "nowhere")):
        assert visualize.main([str(tmp_path / "demo"), flag, str(tmp_path / path)]) == 2
        error = capsys.readouterr().err
        assert f"{flag} {tmp_path / path}" in error and "drawing" not in error
