"""Models: backbones that embed images, heads that score embeddings, class vectors placed by the
hierarchy.
"""

from models import backbones
from models.backbones import (
    BACKBONES,
    Backbone,
    build_backbone,
    check_weights,
    has_pretrained,
    is_known,
)
from models.build import build_classifier, counts_of_prior, rebuild_head
from models.classifier import SIZE_INFORM, Classifier, Prototypes, PrototypeSums
from models.freeze import FREEZE, FREEZE_OPTION, freeze, parts
from models.head import Head
from models.heads import HEADS, build_head, check_head_options
from models.options import DISTANCES, HeadOptions
from models.priors import PRIORS, prior_from_counts
from models.proxies import SOLVERS, MDSProxies, mds_proxies, mds_targets, stress
from models.syncnorm import synchronise_batch_norm
from models.timm_networks import is_recalled, recall_backbone
from models.trunk import has_frozen_trunk, split_state, trunk_digest

# of every model, beside those of its head
OPTIONS = (*backbones.OPTIONS, SIZE_INFORM, FREEZE_OPTION)

__all__ = [
    "BACKBONES",
    "DISTANCES",
    "FREEZE",
    "HEADS",
    "OPTIONS",
    "PRIORS",
    "SOLVERS",
    "Backbone",
    "Classifier",
    "Head",
    "HeadOptions",
    "MDSProxies",
    "PrototypeSums",
    "Prototypes",
    "build_backbone",
    "build_classifier",
    "build_head",
    "check_head_options",
    "check_weights",
    "counts_of_prior",
    "freeze",
    "has_frozen_trunk",
    "has_pretrained",
    "is_known",
    "is_recalled",
    "mds_proxies",
    "mds_targets",
    "parts",
    "split_state",
    "prior_from_counts",
    "rebuild_head",
    "recall_backbone",
    "stress",
    "synchronise_batch_norm",
    "trunk_digest",
]
