"""Rebuilds the model of a recorded run."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

import models
from data.unlabelled import ModelInput
from evaluation.averaged import mean_scores
from evaluation.coarse import combine
from evaluation.images import recorded_reading
from evaluation.sources import no_prototypes
from runs.files import SCORES, RunError
from runs.folder import Run
from training.devices import Devices
from training.other_gpus import place
from training.rebuild import rebuilding


def load_model(run: Run, checkpoint: str | None = None) -> models.Classifier:
    """The model of a recorded run, on the CPU, from config.json, hierarchy.json and a checkpoint.

    Neither images nor pretrained weights are needed, and class vectors are not placed again.

    Args:
        run: The run; it need not be finished.
        checkpoint: 'best.pt' or 'last.pt'; None is the one that the run's results come from.

    Raises: RunError.
    """
    if run.config.get("source") == SCORES:
        raise RunError(
            f"{run.folder} holds predictions from elsewhere (evaluate.py --scores): there is no"
            " model in it to embed images with"
        )
    run.check_tree()
    name = checkpoint or run.result_checkpoint
    options = rebuilding(run.options)
    side = options.get("upscale") or options.get("resize") or None
    channels = 1 if options.get("gray") else 3
    try:
        state = run.checkpoint(name)["model"]
        prior = state.get("head.log_prior")
        classes, tau = run.hierarchy.num_classes, options.get("tau")
        train_counts = models.counts_of_prior(prior, classes, tau or 1.0)
        made_from = run.config.get("backbone")
        model = models.build_classifier(
            options, run.hierarchy, train_counts, channels, side, made_from
        )
        # what a loss has learned scores no image
        model.load_state_dict({k: v for k, v in state.items() if not k.startswith("loss.")})
    except RunError:
        raise
    except Exception as error:  # odd options of a config.json from elsewhere raise almost anything
        raise RunError(
            f"{run.folder / name} does not fit the model of config.json"
            f" ({type(error).__name__}: {error})"
        ) from error
    return model.eval()


def model_input(run: Run) -> ModelInput:
    """How the model of a run takes its images. Raises: RunError: If only the results say it, and
    there are none, or an option is none that training writes.
    """
    reading = recorded_reading(run)
    if not reading.resize:  # all training images were of one size
        width, height = (int(side) for side in run.arrays("test")["sizes"][0])
        reading = replace(reading, resize=width if width == height else (width, height))
    return ModelInput(reading, run.options.get("upscale") or 0)


def read_prototypes(run: Run) -> torch.Tensor:
    """Prototypes (C, D) of a run, NaN rows for classes without training images. Raises: ValueError,
    RunError.
    """
    head = models.HEADS.get(run.options.get("method"))
    if head is not None and not head.has_proxies:  # it would score by its class vectors instead
        raise ValueError(no_prototypes(run))
    return torch.from_numpy(run.arrays("test")["prototypes"])


class Embedder:
    """Embeds and scores images as evaluation does.

    Args:
        model: From `load_model`.
        devices: To compute on.
        amp: Compute the backbone in bfloat16, as the run did.
        prototypes: (C, D) to score with, instead of the class vectors.

    Raises: ValueError: If amp is asked of several GPUs.
    """

    def __init__(
        self,
        model: models.Classifier,
        devices: Devices,
        amp: bool = False,
        prototypes: torch.Tensor | None = None,
    ):
        if amp and len(devices.gpus) > 1:  # its threads would compute in float16
            raise ValueError(
                "this run was trained with --amp, which does not go with DataParallel: name one GPU"
                " with --GPU"
            )
        self.device, self.amp = devices.main, bool(amp)
        self.autocast_on = devices.of_trunk.type
        place(model, devices)
        self.model = model.eval()
        self.network = (
            nn.DataParallel(model, device_ids=list(devices.gpus))
            if len(devices.gpus) > 1
            else self.model
        )
        self.prototypes = None if prototypes is None else prototypes.to(self.device)

    @property
    def dim(self) -> int:
        """Width of the embeddings."""
        return self.model.dim

    @torch.no_grad()
    def __call__(self, pixels: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings (B, D) and scores (B, C), float32, of uint8 images (B, H, W, channels) of
        original sizes (B, 2).

        Raises: ValueError: If an image has no finite score.
        """
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().to(self.device)
        with torch.autocast(self.autocast_on, torch.bfloat16, enabled=self.amp):
            embeddings = self.network(images, torch.from_numpy(sizes).to(self.device))
        embeddings = embeddings.float()
        scores = self.model.head(embeddings, weight=self.prototypes)
        if not torch.isfinite(scores.amax(dim=1)).all():
            raise ValueError(
                "the model gives scores that are not finite; did its training diverge?"
            )
        return embeddings.cpu().numpy(), scores.cpu().numpy()


class AmendedEmbedder:
    """Two models on the same images: embeddings of the fine one, and scores amended by the coarse
    one, see `evaluation.coarse`.

    Args:
        fine, coarse: Of the two runs.
        above: (C,) coarse class of each class.
    """

    def __init__(self, fine: Embedder, coarse: Embedder, above: np.ndarray):
        self.fine, self.coarse, self.above = fine, coarse, above
        self.model = fine.model

    @property
    def dim(self) -> int:
        """Width of the embeddings."""
        return self.model.dim

    def __call__(self, pixels: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `Embedder`."""
        embeddings, scores = self.fine(pixels, sizes)
        _, others = self.coarse(pixels, sizes)
        return embeddings, combine(scores, others, self.above).astype(np.float32)


class AveragedEmbedder:
    """Several models on the same images: their embeddings side by side, (B, D + D' + ...), and
    scores of which the softmax is their mean posterior, see `evaluation.averaged`.

    Args:
        embedders: Of the runs.
        temperatures: Of each.
    """

    def __init__(self, embedders: Sequence[Embedder], temperatures: Sequence[float]):
        self.embedders, self.temperatures = tuple(embedders), tuple(temperatures)

    @property
    def dim(self) -> int:
        """Width of the embeddings."""
        return sum(embedder.dim for embedder in self.embedders)

    def __call__(self, pixels: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `Embedder`."""
        embeddings, scores = zip(*(embedder(pixels, sizes) for embedder in self.embedders))
        return np.concatenate(embeddings, axis=1), mean_scores(scores, self.temperatures)
