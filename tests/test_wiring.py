"""What the training loop wires together. A formula's test does not show that the loop calls it:
each test here has an absolute expectation that fails if its line is taken out of the loop.
"""

import copy
import math
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close
from trees import TREE
from waiting import PATIENCE

import train
from data import Splits
from data.mixing import Mixture
from evaluation.model import load_model
from hierarchies import Hierarchy
from metrics import METRICS, Outputs
from models import HEADS, build_classifier
from models.priors import prior_from_counts
from optimization.choosing import CHOICES, Choice
from options import command_line
from runs.folder import FORMAT, Run
from training import experiment, loop
from training.devices import Devices
from training.setup import assemble
from training.team import ALONE, Team

CPU = Devices(torch.device("cpu"))
PER_CLASS = (14, 4, 8, 6, 4, 4, 5)  # images of each class of TREE: 45, of which 33 train
STEPS = 4  # of 8 images: the last batch takes in the one image that would be left over


def draw_splits(size=16):
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(7), PER_CLASS)
    count = len(labels)
    pixels = generator.integers(0, 256, (count, size, size, 1), dtype=np.uint8)
    pixels[:, : size // 2] //= 8
    pixels[:, : size // 2] += (30 * labels).astype(np.uint8)[:, None, None, None]
    order = generator.permutation(count)
    train, val, test = np.split(order, [33, 39])
    files = [f"{i}.png" for i in range(count)]
    return Splits("drawn", TREE, files, labels, np.full((count, 2), 8.0), pixels, train, val, test)


SPLITS = draw_splits()


class Memory:
    """A run's folder that only remembers."""

    def __init__(self):
        self.checkpoints, self.saved, self.lines = {}, [], []

    def save_checkpoint(self, name, content):
        self.saved.append((name, content["epoch"]))
        self.checkpoints[name] = copy.deepcopy(content)

    def write_epochs(self, history):
        self.epochs = copy.deepcopy(history)

    def log(self, line):
        self.lines.append(line)


def build(*flags, method="DR"):
    argv = ["--dataset", "folder", "--data_dir", "none", "--method", method, "--gray"]
    argv += ["--backbone", "conv4", "--batch_size", "8", "--lr", "0.01", *flags]
    argv += [] if HEADS[method].sets_dim else ["--dim", "8"]
    argv = argv if "--epochs" in flags else [*argv, "--epochs", "3"]
    options, machine, _ = command_line.parse(argv, "", train.DATASETS)
    machine["GPU"] = "cpu"
    return assemble(options, SPLITS, experiment._choose_devices(options, machine, ALONE))


def fit(*flags, method="DR", splits=SPLITS):
    training, record = build(*flags, method=method), Memory()
    loop.fit(training, splits, record)
    return training, record


def column(record, name):
    return [row[name] for row in record.epochs]


def test_the_learning_rate_falls_as_the_schedule_says():
    cosine = [0.01 * (1 + math.cos(math.pi * epoch / 3)) / 2 for epoch in range(3)]
    assert column(fit("--schedule", "cosine")[1], "lr") == pytest.approx(cosine)
    assert column(fit("--schedule", "step")[1], "lr") == pytest.approx([0.01, 0.001, 0.0001])
    assert column(fit()[1], "lr") == [0.01] * 3


def test_the_learning_rate_of_the_table_is_that_of_the_optimizer(monkeypatch):
    used, step = [], torch.optim.Adam.step

    def spy(self, *arguments, **keywords):
        used.append(self.param_groups[0]["lr"])
        return step(self, *arguments, **keywords)

    monkeypatch.setattr(torch.optim.Adam, "step", spy)
    _, record = fit("--schedule", "step")
    assert used == pytest.approx(np.repeat(column(record, "lr"), STEPS))


def test_the_rate_of_the_dynamic_scale_follows_the_schedule():
    training, record = fit("--dynamic", "--schedule", "step")
    assert training.model.head.dynamic_scale.lr == pytest.approx(0.0001)
    # one step of Adam moves the logarithm of the scale by at most its rate, about 1 at the start
    moves = np.abs(np.diff(np.log([_start_scale(), *column(record, "scale")])))
    assert 0 < moves[2] < 0.0001 * STEPS * 1.1 < moves[0] < 0.01 * STEPS * 1.1


def _start_scale():
    return build("--dynamic").model.head.scale


def test_the_first_epochs_are_of_cross_entropy_where_asked_and_no_more():
    options = ("--loss", "hierarchical", "--weighting", "power", "--decay", "0.3")
    switched = column(fit(*options, "--switch_epoch", "1")[1], "train_loss")
    plain, tree = (column(fit(*flags)[1], "train_loss") for flags in ((), options))
    assert switched[0] == plain[0] and switched[0] != tree[0]
    assert abs(switched[1] - plain[1]) > 0.01


def test_a_loss_is_one_kernel_only_where_that_is_asked_for():
    assert build("--loss", "hxe", "--fused_loss").loss.kernel.name == "path_losses"
    assert build("--loss", "hxe").loss.kernel is None
    of_levels = build("--loss", "hxe", "--fused_loss", method="levels").loss.parts
    assert {level.kernel.name for level in of_levels} == {"path_losses"}
    assert build("--no_graphs").devices.graphs is False and build().devices.graphs is True


def test_augmentation_reaches_the_network():
    assert abs(_first_loss("--aug") - _first_loss()) > 1e-3


def _first_loss(*flags):
    return column(fit(*flags, "--epochs", "1")[1], "train_loss")[0]


def test_augmentation_is_drawn_anew_in_each_epoch(monkeypatch):
    seen = []
    original = loop.data.augmenter

    def spy(options):
        def apply(images, generator):
            seen.append(torch.rand(1, generator=copy_of(generator)).item())
            return original(options)(images, generator)

        return apply

    monkeypatch.setattr(loop.data, "augmenter", spy)
    fit("--aug", "--epochs", "2")
    assert len(set(seen)) == len(seen) == 2 * STEPS


def copy_of(generator):
    other = torch.Generator()
    other.set_state(generator.get_state())
    return other


def test_no_image_is_left_alone_in_a_batch_and_each_is_seen_once(monkeypatch):
    seen, original = [], loop._forward_backward

    def spy(training, batch, sizes, total):
        assert len(batch.images) == len(batch.targets) == total
        seen.append(batch.targets)
        return original(training, batch, sizes, total)

    monkeypatch.setattr(loop, "_forward_backward", spy)
    fit("--epochs", "1")
    assert [len(targets) for targets in seen] == [8, 8, 8, 9] and len(seen) == STEPS
    counts = torch.bincount(torch.cat(seen), minlength=7).tolist()
    assert counts == np.bincount(SPLITS.labels[SPLITS.train], minlength=7).tolist()


def test_the_network_of_a_short_training_is_the_one_that_was_trained():
    """Batch norm evaluates with what it met, not with the 0 and 1 that it was made with."""
    training, _ = fit("--batch_size", "33", "--epochs", "1", "--lr", "1e-9")  # one step
    images = torch.from_numpy(SPLITS.pixels[SPLITS.train]).permute(0, 3, 1, 2)
    with torch.no_grad():
        trained, evaluated = (training.model.train(mode)(images) for mode in (True, False))
    assert_close(evaluated, trained, atol=0.02, rtol=0.02)


def test_the_order_of_the_images_changes_with_the_epoch_and_the_seed(monkeypatch):
    seen, original = [], loop._forward_backward

    def spy(training, batch, sizes, total):
        seen.append(batch.images.double().sum().item())
        return original(training, batch, sizes, total)

    monkeypatch.setattr(loop, "_forward_backward", spy)
    fit("--epochs", "2")
    first, second = seen[:STEPS], seen[STEPS:]
    fit("--epochs", "1", "--seed", "2")
    assert first != second and sum(first) == pytest.approx(sum(second))
    assert seen[2 * STEPS :] != first
    fit("--epochs", "1")
    assert seen[3 * STEPS :] == first


VALUES = [0.25, 0.5, 0.5, 0.4, 0.75, 0.75]
BEST = {"loss": [1]}  # of the same values; the others are better where they are larger


def validate_as(monkeypatch, choose, values):
    """Each epoch's validation measure is what is given, and accuracy says the opposite."""
    rows = ({"val_accuracy": 1 - value, f"val_{choose}": value} for value in values)
    monkeypatch.setattr(loop, "_validate", lambda *_: next(rows))


@pytest.mark.parametrize("choose", list(CHOICES))
def test_the_first_of_equal_best_epochs_is_kept(monkeypatch, choose):
    validate_as(monkeypatch, choose, VALUES)
    training, record = fit("--use_val", "--epochs", "6", "--choose", choose)
    saved = [epoch for name, epoch in record.saved if name == "best.pt"]
    assert saved == BEST.get(choose, [1, 2, 5]) and training.best_epoch == saved[-1]


def test_the_accuracy_chooses_where_nothing_else_is_asked_for(monkeypatch):
    validate_as(monkeypatch, "accuracy", VALUES)
    training, _ = fit("--use_val", "--epochs", "6")
    assert training.options["choose"] is None and training.best_epoch == 5


def test_training_ends_when_no_better_epoch_comes(monkeypatch):
    flags = ("--use_val", "--epochs", "9", "--choose", "macro_f1", "--patience", "2")
    validate_as(monkeypatch, "macro_f1", [0.1, 0.3, 0.3, 0.2, 0.9])
    training, record = fit(*flags)
    assert column(record, "epoch") == [1, 2, 3, 4] and training.best_epoch == 2
    assert record.checkpoints["last.pt"]["epoch"] == 4
    assert "stopped after epoch 4: val_macro_f1 was best in epoch 2" in record.lines[-1]
    resumed, after = build(*flags), Memory()
    resumed.restore(record.checkpoints["last.pt"])
    loop.fit(resumed, SPLITS, after)
    assert resumed.epoch == 4 and not after.saved  # nothing is left to train


def test_what_chooses_is_measured_on_the_validation_images():
    training, record = fit("--use_val", "--epochs", "1")
    model = training.model.eval()
    images = torch.from_numpy(SPLITS.pixels[SPLITS.val]).permute(0, 3, 1, 2)
    with torch.no_grad():
        scores = model.head(model.embed(images))
        vectors = model.head.weight.numpy()
    labels = SPLITS.labels[SPLITS.val]
    row, embeddings = record.epochs[0], np.zeros((len(labels), 8))
    outputs = Outputs(TREE, labels, scores.numpy(), embeddings, vectors, vectors)
    for name in CHOICES.keys() - {"loss"}:
        assert row[f"val_{name}"] == pytest.approx(METRICS[name](outputs).value), name
    expected = F.cross_entropy(scores, torch.from_numpy(labels)).item()
    assert row["val_loss"] == pytest.approx(expected, rel=1e-5)


def test_a_measure_that_chooses_the_epoch_is_one_row(monkeypatch):
    monkeypatch.setitem(CHOICES, "macro_precision", Choice("of the answers, by class"))
    training, record = fit("--use_val", "--epochs", "2", "--choose", "macro_precision")
    measured = column(record, "val_macro_precision")
    assert training.best_epoch == 1 + measured.index(max(measured))


def test_every_epoch_is_saved_with_what_resuming_needs():
    _, record = fit()
    assert [entry for entry in record.saved if entry[0] == "last.pt"] == [
        ("last.pt", epoch) for epoch in (1, 2, 3)
    ]
    half, memory = build(), Memory()
    stopped = {**half.options, "epochs": 2}
    half.options = stopped
    loop.fit(half, SPLITS, memory)
    rest, after = build(), Memory()
    rest.restore(memory.checkpoints["last.pt"])
    loop.fit(rest, SPLITS, after)
    assert after.epochs == record.epochs


def test_penalties_are_part_of_what_is_minimised():
    training, record = fit("--weight_decay", "0.5", "--hr", "0.1", "--epochs", "1")
    free, _ = fit("--epochs", "1")
    assert record.epochs[0]["penalty_weight_decay"] > 0 and record.epochs[0]["penalty_hr"] > 0

    def size(model):
        return sum(float(p.detach().square().sum()) for p in model.backbone.parameters())

    assert size(training.model) < size(free.model)


def test_moving_averages_see_the_whole_batch_after_the_step():
    training, _ = fit("--ema", "--alpha", "1", "--epochs", "1")
    head = training.model.head
    # with alpha 1 a class vector is the mean direction of the class in the last batch that had it
    assert head.seen[torch.from_numpy(SPLITS.labels[SPLITS.train])].all()
    torch.testing.assert_close(head.weight.norm(dim=1), torch.ones(7))
    start = build("--ema", "--alpha", "1").model.head.weight
    assert (head.weight - start).norm(dim=1).min() > 1e-3


def test_the_head_is_told_after_the_optimizers_step_with_the_embeddings_before_it(monkeypatch):
    training, told = build("--ema", "--epochs", "1"), []
    original, step = type(training.model.head).update_after_step, training.optimizer.step

    def spy(head, embeddings, targets):
        told.append(("head", len(embeddings), len(targets)))
        return original(head, embeddings, targets)

    def count(*arguments, **keywords):
        told.append(("optimizer",))
        return step(*arguments, **keywords)

    monkeypatch.setattr(type(training.model.head), "update_after_step", spy)
    monkeypatch.setattr(training.optimizer, "step", count)
    loop.fit(training, SPLITS, Memory())
    assert told == [
        entry for size in (8, 8, 8, 9) for entry in (("optimizer",), ("head", size, size))
    ]


def test_the_class_prior_is_that_of_the_training_images():
    head = build("--clspri", "--dynamic").model.head
    expected = prior_from_counts(np.bincount(SPLITS.labels[SPLITS.train], minlength=7))
    torch.testing.assert_close(head.log_prior.exp(), expected)
    torch.testing.assert_close(head.dynamic_scale.prior, expected)


def test_the_loss_of_the_table_is_the_mean_over_images_and_not_over_batches(monkeypatch):
    values, original = [], loop._forward_backward

    def spy(training, batch, sizes, total):
        embeddings, scores, terms = original(training, batch, sizes, total)
        values.append((terms["loss"].item(), len(batch.targets)))
        return embeddings, scores, terms

    monkeypatch.setattr(loop, "_forward_backward", spy)
    _, record = fit("--epochs", "1", method="softmax")
    losses, sizes = np.array(values).T
    assert record.epochs[0]["train_loss"] == pytest.approx((losses * sizes).sum() / 33)
    assert abs(losses.mean() - record.epochs[0]["train_loss"]) > 1e-4


def test_no_epoch_leaves_the_network_as_it_starts():
    training, record = fit("--epochs", "0")
    assert record.saved == [("last.pt", 0)]
    for name, tensor in build("--epochs", "0").model.state_dict().items():
        torch.testing.assert_close(training.model.state_dict()[name], tensor)


def test_predicting_restores_the_prior_that_the_dynamic_scale_was_built_with(tmp_path):
    # 24 classes have a starting scale, so few effective ones (1 / sum of squared priors) none
    tree = Hierarchy.from_paths([(f"class {c:02}",) for c in range(24)])
    counts = np.where(np.arange(24) < 4, 50, 1)
    argv = ["--dataset", "folder", "--data_dir", "none", "--method", "normface", "--dynamic"]
    argv += ["--clspri", "--backbone", "conv4", "--dim", "4", "--gray", "--resize", "16"]
    options, _, _ = command_line.parse(argv, "", train.DATASETS)
    model = build_classifier(options, tree, counts, 1, (16, 16))
    assert model.head.dynamic_scale is None and model.head.note
    run = Run(tmp_path / "run")
    run.clear()
    run.write_json("hierarchy.json", tree.to_dict())
    made = {"options": options, "hierarchy": tree.digest, "result_checkpoint": "last.pt"}
    run.write_json("config.json", {"format": FORMAT, **made})
    run.save_checkpoint("last.pt", {"model": model.state_dict(), "epoch": 1})
    restored = load_model(Run(run.folder))
    assert restored.head.dynamic_scale is None
    torch.testing.assert_close(restored.head.log_prior, model.head.log_prior)


class Threads(Team):
    """A process of a team that is a thread: they meet where rows are gathered."""

    def meet(self, place, barrier):
        object.__setattr__(self, "place", place)
        object.__setattr__(self, "barrier", barrier)
        return self

    def gather_rows(self, tensor, total):
        self.place[self.rank] = tensor
        self.barrier.wait(PATIENCE)
        rows = torch.cat([self.place[rank] for rank in range(self.size)])
        self.barrier.wait(PATIENCE)
        return rows


@pytest.mark.parametrize("images", [9, 1])  # of one, the second process has none
@pytest.mark.parametrize(
    "method, flags",
    [
        ("levels", ("--unit_rows", "--loss", "haf", "--haf_margin", "0.01")),
        ("hiercos", ("--transform_blocks", "0", "--loss", "hiercos", "--hiercos_alpha", "1")),
    ],
)
def test_a_loss_that_compares_images_sees_the_whole_batch_in_every_process(method, flags, images):
    rows = SPLITS.train[:images]
    pixels = torch.from_numpy(SPLITS.pixels[rows].transpose(0, 3, 1, 2).copy())
    labels, sizes = torch.from_numpy(SPLITS.labels[rows]), torch.from_numpy(SPLITS.sizes[rows])

    options = (*flags, "--freeze", "butlast", "--rand_backbone")
    made = [build(*options, method=method) for _ in range(3)]  # threads share random numbers

    def step(team, training):
        training.team, part = team, torch.from_numpy(team.my_share(np.arange(images)))
        training.model.train()
        batch = Mixture(pixels[part], labels[part], labels[part])
        terms = loop._forward_backward(training, batch, sizes[part], images)[2]
        named = training.model.named_parameters()
        return terms["loss"], {name: p.grad for name, p in named if p.requires_grad}

    expected, slopes = step(ALONE, made[2])
    place, barrier = {}, threading.Barrier(2)
    teams = [Threads(rank, 2, rank).meet(place, barrier) for rank in range(2)]
    with ThreadPoolExecutor(2) as threads:
        (one, of_one), (two, of_two) = threads.map(step, teams, made)
    assert_close(torch.stack([one, two]), expected.expand(2))
    for name, slope in slopes.items():
        assert_close((of_one[name] + of_two[name]) / 2, slope, rtol=1e-4, atol=1e-6)
