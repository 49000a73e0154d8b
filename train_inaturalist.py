"""Trains on iNaturalist 2019, 1010 species in a tree of seven ranks (Urbani et al. 2024's settings).

    python train_inaturalist.py --data_dir DIR --method softmax --use_val
    python train_inaturalist.py --data_dir DIR --method softmax --loss hierarchical --weighting power --decay 0.9 \
        --reduction_factor 32 --subset published
    python train_inaturalist.py --data_dir DIR --hierarchy train2019.json --method DR --mds_W --use_val

DIR holds train, val and test (or train_images, ...) with a folder natNNNN for every category, as split by Bertinetto et
al. 2020, and the dataset's categories.json or train2019.json; --hierarchy names that file elsewhere, or another tree
whose classes are natNNNN. Training uses train, testing test; --use_val lets val choose the epoch, and without it val is
not used. The authors both select and report on val: leave the folder test out for that.

Defaults are those of the authors' example run: ImageNet weights, AutoAugment, Adam with a cosine schedule, images
stretched to 224 pixels; batches of 128 as they have on each of two GPUs. That run has --reduction_factor 32 and the
second line's loss, too. Decoded once, the images take 40 GB beside the dataset; --stream saves that and costs time.
Here, a linear layer to --dim numbers lies between the network and the class vectors, and the last, smaller batch of an
epoch is trained on.
"""  # noqa: E501

import startup  # isort: skip

from train_imagenet import PAPER
from training.start import main

DATASETS = {"iNaturalist": PAPER}

if __name__ == "__main__":
    startup.leave(main(__doc__, DATASETS))
