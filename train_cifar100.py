"""Trains on CIFAR-100 with its tree: 3 kingdoms, 7 groups, 20 superclasses, 100 classes (Kim et al. 2023's settings).

    python train_cifar100.py --data_dir DIR --download --method DR --use_val
    python train_cifar100.py --data_dir DIR --method normface --use_val --mds_W --dynamic --seed 2

DIR holds the folder cifar-100-python of the official archive. Images stay 32 x 32 pixels unless --resize is given;
training images are rotated, sheared, scaled, shifted and mirrored unless --aug none is given.
"""  # noqa: E501

import startup  # isort: skip

from training.start import main

PAPER = {"backbone": "resnet50", "epochs": 100, "batch_size": 32, "lr": 1e-4, "aug": "affine"}
DATASETS = {"CIFAR100": PAPER}

if __name__ == "__main__":
    startup.leave(main(__doc__, DATASETS))
