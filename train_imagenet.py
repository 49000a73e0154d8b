"""Trains on ImageNet (ILSVRC 2012), 1000 classes in a tree cut from WordNet (Urbani et al. 2024's settings).

    python train_imagenet.py --data_dir DIR --method softmax --use_val
    python train_imagenet.py --data_dir DIR --method softmax --resize 64 --upscale 224 --loss hierarchical \
        --weighting power
    python train_imagenet.py --data_dir DIR --method DR --resize 64 --backbone resnet18 --batch_size 256

DIR holds train and val with a folder for every wnid. val is the test split, and --use_val holds a tenth of train out to
choose the epoch; if there is a folder test with labelled images, that is tested and val chooses the epoch. At 224
pixels images are decoded whenever they are used. --resize 64 keeps them decoded, in 16 GB beside the dataset, and
--upscale 224 then enlarges them as the authors do for what they call ImageNet at 64 pixels.

Defaults are those of the authors' example run (on iNaturalist): ImageNet weights, AutoAugment, Adam with a cosine
schedule; batches of 128 as they have on each of two GPUs. The weights have been trained on the very images, so
--rand_backbone is the fair start; the defaults of their code have it with --lr 5e-3 --schedule none --epochs 30 --aug
none. The tree follows Bertinetto et al. 2020, but some of WordNet's equally long paths were chosen by hand in theirs:
class and node counts agree, a few levels do not; --hierarchy reads theirs. Here, a linear layer to --dim numbers lies
between the network and the class vectors, and the last, smaller batch of an epoch is trained on.
"""  # noqa: E501

import startup  # isort: skip

from training.start import main

PAPER = {
    "backbone": "resnet50",
    "epochs": 100,
    "batch_size": 128,
    "lr": 1e-4,
    "schedule": "cosine",
    "aug": "autoaugment",
}
DATASETS = {"ImageNet": PAPER}

if __name__ == "__main__":
    startup.leave(main(__doc__, DATASETS))
