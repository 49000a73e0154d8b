"""Trains on NABirds: 555 classes of birds in a tree of orders, families and species (Kim et al. 2023's settings).

    python train_nabirds.py --data_dir nabirds --method DR --use_val
    python train_nabirds.py --data_dir nabirds --method softmax --use_val --split official --crop_boxes

The folder is the official one as downloaded: images and the seven text files that come with them. Images are stretched
to 128 x 128 pixels; training images are rotated, sheared, scaled, shifted and mirrored unless --aug none is given.
"""  # noqa: E501

import startup  # isort: skip

from training.start import main

PAPER = {
    "backbone": "resnet50",
    "epochs": 100,
    "batch_size": 32,
    "lr": 1e-4,
    "aug": "affine",
    "resize": 128,
}
DATASETS = {"NABirds": PAPER}

if __name__ == "__main__":
    startup.leave(main(__doc__, DATASETS))
