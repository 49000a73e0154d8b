"""Datasets that are told by lists or by the names of folders, on copies of a few images."""

import numpy as np
import pytest
from filed_images import image_bytes, put, shipped_wnids, write_splits

import data
from data.inaturalist2021 import taxa
from data.reading import Reading

SPECIES = (
    "00001_Animalia_Annelida_Clitellata_Haplotaxida_Lumbricidae_Lumbricus_terrestris",
    "00002_Animalia_Annelida_Clitellata_Haplotaxida_Lumbricidae_Lumbricus_rubellus",
    "05000_Plantae_Tracheophyta_Magnoliopsida_Rosales_Rosaceae_Rosa_canina",
)


def load(dataset, root, **options):
    return data.load({"dataset": dataset, "data_dir": str(root), "resize": 16, **options})


def test_inaturalist_2021_reads_all_ranks_from_its_folders(tmp_path):
    counts = {"train_mini": dict.fromkeys(SPECIES, 10), "val": dict.fromkeys(SPECIES, 2)}
    splits = load("iNaturalist2021", write_splits(tmp_path, counts), use_val=True)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (27, 3, 6)
    assert splits.hierarchy.max_depth == 7
    assert splits.hierarchy.class_names[2] == "Rosa canina"
    worm = splits.hierarchy.class_paths[0]
    assert worm[:-1] == ("Animalia", "Annelida", "Clitellata", "Haplotaxida", "Lumbricidae",
                         "Lumbricus")  # fmt: skip
    with pytest.raises(ValueError, match="'00001_Animalia' is not named <number>_kingdom_phylum"):
        taxa(["00001_Animalia"])
    with pytest.raises(ValueError, match="must have the folder val and one of train and train_min"):
        load("iNaturalist2021", tmp_path / "val")


BIRDS = {"1": "001.Black_footed_Albatross", "2": "002.Laysan_Albatross", "3": "012.House_Sparrow"}


def write_cub(root, count=6):
    lists = {name: [] for name in ("images", "image_class_labels", "train_test_split",
                                   "bounding_boxes")}  # fmt: skip
    number = 0
    for label, folder in BIRDS.items():
        for i in range(count):
            number += 1
            put(root / "images" / folder / f"{i}.jpg", image_bytes(number, (40, 20)))
            lists["images"].append(f"{number} {folder}/{i}.jpg")
            lists["image_class_labels"].append(f"{number} {label}")
            lists["train_test_split"].append(f"{number} {int(i < 4)}")
            lists["bounding_boxes"].append(f"{number} 10.0 0.0 20.0 20.0")
    lists["classes"] = [f"{label} {folder}" for label, folder in BIRDS.items()]
    for name, lines in lists.items():
        put(root / f"{name}.txt", "\n".join(lines) + "\n")
    return root


def test_cub_has_its_official_split_groups_by_name_and_boxes(tmp_path):
    root = write_cub(tmp_path / "CUB_200_2011")
    splits = load("CUB", tmp_path)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (12, 0, 6)
    assert splits.hierarchy.class_paths[1] == ("Albatross", BIRDS["2"])
    assert splits.hierarchy.class_names[1] == "Laysan Albatross"
    assert any("which is no taxonomy" in note for note in splits.notes)
    cut = load("CUB", tmp_path, crop_box=0.0)
    assert (cut.pixels[:] != splits.pixels[:]).any() and cut.sizes[0].tolist() == [40, 20]
    tree = put(tmp_path / "tree.csv", "order,label\n" + "".join(
        f"{'Gulls' if 'Alb' in bird else 'Perching'},{bird}\n" for bird in BIRDS.values()
    ))  # fmt: skip
    named = load("CUB", tmp_path, hierarchy=str(tree))
    assert named.hierarchy.class_paths[2][0] == "Perching"
    np.testing.assert_array_equal(named.labels, splits.labels)
    put(root / "train_test_split.txt", "1 1\n")
    with pytest.raises(ValueError, match="train_test_split.txt does not list the image 2"):
        load("CUB", tmp_path)


VARIANTS = {"737-200": ("Boeing", "Boeing 737"), "737-300": ("Boeing", "Boeing 737"),
            "F/A-18": ("McDonnell Douglas", "F/A-18")}  # fmt: skip


def write_aircraft(root, count=4):
    number = 0
    for split in ("train", "val", "test"):
        lists = {"variant": [], "family": [], "manufacturer": []}
        for variant, (maker, family) in VARIANTS.items():
            for _ in range(count):
                number += 1
                put(root / f"images/{number:07}.jpg", image_bytes(number, (60, 50)))
                for level, name in zip(lists, (variant, family, maker)):
                    lists[level].append(f"{number:07} {name}")
        for level, lines in lists.items():
            put(root / f"images_{level}_{split}.txt", "\n".join(lines) + "\n")
    return root


def test_aircraft_has_its_tree_its_splits_and_no_banner(tmp_path):
    root = write_aircraft(tmp_path / "fgvc-aircraft-2013b" / "data")
    splits = load("Aircraft", tmp_path, use_val=True)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (12, 12, 12)
    assert splits.hierarchy.class_paths == (
        ("Boeing", "Boeing 737", "737-200"),
        ("Boeing", "Boeing 737", "737-300"),
        ("McDonnell Douglas", "F/A-18", "F/A-18"),
    )
    whole = data.decoding.read_image(root / splits.files[0], Reading()).pixels
    cut = data.decoding.read_image(
        root / splits.files[0], Reading(resize=16), (0, 0, 60, 30)
    ).pixels
    assert whole.shape[0] == 50
    np.testing.assert_array_equal(splits.pixels[0], cut)
    assert len(load("Aircraft", root).val) == 0  # the folder data itself is taken, too
    (root / "images/0000001.jpg").unlink()
    with pytest.raises(ValueError, match="1 of 36 images are not below"):
        load("Aircraft", root)


def test_tiered_imagenet_reads_lists_of_both_official_splits(tmp_path):
    wnids = shipped_wnids("imagenet")[:3]
    for c, wnid in enumerate(wnids):
        for split, start in (("train", 0), ("val", 4), ("test", 6)):
            names = [f"{wnid}_{start + i}.JPEG" for i in range(4 if split == "train" else 2)]
            if split == "test":
                names[0] = f"ILSVRC2012_val_{c:08}.JPEG"
            put(tmp_path / "lists" / split / f"{wnid}.txt", "\n".join(names) + "\n")
            for i, name in enumerate(names):
                folder = "val" if name.startswith("ILSVRC") else "train"
                put(tmp_path / folder / wnid / name, image_bytes(100 * c + start + i))
    splits = load("TieredImageNet", tmp_path, split_lists=str(tmp_path / "lists"), use_val=True)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (12, 6, 6)
    assert [path[-1].split("/")[-1] for path in splits.hierarchy.class_paths] == wnids
    assert (splits.hierarchy.n_children[1:] != 1).all()
    assert sum(file.startswith("val/") for file in splits.files) == 3
    with pytest.raises(ValueError, match="name their folder with --split_lists"):
        load("TieredImageNet", tmp_path)
    put(tmp_path / "lists/test" / f"{wnids[0]}.txt", "gone.JPEG\n")
    with pytest.raises(ValueError, match="1 of 23 images are not below .*gone.JPEG"):
        load("TieredImageNet", tmp_path, split_lists=str(tmp_path / "lists"))
