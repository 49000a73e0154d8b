"""The registry of losses, cross-entropy, CORR, and what becomes of options and batches that make no
sense.
"""

import math
import re
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from trees import FLAT, TREE

from losses import LOSSES, Loss, build_loss, select_options
from losses.base import READINGS
from models.heads import ProxyDR, Softmax
from registry import possible, taken

SCORES, TARGETS = (
    torch.randn(16, 7, generator=torch.Generator().manual_seed(0)),
    torch.arange(16) % 7,
)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_has_no_parameters_and_leaves_nothing_in_a_checkpoint(name):
    loss = build_loss(name, TREE, READINGS)
    names = {name.split(".")[0] for name in loss.state_dict()}
    assert isinstance(loss, Loss) and names == ({"delta"} if name == "aigdl" else set())
    assert {name.split(".")[0] for name, _ in loss.named_parameters()} == names
    assert set(loss.inputs) <= {*READINGS}


def test_every_option_belongs_to_a_loss():
    of_tree = {"weighting", "decay", "leaf_height", "hxe_alpha", "switch_epoch", "hxe_weights"}
    of_field = {"level_decay", "tk_weight", "haf_margin", "margin_kind", "margin_tau", "gamma"}
    of_field |= {"aigdl_beta", "aigdl_smoothing", "aigdl_gamma", "cut_probability", "frame_share"}
    of_field |= {"devise_margin", "hiercos_alpha"}
    others = {"corr_reduction", "corr_ce", "soft_beta", "soft_labels_variant", "smoothing"}
    assert others | of_tree | of_field <= set(possible([LOSSES.option]))


def test_the_loss_that_the_readme_adds_is_one():
    readme = (Path(__file__).resolve().parents[1] / "README.md").read_text("utf-8")
    made = {}
    exec(
        next(code for code in re.findall(r"```python\n(.*?)```", readme, re.S) if "MyLoss" in code),
        made,
    )
    loss = made["MyLoss"](TREE, my_factor=2.0)
    torch.testing.assert_close(loss(SCORES, TARGETS), 2 * F.cross_entropy(SCORES, TARGETS))
    assert made["MyLoss"](TREE).factor == 1.0


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("focal", {}, "--loss must be one of ce, corr, hierarchical"),
        ("ce", {"soft_beta": 3.0}, r"--loss ce takes no option; leave out --soft_beta 3.0"),
        (
            "hxe",
            {"decay": 0.5},
            r"--loss hxe takes only --hxe_alpha, --hxe_weights; leave out --decay",
        ),
        (
            "hierarchical",
            {"decay": 0.5},
            "balanced takes only --weighting, --switch_epoch; leave out --decay",
        ),
        ("hierarchical", {"weighting": "steep"}, "weighting must be one of balanced"),
        (
            "hierarchical",
            {"weighting": "power", "decay": -1.0},
            "decay must be a finite number, 0 or more, got -1.0",
        ),
        ("hierarchical", {"switch_epoch": -1}, "switch_epoch must be a whole number, 0 or more"),
        ("hxe", {"hxe_alpha": -0.1}, "hxe_alpha must be a finite number, 0 or more, got -0.1"),
        (
            "hxe",
            {"hxe_weights": "width"},
            "hxe_weights must be one of depth, normalised, parent, height",
        ),
        (
            "soft_labels",
            {"soft_beta": -1.0},
            "soft_beta must be a finite number, 0 or more, got -1.0",
        ),
        (
            "soft_labels",
            {"soft_labels_variant": "garg"},
            "soft_labels_variant must be one of bertinetto, urbani, got",
        ),
        ("label_smoothing", {"smoothing": 1.5}, "smoothing must be a number from 0 to 1, got 1.5"),
        ("label_smoothing", {"weighting": "ones"}, "needs a weighting that sums to 1"),
        ("corr", {"corr_reduction": "max"}, "corr_reduction must be one of mean, sum, got"),
    ],
)
def test_an_option_that_makes_no_sense_is_an_error_that_names_it(name, options, message):
    with pytest.raises(ValueError, match=message):
        build_loss(name, TREE, **options)


def test_an_option_of_none_is_the_default():
    loss = build_loss("hierarchical", TREE, weighting=None, decay=None, soft_beta=None)
    torch.testing.assert_close(
        loss(SCORES, TARGETS), build_loss("hierarchical", TREE)(SCORES, TARGETS)
    )


def test_options_of_a_run_are_sorted_into_those_the_loss_takes_and_those_it_does_not():
    options = {
        "lr": 0.1,
        "loss": "hierarchical",
        "weighting": "power",
        "decay": 0.3,
        "hxe_alpha": 0.2,
        "soft_beta": 5.0,
    }
    assert select_options(options) == {"weighting": "power", "decay": 0.3}
    names = [option.name for option in taken(LOSSES["hierarchical"].options, {"weighting": "leaf"})]
    assert names == ["weighting", "leaf_height", "switch_epoch"]
    assert select_options({**options, "loss": "ce"}) == {}


OF_SCORES = [name for name, loss in LOSSES.items() if loss.on(("scores", "cosines"))]


def given(loss, scores, targets):
    """The arguments of a loss that reads scores, cosines or both."""
    return (*(scores for _ in loss.inputs), targets)


@pytest.mark.parametrize("name", OF_SCORES)
def test_targets_and_scores_that_do_not_fit_the_tree_are_an_error(name):
    loss = build_loss(name, FLAT)
    with pytest.raises(
        ValueError,
        match=r"targets must lie in \[0, 4\), got 4; is the hierarchy of another dataset",
    ):
        loss(*given(loss, torch.zeros(2, 4), torch.tensor([0, 4])))
    with pytest.raises(ValueError, match=r"targets must lie in \[0, 4\), got -1"):
        loss(*given(loss, torch.zeros(2, 4), torch.tensor([0, -1])))
    with pytest.raises(
        ValueError, match=r"scores \(B, 4\) and targets \(B,\), got \(2, 5\) and \(2,\)"
    ):
        loss(*given(loss, torch.zeros(2, 5), torch.tensor([0, 1])))


def test_cross_entropy_is_that_of_torch():
    torch.testing.assert_close(
        build_loss("ce", TREE)(SCORES, TARGETS), F.cross_entropy(SCORES, TARGETS)
    )


def test_corr_is_the_mean_of_one_minus_the_cosine_to_the_true_class():
    cosines = torch.tensor([[1.0, -0.5, 0.0, 0.2], [0.3, -1.0, 0.6, 0.1]])
    torch.testing.assert_close(
        build_loss("corr", FLAT)(cosines, torch.tensor([0, 2])), torch.tensor((0.0 + 0.4) / 2)
    )
    torch.testing.assert_close(
        build_loss("corr", FLAT)(cosines, torch.tensor([0, 1])), torch.tensor((0.0 + 2.0) / 2)
    )


def test_corr_with_cross_entropy_is_the_sum_of_both():
    # cosines to the true classes 1.0 and 0.6; scores that give them the probabilities 1/4 and 1/2
    cosines = torch.tensor([[1.0, -0.5, 0.0, 0.2], [0.3, -1.0, 0.6, 0.1]])
    scores = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, math.log(3), 0.0]])
    loss = build_loss("corr", FLAT, corr_ce=0.1)
    assert loss.inputs == ("cosines", "scores")
    expected = (0.0 + 0.4) / 2 + 0.1 * (math.log(4) + math.log(2)) / 2
    value = loss(cosines, scores, torch.tensor([0, 2]))
    torch.testing.assert_close(value, torch.tensor(expected))


def test_a_loss_is_not_built_on_a_head_that_does_not_offer_what_it_reads():
    with pytest.raises(ValueError, match="--loss corr reads cosines, the head has only scores"):
        build_loss("corr", FLAT, offered=("scores",))


def test_corr_summed_is_the_mean_times_the_batch_size():
    mean, total = (
        build_loss("corr", TREE)(SCORES, TARGETS),
        build_loss("corr", TREE, corr_reduction="sum")(SCORES, TARGETS),
    )
    torch.testing.assert_close(total, 16 * mean)


@pytest.mark.parametrize(
    ("head", "given", "message"),
    [
        (Softmax, {}, "--loss corr"),
        (ProxyDR, {}, "--loss corr .* --mds_W"),
        (ProxyDR, {"ema": True}, "--mds_W in place of --ema"),
        (ProxyDR, {"mds_W": True, "dynamic": True}, "--dynamic"),
    ],
)
def test_corr_refuses_heads_without_fixed_class_vectors(head, given, message):
    with pytest.raises(ValueError, match=message):
        LOSSES["corr"].check_head(head, given)
    LOSSES["corr"].check_head(ProxyDR, {"mds_W": True, "batch_size": 0})
    LOSSES["corr"].check_head(Softmax, {"corr_ce": 0.1})


VARIANTS = [(name, {}) for name in OF_SCORES] + [
    ("corr", {"corr_reduction": "mean"}),
    ("corr", {"corr_reduction": "sum"}),
    ("hierarchical", {"switch_epoch": 5}),
    ("hierarchical", {"weighting": "ones"}),
    ("hxe", {"hxe_weights": "normalised"}),
    ("soft_labels", {"soft_labels_variant": "urbani"}),
]


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_reduction_says_what_becomes_of_a_loss_when_the_batch_doubles(name, options):
    loss = build_loss(name, TREE, **options)
    loss.set_epoch(0)
    factor = {"mean": 1.0, "sum": 2.0}[loss.reduction]
    torch.manual_seed(0)
    once = loss(*given(loss, SCORES, TARGETS))
    torch.manual_seed(0)
    twice = loss(*given(loss, torch.cat([SCORES, SCORES]), torch.cat([TARGETS, TARGETS])))
    assert once > 1e-3  # 0 would double to itself
    torch.testing.assert_close(twice, factor * once)


def test_only_a_summed_corr_is_no_mean():
    summed = [
        (name, options)
        for name, options in VARIANTS
        if build_loss(name, TREE, **options).reduction != "mean"
    ]
    assert summed == [("corr", {"corr_reduction": "sum"})]
    # of one instance, never of the class
    assert {loss.reduction for loss in LOSSES.values()} == {"mean"}


def test_the_hierarchical_loss_takes_over_at_the_switch_epoch():
    loss, hierarchical = (
        build_loss("hierarchical", TREE, switch_epoch=2),
        build_loss("hierarchical", TREE),
    )
    assert not torch.isclose(hierarchical(SCORES, TARGETS), F.cross_entropy(SCORES, TARGETS))
    for epoch, expected in [
        (0, F.cross_entropy),
        (1, F.cross_entropy),
        (2, hierarchical),
        (7, hierarchical),
        (1, F.cross_entropy),
    ]:
        loss.set_epoch(epoch)
        torch.testing.assert_close(loss(SCORES, TARGETS), expected(SCORES, TARGETS))
