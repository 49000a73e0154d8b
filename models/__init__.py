"""Models: backbones that embed images, heads that score embeddings, class vectors placed by the
hierarchy.
"""

from models.backbones import BACKBONES, Backbone, build_backbone, has_pretrained
from models.build import build_classifier
from models.classifier import Classifier, Prototypes, PrototypeSums
from models.freeze import FREEZE, freeze, parts
from models.heads import HEADS, Head, build_head, prior_from_counts
from models.options import DISTANCES, HeadOptions, check_head_options, resolve_method
from models.proxies import SOLVERS, MDSProxies, mds_proxies, mds_targets, stress
from models.syncnorm import synchronise_batch_norm

__all__ = [
    "BACKBONES",
    "DISTANCES",
    "FREEZE",
    "HEADS",
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
    "freeze",
    "has_pretrained",
    "mds_proxies",
    "mds_targets",
    "parts",
    "prior_from_counts",
    "resolve_method",
    "stress",
    "synchronise_batch_norm",
]
