"""The model of a run, from its resolved options."""

from collections.abc import Callable, Mapping

import numpy as np
import torch

from files.text import counted
from hierarchies import Hierarchy
from hierarchies.distances import of_lca, path_length
from hierarchies.frame import frame_cosines
from models.backbones import BACKBONES, build_backbone
from models.classifier import Classifier
from models.head import Head
from models.heads import HEADS, build_head
from models.options import HeadOptions
from models.priors import PRIORS, present, prior_from_counts
from models.proxies import cosine_targets, mds_proxies, mds_targets
from models.proxy_heads import ProxyHead
from models.vectors_file import read_vectors


def build_classifier(
    options: Mapping,
    hierarchy: Hierarchy,
    train_counts: np.ndarray,
    channels: int,
    image_size: tuple[int, int],
    made_from: Mapping | None = None,
    soften: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Classifier:
    """Backbone, head and size branch for resolved options; random weights come from torch's global
    generator.

    Args:
        options: By flag name: backbone, rand_backbone, weights, legacy_stem, no_normalize, dim,
            size_inform, and those of the head (see build_head_from).
        hierarchy: Tree of the C classes.
        train_counts: Training images of each class as an epoch draws them, (C,), for the prior.
        channels, image_size: Of the images: 1 or 3; height and width in pixels.
        made_from: What the backbone of a recorded run was made from (`Backbone.made_from`).
        soften: What the loss makes of those counts, see `Loss.marginals`; None for nothing.

    Raises: ValueError: If the options do not fit each other, the images or the file of weights.
        RuntimeError: If pretrained weights are asked for that are neither here nor to be
            downloaded.
    """
    own = () if made_from else BACKBONES.find(options["backbone"]).own_options
    backbone = build_backbone(
        options["backbone"],
        channels=channels,
        dim=HEADS.find(options["method"]).fixed_dim(hierarchy) or options["dim"],
        pretrained=not options["rand_backbone"],
        weights=options["weights"],
        legacy_stem=bool(options["legacy_stem"]),
        normalize=not options["no_normalize"],
        image_size=image_size,
        made_from=made_from,
        **{option.name: options.get(option.name) for option in own},
    )
    head, notes = build_head_from(options, hierarchy, train_counts, soften)
    return Classifier(
        backbone, head, size_inform=options["size_inform"], notes=(*backbone.notes, *notes)
    )


def build_head_from(
    options: Mapping,
    hierarchy: Hierarchy,
    train_counts: np.ndarray,
    soften: Callable[[np.ndarray], np.ndarray] | None = None,
) -> tuple[Head, tuple[str, ...]]:
    """The head for resolved options, and what to tell the user about it.

    Options: method, dim, distance, ema, alpha, mds_W, mds_targets, beta, gamma, mds_solver,
    class_vectors, dynamic, legacy_dynamic, share_parents, prior, tau, lr, seed, and what the head
    alone declares.
    """
    notes = []
    dim = HEADS.find(options["method"]).fixed_dim(hierarchy) or options["dim"]
    proxies, fixed = _proxies(options, hierarchy, dim, notes)
    prior_kind, prior = options.get("prior") or PRIORS.option.default, None
    if prior_kind != "none":
        prior = _prior(train_counts, soften, notes)
    head_options = HeadOptions(
        dim=dim,
        distance=options["distance"],
        proxies=proxies,
        alpha=options["alpha"],
        fixed=fixed,
        dynamic=bool(options["dynamic"]),
        legacy_dynamic=bool(options["legacy_dynamic"]),
        prior=prior,
        prior_kind=prior_kind,
        tau=options.get("tau") or 1.0,
        lr=options["lr"],
        hierarchy=hierarchy,
        share_parents=bool(options.get("share_parents")),
        own=_own_options(options),
    )
    head = build_head(options["method"], hierarchy.num_classes, head_options)
    return head, tuple([*notes, *([head.note] if head.note else [])])


def _proxies(
    options: Mapping, hierarchy: Hierarchy, dim: int, notes: list[str]
) -> tuple[str, torch.Tensor | None]:
    """How the class vectors move, one of `models.options.PROXIES`, and the vectors (C, D) where
    they do not; adds to the notes.
    """
    if options.get("class_vectors"):
        fixed, note = read_vectors(options["class_vectors"], hierarchy)
        notes.append(note)
        if fixed.shape[1] != dim:
            raise ValueError(
                f"--class_vectors {options['class_vectors']} has vectors of {fixed.shape[1]}"
                f" numbers: add --dim {fixed.shape[1]}"
            )
        return "file", fixed
    if options["mds_W"]:
        placed = mds_proxies(
            _targets(options, hierarchy),
            dim,
            distance=options["distance"],
            solver=options["mds_solver"],
            seed=options["seed"],
        )
        notes.append(
            f"class vectors placed by the tree with stress {placed.stress:.2e}: {placed.note}"
        )
        return "mds", placed.weight
    return "ema" if options["ema"] else "gradient", None


def _prior(
    train_counts: np.ndarray,
    soften: Callable[[np.ndarray], np.ndarray] | None,
    notes: list[str],
) -> torch.Tensor:
    """The class prior (C,) of the training images; adds to the notes."""
    if absent := int((np.asarray(train_counts) == 0).sum()):
        notes.append(
            f"{counted(absent, 'class', 'classes')} without training images: one image of each is"
            " assumed in the class prior"
        )
    counts = present(train_counts)
    return prior_from_counts(counts if soften is None else soften(counts))


def _targets(options: Mapping, hierarchy: Hierarchy) -> np.ndarray:
    """The distances (C, C) at which --mds_W places class vectors."""
    kind, distance = options.get("mds_targets") or "path", options["distance"]
    if kind == "path":
        return mds_targets(path_length(hierarchy), options["beta"], distance)
    if kind == "haframe":
        cosines = frame_cosines(hierarchy, options["gamma"])
    else:
        cosines = 1 - hierarchy.height / hierarchy.max_depth
    return cosine_targets(of_lca(hierarchy, cosines), distance)


def rebuild_head(options: Mapping, hierarchy: Hierarchy, state: Mapping[str, torch.Tensor]) -> Head:
    """The head of a recorded run with its weights.

    Args:
        options: Those that the model is rebuilt with.
        hierarchy: Of the run.
        state: The head's state dict.
    """
    tau = options.get("tau") or 1.0
    counts = counts_of_prior(state.get("log_prior"), hierarchy.num_classes, tau)
    head, _ = build_head_from(options, hierarchy, counts)
    head.load_state_dict(state)
    return head


def counts_of_prior(
    log_prior: torch.Tensor | None, num_classes: int, tau: float = 1.0
) -> np.ndarray:
    """Counts of training images that give a recorded class prior again, (C,), which the dynamic
    scale is built with; ones where there is none.
    """
    if log_prior is None:
        return np.ones(num_classes)
    log_prior = log_prior / tau
    return (log_prior - log_prior.min()).double().exp().numpy()


def _own_options(options: Mapping) -> dict[str, object]:
    """Options that the head's class declares beyond those that all proxy heads share."""
    shared = {option.name for option in ProxyHead.options}
    names = [option.name for option in HEADS.find(options["method"]).options]
    return {name: options.get(name) for name in names if name not in shared}
