"""Run folders made without training: with given metrics, or with the arrays of a synthetic
classifier.
"""

import numpy as np
import pandas as pd
from trees import TREE

from metrics import evaluate
from runs.folder import FORMAT, Run

OPTIONS = {
    "dataset": "demo",
    "method": "DR",
    "distance": "euc",
    "epochs": 20,
    "amp": False,
    "loss": "ce",
    "beta": None,
}


def write_run(
    record, name, seed, metrics=None, *, tree=TREE, split=None, epochs=20, **options
) -> Run:
    """record/demo/<name>/seed<k>; metrics maps names to values, None leaves the run unfinished."""
    run = Run(record / options.get("dataset", "demo") / name / f"seed{seed}")
    method = "normface" if name.startswith("NormFace") else "DR"
    options = {**OPTIONS, "method": method, "seed": seed, **options}
    run.write_json("hierarchy.json", tree.to_dict())
    identity = {"hierarchy": tree.digest, "split": f"split{seed}" if split is None else split}
    run.write_json(
        "config.json",
        {"format": FORMAT, "options": options, **identity, "result_checkpoint": "last.pt"},
    )
    run.write_table("epochs.csv", pd.DataFrame({"epoch": range(1, epochs + 1)}))
    if metrics is not None:
        table = pd.DataFrame(
            {"metric": list(metrics), "value": list(metrics.values()), "n": 100, "undefined": 0}
        )
        table.loc[table["value"].isna(), ["n", "undefined"]] = 0, 100
        run.write_table("metrics.csv", table)
    return run


def make_arrays(tree=TREE, samples=120, dim=8, seed=0, proxies=True) -> dict[str, np.ndarray]:
    """What training would record: noisy embeddings around random class vectors; class 0 has no
    images at all.
    """
    rng = np.random.default_rng(seed)
    classes = tree.num_classes
    labels = rng.integers(1, classes, samples)
    vectors = rng.standard_normal((classes, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    embeddings = (vectors[labels] + 0.5 * rng.standard_normal((samples, dim))).astype(np.float32)
    prototypes = vectors.copy()
    prototypes[0] = np.nan
    arrays = {"labels": labels, "embeddings": embeddings, "scores": 10 * embeddings @ vectors.T}
    arrays |= {"class_vectors": vectors, "prototypes": prototypes}
    arrays |= {"files": np.array([f"{i}.jpg" for i in range(samples)])}
    if proxies:
        arrays["prototype_scores"] = np.where(
            np.arange(classes) == 0, -np.inf, arrays["scores"]
        ).astype(np.float32)
    return arrays


def write_whole_run(record, name="DR-euc", seed=1, tree=TREE, val=False, **options) -> Run:
    """A finished run with test.pkl, and metrics.csv as training computes it."""
    run = write_run(record, name, seed, tree=tree, **options)
    run.write_arrays("test", make_arrays(tree, seed=seed))
    if val:
        run.write_arrays("val", make_arrays(tree, seed=seed + 1000))
    run.write_table("metrics.csv", evaluate(run.outputs("test")))
    return run


def run_main(main, capsys, *argv) -> tuple[int, str, str]:
    """Calls a script's main; returns the exit status, what it printed, and what it complained
    about.
    """
    try:
        status = main([str(argument) for argument in argv])
    except SystemExit as stop:
        status = stop.code
    return status, *capsys.readouterr()
