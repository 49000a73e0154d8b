"""Trains and evaluates one run on iNaturalist 2021, with the seven ranks that its folders are named by.

    python train_inaturalist2021.py --data_dir DIR --method DR --use_val

DIR holds the archives as they unpack: train or train_mini, and val, which is tested; --use_val holds a tenth of the
training images out to choose the epoch. Defaults are those of train_inaturalist.py.
"""  # noqa: E501

import startup  # isort: skip

from train_imagenet import PAPER
from training.start import main

DATASETS = {"iNaturalist2021": PAPER}

if __name__ == "__main__":
    startup.leave(main(__doc__, DATASETS))
