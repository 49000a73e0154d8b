"""The built-in demo: what is drawn, that it is drawn the same way again, and that nothing else is
ever mistaken for it.
"""

import json
import threading
from collections import Counter

import numpy as np
import pytest
from PIL import Image

import data
from data import demo
from data.demo_sketch import Sketch, curve, ellipse, ribbon, rotation
from hierarchies import scan_folders


def bytes_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*.jpg"))
    }


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn") / "demo"
    demo.draw_demo(folder, images_per_class=3, progress=False)
    return folder


@pytest.fixture
def own(tmp_path):
    folder = tmp_path / "demo"
    demo.draw_demo(folder, images_per_class=1, progress=False)
    return folder


def test_the_folders_are_24_classes_of_unequal_depth(small):
    hierarchy = scan_folders(small).hierarchy
    assert hierarchy.num_classes == len(demo.SPECIES) == 24
    assert Counter(hierarchy.depth[hierarchy.leaves].tolist()) == {2: 6, 3: 16, 4: 2}
    assert sorted({path[0] for path in hierarchy.class_paths}) == [
        "Ciliates",
        "Copepods",
        "Diatoms",
        "Dinoflagellates",
        "nonliving",
    ]


def test_a_class_is_also_an_inner_folder_and_a_name_has_a_space(small):
    paths = scan_folders(small).hierarchy.class_paths
    assert ("Dinoflagellates", "Tripos", "Tripos furca", ".") in paths
    assert ("Dinoflagellates", "Tripos", "Tripos furca", "Tripos furca duplets") in paths


def test_a_class_has_40_to_60_images_and_not_all_the_same_number():
    counts = demo._counts({"seed": 0, "images_per_class": None})
    assert len(counts) == 24 and len(set(counts.values())) > 5
    assert min(counts.values()) >= 40 and max(counts.values()) <= 60


def test_images_are_grey_jpeg_files_of_the_drawn_size(small):
    files = sorted(small.rglob("*.jpg"))
    assert len(files) == 24 * 3
    for file in files:
        with Image.open(file) as image:
            image.load()
            assert (image.format, image.mode) == ("JPEG", "L")
            assert 15 < min(image.size) and max(image.size) < 400


def test_the_size_in_pixels_tells_classes_apart():
    def sides(name):
        return np.array(
            [np.sqrt(np.prod(demo.draw_image(name, index).size)) for index in range(1, 13)]
        )

    radiatus = sides("Diatoms/Centric discs/Coscinodiscus radiatus")
    calanus = sides("Copepods/Calanoids/Calanus")
    assert np.median(calanus) > 1.4 * np.median(radiatus)
    assert radiatus.max() < np.median(calanus)
    assert radiatus.std() > 2  # but a class has no fixed size


def test_an_image_shows_a_dark_body_on_a_lighter_ground():
    picture = np.asarray(demo.draw_image("Dinoflagellates/Protoperidinium", 1), np.float64)
    height, width = picture.shape
    middle = picture[height * 2 // 5 : height * 3 // 5, width * 2 // 5 : width * 3 // 5]
    assert middle.mean() < np.median(picture[:2]) - 25


def test_a_second_drawing_has_the_same_bytes_and_another_seed_has_not(small, tmp_path):
    demo.draw_demo(tmp_path / "again", images_per_class=3, progress=False)
    demo.draw_demo(tmp_path / "other", images_per_class=3, seed=1, progress=False)
    first, again, other = (
        bytes_of(small),
        bytes_of(tmp_path / "again"),
        bytes_of(tmp_path / "other"),
    )
    assert first == again
    assert first.keys() == other.keys() and all(first[file] != other[file] for file in first)


def test_every_image_is_another_one(small):
    assert len(set(bytes_of(small).values())) == 24 * 3


def test_an_image_does_not_depend_on_how_many_are_drawn(small, own):
    first, fewer = bytes_of(small), bytes_of(own)
    assert len(fewer) == 24 and all(first[file] == content for file, content in fewer.items())


def test_a_complete_demo_is_not_drawn_again(own):
    times = {path: path.stat().st_mtime_ns for path in own.rglob("*.jpg")}
    demo.draw_demo(own, images_per_class=1, progress=False)
    assert times == {path: path.stat().st_mtime_ns for path in own.rglob("*.jpg")}


def test_an_empty_folder_is_drawn_into_and_nothing_is_left_beside_it(tmp_path):
    (tmp_path / "demo").mkdir()
    demo.draw_demo(tmp_path / "demo", images_per_class=1, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


@pytest.mark.parametrize("damage", ["missing", "changed", "not part of it"])
def test_a_damaged_demo_is_refused_with_the_file(own, damage):
    victim = own / "nonliving/bubbles/bubbles_001.jpg"
    if damage == "missing":
        victim.unlink()
    elif damage == "changed":
        victim.write_bytes(victim.read_bytes()[:-40])
    else:
        (own / "nonliving/bubbles/bubbles_002.jpg").write_bytes(victim.read_bytes())
    with pytest.raises(ValueError, match=f"bubbles_00[12].jpg' is {damage}"):
        demo.draw_demo(own, images_per_class=1, progress=False)
    with pytest.raises(ValueError, match=str(own)):
        demo.load({"data_dir": own})


def test_hidden_files_and_notes_beside_the_images_are_no_damage(own):
    (own / ".cache").mkdir()
    (own / ".cache/preview.jpg").write_bytes(b"x")
    (own / "notes.txt").write_text("mine")
    demo.check_demo(own)


def test_a_folder_with_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "mine.jpg").write_bytes(b"mine")
    with pytest.raises(ValueError, match="something else than the demo"):
        demo.load({"data_dir": tmp_path})
    assert [path.name for path in tmp_path.iterdir()] == ["mine.jpg"]


def test_an_unreadable_manifest_and_another_version_are_refused(own):
    manifest = json.loads((own / demo.MANIFEST).read_text())
    (own / demo.MANIFEST).write_text(json.dumps({**manifest, "version": demo.VERSION + 1}))
    with pytest.raises(ValueError, match=f"version {demo.VERSION + 1}"):
        demo.check_demo(own)
    (own / demo.MANIFEST).write_text("{")
    with pytest.raises(ValueError, match="cannot be read"):
        demo.check_demo(own)


def test_a_demo_drawn_with_other_options_is_refused(own):
    with pytest.raises(ValueError, match="was drawn with"):
        demo.draw_demo(own, images_per_class=2, progress=False)
    with pytest.raises(ValueError, match="was drawn with"):
        demo.draw_demo(own, images_per_class=1, seed=5, progress=False)


@pytest.mark.parametrize("options", [{"seed": -1}, {"images_per_class": 0}])
def test_options_out_of_range_are_refused(tmp_path, options):
    with pytest.raises(ValueError, match="seed >= 0 and images_per_class >= 1"):
        demo.draw_demo(tmp_path / "demo", progress=False, **options)


def test_several_may_draw_one_folder_at_once(tmp_path):
    errors = []

    def draw():
        try:
            demo.draw_demo(tmp_path / "demo", images_per_class=1, progress=False)
        except Exception as error:  # shown below
            errors.append(error)

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(demo.check_demo(tmp_path / "demo")["files"]) == 24
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_an_interrupted_drawing_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(root, seed, name, index):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "_draw_file", interrupt)
    with pytest.raises(KeyboardInterrupt):
        demo.draw_demo(tmp_path / "demo", images_per_class=1, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_loading_gives_grey_splits_with_the_living_classes(small):
    splits = data.load({"dataset": "demo", "data_dir": str(small), "use_val": True})
    assert splits.dataset == "demo" and splits.num_classes == 24
    assert splits.channels == 1 and splits.image_size == (32, 32)
    assert splits.living.sum() == 21
    assert {
        path[0] for path, alive in zip(splits.hierarchy.class_paths, splits.living) if not alive
    } == {"nonliving"}
    assert len(splits.missing["train"]) == 0
    assert splits.notes == ()


def test_loading_takes_the_options_of_a_folder(small):
    splits = demo.load(
        {"data_dir": small, "resize": 24, "gray": False, "collapse": True, "nonliving": None}
    )
    assert splits.image_size == (24, 24) and splits.channels == 3
    assert splits.hierarchy.num_classes == 24 and (splits.hierarchy.n_children != 1).all()
    assert splits.living is not None


def test_rotation_turns_counter_clockwise():
    np.testing.assert_allclose(
        np.array([[1.0, 0.0]]) @ rotation(np.pi / 2), [[0.0, 1.0]], atol=1e-12
    )


def test_a_straight_curve_has_its_length_and_a_bent_one_its_end_heading():
    straight, bent = curve((1, 2), 0.0, 3.0, 0.0), curve((0, 0), 0.0, 1.0, np.pi / 2)
    np.testing.assert_allclose(straight[-1], [4, 2])
    np.testing.assert_allclose(np.arctan2(*(bent[-1] - bent[-2])[::-1]), np.pi / 2)


def test_a_ribbon_lies_half_its_width_on_each_side():
    outline = ribbon(np.array([[0.0, 0], [1, 0], [2, 0]]), np.array([0.2, 0.4, 0.2]))
    np.testing.assert_allclose(
        outline, [[0, 0.1], [1, 0.2], [2, 0.1], [2, -0.1], [1, -0.2], [0, -0.1]], atol=1e-12
    )


def test_a_rendered_sketch_is_as_large_as_its_scale_says():
    sketch = Sketch()
    sketch.area(ellipse(1, 1), 0.9)
    small, large = (sketch.render(np.random.default_rng(0), scale) for scale in (20, 80))
    for image, scale in ((small, 20), (large, 80)):
        # margins of 3 to 9 pixels on each side
        assert all(scale + 6 <= side <= scale + 19 for side in image.size)
