"""What holds of all datasets: each asks for its folder, and scripts have the papers' settings."""

import importlib

import pytest

import data
from options import command_line

NEED_FOLDER = [name for name in data.DATASETS if data.defaults(name)["data_dir"] is None]
ALL = {"backbone": "resnet50", "epochs": 100, "lr": 1e-4, "dim": 128}
KIM = {**ALL, "batch_size": 32, "aug": "affine"}
URBANI = {**ALL, "schedule": "cosine", "aug": "autoaugment", "subset_seed": None}
SETTINGS = {
    "train_cifar100": {**KIM, "resize": 0},
    "train_nabirds": {**KIM, "resize": 128},
    "train_tinyimagenet": {**URBANI, "batch_size": 512, "resize": 0, "upscale": 0},
    "train_imagenet": {**URBANI, "batch_size": 128, "resize": 224},
    "train_inaturalist": {**URBANI, "batch_size": 128, "resize": 224},
}


@pytest.mark.parametrize("name", NEED_FOLDER)
def test_the_folder_of_the_images_is_asked_for(name):
    fetched = "--download" if "download" in data.defaults(name) else "images: give"
    with pytest.raises(ValueError, match=f"'{name}' needs .*{fetched}.* --data_dir"):
        data.load({"dataset": name})


@pytest.mark.parametrize("script", SETTINGS)
def test_the_papers_settings_are_the_defaults(script):
    datasets = importlib.import_module(script).DATASETS
    options, machine, folder = command_line.parse(["--method", "DR", "--use_val"], "", datasets)
    assert {name: options[name] for name in SETTINGS[script]} == SETTINGS[script]
    assert not machine.get("stream") and not machine.get("download")
    assert folder.as_posix() == f"record/{options['dataset']}/DR-euc-val/seed1"
