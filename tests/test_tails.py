"""Long tails: training splits made long-tailed, balanced epochs, priors, measures by frequency."""

import json
from math import exp, log

import numpy as np
import pytest
import torch
from scored_outputs import random_scores, scored
from test_coarse_labels import A2
from test_wiring import SPLITS, build, fit
from trees import TREE

import data
import train
from data import Batches
from data.tails import draw, draw_weights, drawn_counts, make_imbalanced
from losses import build_loss
from metrics.flat import frequency_accuracies
from models import HeadOptions, build_head
from options import command_line
from runs.folder import Run
from training import loop


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def flat_splits(per_class=100, classes=7):
    labels = np.repeat(np.arange(classes), per_class)
    count = len(labels)
    order = np.arange(count)
    pixels = np.zeros((count, 2, 2, 1), np.uint8)
    part = order % 10 == 9
    return data.Splits(
        "drawn", TREE, [f"{i}.png" for i in order], labels, np.full((count, 2), 2.0), pixels,
        order[~part], [], order[part],
    )  # fmt: skip


def test_the_long_tail_is_exponential_from_all_images_to_one_in_ratio():
    splits = flat_splits()
    tailed = make_imbalanced(splits, 30.0, seed=3)
    counts = np.sort(tailed.train_counts)[::-1]
    # 90 images a class: 90 * 30^(-k/6), rounded
    assert counts.tolist() == [90, 51, 29, 16, 9, 5, 3]
    assert tailed.test.tolist() == splits.test.tolist()
    assert set(tailed.train) <= set(splits.train)
    assert tailed.train.tolist() == make_imbalanced(splits, 30.0, seed=3).train.tolist()
    other = make_imbalanced(splits, 30.0, seed=4)
    assert other.train_counts.tolist() != tailed.train_counts.tolist()
    assert any("--imbalance 30" in note for note in tailed.notes)


def test_of_unequal_classes_the_smallest_sets_the_profile_and_one_image_stays():
    tailed = make_imbalanced(SPLITS, 50.0, seed=0)
    smallest = SPLITS.train_counts.min()
    assert tailed.train_counts.max() == smallest and tailed.train_counts.min() == 1


def test_draw_weights_by_hand():
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1])  # 4 and 9
    assert draw_weights("none", TREE, labels) is None
    by_class = draw_weights("class", TREE, labels)
    np.testing.assert_allclose(by_class[0] / by_class[-1], 9 / 4)
    by_root = draw_weights("sqrt", TREE, labels)
    np.testing.assert_allclose(by_root[0] / by_root[-1], 3 / 2)
    np.testing.assert_allclose([by_class.mean(), by_root.mean()], 1.0)
    np.testing.assert_allclose(drawn_counts("class", TREE, labels)[:2], 13 / 2)
    np.testing.assert_allclose(drawn_counts("sqrt", TREE, labels)[:2], [13 * 0.4, 13 * 0.6])
    assert drawn_counts("none", TREE, labels).tolist() == [4, 9, 0, 0, 0, 0, 0]


def test_an_image_of_a_superclass_is_drawn_as_those_below_it_on_average():
    labels = np.array([1, 1, 1, 4, A2, A2, A2, A2])  # counts 3 + 3 and 1 + 1
    weights = draw_weights("class", TREE, labels)
    expected = np.array([1 / 6] * 3 + [1 / 2] + [0.75 / 6 + 0.25 / 2] * 4)
    np.testing.assert_allclose(weights, expected / expected.mean())
    np.testing.assert_allclose(drawn_counts("class", TREE, labels).sum(), 8)


def test_equal_weights_draw_every_image_once_and_others_as_often_as_they_say():
    assert sorted(draw(np.ones(50), generator())) == list(range(50))
    weights = np.array([4.0, 2.5, 1.0, 0.25, 0.25])
    for seed in range(20):
        times = np.bincount(draw(weights, generator(seed)), minlength=5)
        expected = weights * 5 / weights.sum()
        assert times.sum() == 5
        assert ((times >= np.floor(expected)) & (times <= np.ceil(expected))).all()
    mean = np.mean(
        [np.bincount(draw(weights, generator(s)), minlength=5) for s in range(2000)], axis=0
    )
    np.testing.assert_allclose(mean, weights * 5 / weights.sum(), atol=0.05)
    assert draw(weights, generator(1)).tolist() == draw(weights, generator(1)).tolist()


def test_a_balanced_epoch_is_as_long_and_the_same_for_all_processes():
    labels = SPLITS.labels[SPLITS.train]
    weights = draw_weights("class", TREE, labels)
    whole = Batches(SPLITS, SPLITS.train, 8, shuffle_seed=5, weights=weights)
    plain = Batches(SPLITS, SPLITS.train, 8, shuffle_seed=5)
    assert whole.totals == plain.totals
    targets = torch.cat([targets for *_, targets in whole])
    present = np.unique(labels)
    times = np.bincount(targets.numpy(), minlength=7)[present]
    assert times.max() - times.min() <= 3 < np.ptp(np.bincount(labels)[present])
    halves = [
        Batches(SPLITS, SPLITS.train, 8, shuffle_seed=5, weights=weights,
                part=lambda positions, k=k: np.array_split(positions, 2)[k])
        for k in (0, 1)
    ]  # fmt: skip
    for both, one, two in zip(whole, *halves):
        assert both[2].tolist() == [*one[2].tolist(), *two[2].tolist()]


def test_the_loop_draws_what_balance_says(monkeypatch):
    told = []
    original = loop._forward_backward

    def spy(training, batch, sizes, total):
        told.append(batch.targets)
        return original(training, batch, sizes, total)

    monkeypatch.setattr(loop, "_forward_backward", spy)
    fit("--epochs", "1", "--balance", "class")
    times = np.bincount(torch.cat(told).numpy(), minlength=7)
    assert times.sum() == len(SPLITS.train) and np.ptp(times) <= 3


def head_with(kind, tau=1.0, **options):
    torch.manual_seed(0)
    prior = torch.tensor([0.5, 0.3, 0.2])
    return build_head(
        "softmax", 3, HeadOptions(dim=2, prior=prior, prior_kind=kind, tau=tau, **options)
    )


@pytest.mark.parametrize(
    ("kind", "training", "prediction"),
    [("fit", 1, 1), ("balanced", 1, 0), ("posthoc", 0, -1)],
)
@pytest.mark.parametrize("tau", [1.0, 0.5])
def test_shifts_of_the_scores_by_hand(kind, training, prediction, tau):
    head, x = head_with(kind, tau), torch.randn(4, 2)
    plain = head.plain_scores(x, head.weight)
    shift = tau * torch.tensor([log(0.5), log(0.3), log(0.2)])
    torch.testing.assert_close(head.train()(x), plain + training * shift)
    torch.testing.assert_close(head.eval()(x), plain + prediction * shift)


def test_balanced_is_balanced_softmax_and_posthoc_equals_it_at_its_posterior():
    # scores 0: -log of n_y / sum n in training, equal probabilities in prediction
    head = head_with("balanced")
    with torch.no_grad():
        head.weight.zero_()
    p = head.train()(torch.ones(1, 2)).softmax(1)[0]
    torch.testing.assert_close(p, torch.tensor([0.5, 0.3, 0.2]))
    torch.testing.assert_close(head.eval()(torch.ones(1, 2)).softmax(1)[0], torch.full((3,), 1 / 3))
    # a posterior that is the prior says nothing about the image: all classes are equal
    posthoc = head_with("posthoc")
    with torch.no_grad():
        posthoc.weight.zero_()
        posthoc.bias.copy_(torch.tensor([0.5, 0.3, 0.2]).log())
    p = posthoc.eval()(torch.ones(1, 2)).softmax(1)[0]
    torch.testing.assert_close(p, torch.full((3,), 1 / 3))


def test_the_prior_of_training_is_that_of_the_dynamic_scale():
    assert head_with("posthoc").log_prior is not None
    options = HeadOptions(prior=torch.tensor([0.5, 0.3, 0.2]), prior_kind="balanced", tau=2.0)
    expected = torch.tensor([0.25, 0.09, 0.04]) / 0.38
    torch.testing.assert_close(options.training_prior, expected)
    plain = HeadOptions(prior=torch.tensor([0.5, 0.3, 0.2]), prior_kind="posthoc")
    assert plain.training_prior is None


def test_marginals_of_softened_targets_by_hand():
    counts = np.array([4.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0])
    assert build_loss("ce", TREE).marginals(counts) is counts
    loss = build_loss("soft_labels", TREE, soft_beta=3.0)
    # class C: e^-3 to each of six; class z: one sibling at e^-1, x at e^-2, four at e^-3
    of_c, of_z = 1 + 6 * exp(-3), 1 + exp(-1) + exp(-2) + 4 * exp(-3)
    expected_z = 4 * exp(-3) / of_c + 2 / of_z
    expected_y = 4 * exp(-3) / of_c + 2 * exp(-1) / of_z
    found = loss.marginals(counts)
    assert found[[6, 5]] == pytest.approx([expected_z, expected_y], rel=1e-6)
    assert found.sum() == pytest.approx(6)
    # summed over the levels it is the same for the classes
    of_levels = build_loss("soft_labels", TREE, ("scores", "level_scores"), soft_beta=3.0)
    assert of_levels.marginals(counts) == pytest.approx(found)


@pytest.mark.parametrize("flags", [(), ("--balance", "class"), ("--loss", "soft_labels")])
def test_the_prior_of_a_run_is_that_of_what_training_sees(flags):
    training = build("--prior", "balanced", *flags)
    labels = SPLITS.labels[SPLITS.train]
    counts = np.bincount(labels, minlength=7).astype(float)
    if "--balance" in flags:
        counts = np.full(7, 33 / 7)
    if "--loss" in flags:
        counts = training.loss.marginals(counts)
    expected = torch.from_numpy(counts / counts.sum()).float()
    torch.testing.assert_close(training.model.head.log_prior.exp(), expected)


def test_clspri_is_short_for_prior_fit_and_names_runs_as_before():
    def parse(*flags):
        argv = ["--dataset", "demo", "--method", "DR", *flags]
        return command_line.parse(argv, "", train.DATASETS)

    short, long = parse("--clspri"), parse("--prior", "fit")
    assert short[0] == long[0] and "clspri" not in short[0] and short[0]["tau"] == 1.0
    assert short[2] == long[2] and short[2].parts[-2] == "DR-euc-prior"
    assert parse("--prior", "balanced", "--tau", "2")[2].parts[-2] == "DR-euc-balanced-tau=2"
    assert parse("--prior", "none")[2] == parse()[2] and parse()[0]["prior"] is None
    assert parse("--balance", "class")[2].parts[-2] == "DR-euc-balance=class"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--clspri", "--prior", "posthoc"), "--clspri is short for --prior fit"),
        (("--tau", "2"), "--tau has no meaning here"),
        (("--prior", "fit", "--tau", "0"), "tau"),
        (("--CORR", "--mds_W", "--prior", "balanced"), "--prior posthoc"),
        (("--imbalance", "1"), "imbalance"),
        (("--subset_seed", "3"), "--reduction_factor, --max_images, --imbalance or --raise_labels"),
    ],
)
def test_priors_and_tails_that_make_no_sense_are_refused(flags, message, capsys):
    with pytest.raises(SystemExit):
        command_line.parse(["--dataset", "demo", "--method", "DR", *flags], "", train.DATASETS)
    assert message in capsys.readouterr().err


def test_a_run_of_an_earlier_version_with_clspri_reads_as_prior_fit(tmp_path):
    for value, prior, tau in ((True, "fit", 1.0), (None, None, None)):
        config = {"format": 1, "options": {"method": "DR", "clspri": value}}
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert Run(tmp_path).options == {"method": "DR", "prior": prior, "tau": tau}


def test_accuracy_by_frequency_of_the_classes_by_hand():
    labels = np.array([0, 0, 1, 1, 2, 3])
    predicted = np.array([0, 1, 1, 1, 2, 0])
    counts = np.array([101, 100, 20, 19, 5, 500, 50])
    outputs = scored(labels, np.eye(7)[predicted], TREE, train_counts=counts)
    rows = frequency_accuracies(outputs)
    assert rows["many_accuracy"][:3] == (0.5, 1, 1)  # class 0; class 5 has no image here
    assert rows["medium_accuracy"][:3] == (1.0, 2, 1)
    assert rows["few_accuracy"][:3] == (0.0, 1, 1)
    nothing = frequency_accuracies(scored(labels, np.eye(7)[predicted], TREE))
    assert all(np.isnan(r.value) and (r.n, r.undefined) == (0, 7) for r in nothing.values())
    equal = scored(labels, random_scores(0, 6, 7), TREE, train_counts=np.full(7, 50))
    rows = frequency_accuracies(equal)
    assert np.isnan(rows["few_accuracy"].value) and rows["few_accuracy"].undefined == 7
