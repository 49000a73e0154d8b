"""Trains on a folder tree of images: the plankton sets, your own, or the built-in demo (Kim et al. 2023's settings).

python train.py --dataset demo --method DR --use_val
python train.py --dataset MicroS --data_dir plankton/MicroS --method DR --size_inform --use_val --mds_W --dynamic
python train.py --dataset folder --data_dir my_images --method normface --backbone resnet18
"""  # noqa: E501

import startup  # isort: skip

from training.start import main

PLANKTON = {"backbone": "inception", "epochs": 50, "batch_size": 32, "lr": 1e-4}
DATASETS = {
    "demo": {"backbone": "conv4", "epochs": 30, "lr": 1e-3},
    "folder": PLANKTON,
    "MicroS": PLANKTON,
    "MicroL": PLANKTON,
    "MesoZ": PLANKTON,
}

if __name__ == "__main__":
    startup.leave(main(__doc__, DATASETS))
