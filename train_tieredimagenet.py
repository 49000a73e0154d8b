"""Trains and evaluates one run on tieredImageNet-H (Bertinetto et al. 2020), 608 classes of ImageNet.

    python train_tieredimagenet.py --data_dir ILSVRC --split_lists LISTS --method DR --use_val

ILSVRC is ImageNet as train_imagenet.py takes it, LISTS the folder of the authors' lists, <split>/<wnid>.txt, which name the
classes and the images of each split. Defaults are those of train_imagenet.py.
"""  # noqa: E501

import startup  # isort: skip

from train_imagenet import PAPER
from training.start import main

DATASETS = {"TieredImageNet": PAPER}

if __name__ == "__main__":
    startup.leave(main(__doc__, DATASETS))
