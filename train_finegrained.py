"""Trains on fine-grained photographs: CUB-200-2011 and FGVC-Aircraft, in their official layouts and splits.

    python train_finegrained.py --dataset CUB --data_dir CUB_200_2011 --hierarchy birds.csv --method DR --use_val
    python train_finegrained.py --dataset Aircraft --data_dir fgvc-aircraft-2013b --method DR --use_val

Aircraft's tree is manufacturer > family > variant, of its own lists, and the banner at the bottom of its images is cut off.
CUB has no tree: --hierarchy names one whose classes are the folders, 001.Black_footed_Albatross; without it species are
grouped by the last word of their names, which is no taxonomy. --crop_box 0.1 cuts CUB's images to their birds.
"""  # noqa: E501

import startup  # isort: skip

from training.start import main

USUAL = {"backbone": "resnet50", "epochs": 100, "batch_size": 64, "lr": 1e-4, "aug": "affine"}
DATASETS = {"CUB": USUAL, "Aircraft": USUAL}

if __name__ == "__main__":
    startup.leave(main(__doc__, DATASETS))
