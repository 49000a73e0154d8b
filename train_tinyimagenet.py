"""Trains on TinyImageNet, 200 classes at 64 x 64 pixels in a tree cut from WordNet (Urbani et al. 2024's settings).

    python train_tinyimagenet.py --data_dir DIR --download --method softmax --use_val
    python train_tinyimagenet.py --data_dir DIR --method softmax --loss hierarchical --weighting power \
        --reduction_factor 8
    python train_tinyimagenet.py --data_dir DIR --method DR --mds_W --collapse --use_val

DIR holds, or with --download gets, the folder tiny-imagenet-200 of the original archive. The official val is the test
split; --use_val holds a tenth of train out to choose the epoch. The authors used val for both: leave --use_val out for
their protocol, which tests the last epoch on it. 223 of the tree's 318 inner nodes have a single child: --collapse
drops them.

Defaults are those of the authors' example run (on iNaturalist): ImageNet weights, AutoAugment, Adam with a cosine
schedule; batches of 512 as they have on each of two GPUs. The defaults of their code are --rand_backbone --lr 5e-3
--schedule none --epochs 30 --aug none. They train on 1/32 of the images unless told otherwise: --reduction_factor 32,
with --subset published for a draw that does not look at classes. Here, a linear layer to --dim numbers lies between the
network and the class vectors, and the last, smaller batch of an epoch is trained on.
"""  # noqa: E501

import startup  # isort: skip

from train_imagenet import PAPER
from training.start import main

DATASETS = {"TinyImageNet": {**PAPER, "batch_size": 512}}

if __name__ == "__main__":
    startup.leave(main(__doc__, DATASETS))
