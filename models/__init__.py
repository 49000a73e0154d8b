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
from models.classifier import SIZE_INFORM, Classifier, PrototypeSums
from models.freeze import FREEZE_OPTION, freeze
from models.head import Head
from models.heads import HEADS, build_head
from models.options import HeadOptions
from models.priors import PRIORS
from models.syncnorm import synchronise_batch_norm
from models.timm_networks import is_recalled, recall_backbone
from models.trunk import has_frozen_trunk, split_state, trunk_digest

# of every model, beside those of its head
OPTIONS = (*backbones.OPTIONS, SIZE_INFORM, FREEZE_OPTION)

__all__ = [
    "BACKBONES",
    "HEADS",
    "OPTIONS",
    "PRIORS",
    "Backbone",
    "Classifier",
    "Head",
    "HeadOptions",
    "PrototypeSums",
    "build_backbone",
    "build_classifier",
    "build_head",
    "check_weights",
    "counts_of_prior",
    "freeze",
    "has_frozen_trunk",
    "has_pretrained",
    "is_known",
    "is_recalled",
    "split_state",
    "rebuild_head",
    "recall_backbone",
    "synchronise_batch_norm",
    "trunk_digest",
]
