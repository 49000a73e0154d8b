"""The dynamic scale: roots of the published equations, direction of its steps, derivative,
resuming.
"""

import math

import pytest
import torch
from torch.testing import assert_close

import models.scale
from models import HEADS, HeadOptions, build_head
from models.priors import prior_from_counts

KINDS = [("DR", "euc"), ("DR", "arccos"), ("normface", "euc"), ("normface", "arccos")]
CLASSES = (52, 100, 102, 109, 200, 555, 1000, 1010)
ROOTS = {
    ("DR", "euc"): (6.881, 7.899, 7.930, 8.034, 8.985, 10.597, 11.532, 11.548),
    ("DR", "arccos"): (6.146, 7.042, 7.069, 7.160, 7.999, 9.421, 10.247, 10.261),
    ("normface", "euc"): (4.678, 5.794, 5.826, 5.934, 6.898, 8.456, 9.336, 9.351),
    ("normface", "arccos"): (1.430, 2.025, 2.039, 2.087, 2.496, 3.127, 3.475, 3.481),
}


def inflection(method, distance, *values):
    return HEADS[method].inflections[distance](*values)


def start_scale(method, distance, num_classes):
    return models.scale.start_scale(HEADS[method].inflections[distance], num_classes)


def DynamicScale(method, distance, num_classes, **options):
    return models.scale.DynamicScale(HEADS[method].inflections[distance], num_classes, **options)


def closeness(method, distance, degrees):
    """Scores at scale 1, written out."""
    angle = torch.as_tensor(degrees, dtype=torch.float64).deg2rad()
    if method == "normface":
        return angle.cos() if distance == "euc" else -(angle**2)
    return -torch.log(2 * (angle / 2).sin()) if distance == "euc" else -torch.log(angle)


def batch(method, distance, own, wrong=90.0, size=4, num_classes=100):
    """Every sample at `own` degrees from its class vector and `wrong` degrees from the others."""
    targets = torch.arange(size) % num_classes
    degrees = torch.full((size, num_classes), wrong).scatter(1, targets[:, None], own)
    return (
        closeness(method, distance, degrees),
        torch.full((size,), math.radians(own), dtype=torch.float64),
        targets,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_starts_are_the_roots_of_the_published_equations(kind):
    assert [round(start_scale(*kind, classes), 3) for classes in CLASSES] == pytest.approx(
        ROOTS[kind], abs=1e-9
    )


def test_few_classes_have_no_start_with_normface_and_always_one_with_proxy_dr():
    assert [start_scale("normface", "euc", classes) is None for classes in (2, 22, 23)] == [
        True,
        True,
        False,
    ]
    assert [start_scale("normface", "arccos", classes) is None for classes in (2, 48, 49)] == [
        True,
        True,
        False,
    ]
    assert all(
        1 <= start_scale("DR", distance, classes) < 3
        for distance in ("euc", "arccos")
        for classes in (1, 2, 3)
    )
    scale = DynamicScale("normface", "arccos", 48, lr=0.1)
    scale.update(*batch("normface", "arccos", 20.0, num_classes=48))
    assert float(scale()) == pytest.approx(10) and "48 classes" in scale.note


@pytest.mark.parametrize("kind", KINDS)
def test_the_posterior_has_its_inflection_at_the_start(kind):
    method, distance = kind
    scale, step = start_scale(*kind, 100), 1e-3
    chord = kind == ("DR", "euc")
    middle = 2 * math.sin(math.pi / 8) if chord else math.pi / 4
    lengths = torch.tensor([middle - step, middle, middle + step], dtype=torch.float64)
    degrees = torch.rad2deg(2 * torch.asin(lengths / 2) if chord else lengths)
    own = (scale * closeness(method, distance, degrees)).exp()
    posterior = own / (own + 99 * (scale * closeness(method, distance, 90.0)).exp())
    slope = (posterior[2] - posterior[0]) / (2 * step)
    curvature = (posterior[0] - 2 * posterior[1] + posterior[2]) / step**2
    assert slope < -0.1 and abs(curvature / slope) < 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_the_scale_rests_at_its_start(kind):
    scale = DynamicScale(*kind, 100, lr=1e-2)
    residual, _ = scale.residual(*batch(*kind, 45.0))
    assert abs(float(residual)) < 1e-9
    scale.update(*batch(*kind, 45.0))
    start = start_scale(*kind, 100)
    assert float(scale()) == pytest.approx(start, rel=0.02 * 1e-2)  # Adam's epsilon damps round-off


@pytest.mark.parametrize(("own", "wrong", "rises"), [(43.0, 90.0, False), (60.0, 85.0, True)])
@pytest.mark.parametrize("kind", KINDS)
def test_angles_move_the_scale_to_where_their_inflection_is(kind, own, wrong, rises):
    """Own class vectors that come closer need less scale, wrong ones more; as AdaCos' log B / cos
    m.
    """
    start, scale = start_scale(*kind, 100), DynamicScale(*kind, 100, lr=1e-2)
    inputs = batch(*kind, own, wrong)
    before = abs(float(scale.residual(*inputs)[0]))
    scale.update(*inputs)
    change = math.log(float(scale()) / start)
    # the first step of Adam
    assert (change > 0) == rises and abs(change) == pytest.approx(1e-2, rel=1e-3)
    for _ in range(400):
        scale.update(*inputs)
    assert abs(float(scale.residual(*inputs)[0])) < 1e-3 * before


@pytest.mark.parametrize("kind", KINDS)
def test_the_derivative_agrees_with_finite_differences(kind):
    torch.manual_seed(0)
    scale = DynamicScale(*kind, 100, lr=0.1, prior=prior_from_counts(range(100)))
    scale.note = None
    degrees = 20 + 100 * torch.rand(8, 100)
    targets = torch.randint(0, 100, (8,))
    inputs = (
        closeness(*kind, degrees),
        degrees.gather(1, targets[:, None])[:, 0].double().deg2rad(),
        targets,
    )
    scale.log_scale.fill_(math.log(4.0))
    slope = scale.residual(*inputs)[1]
    values = []
    for step in (-1e-5, 1e-5):
        scale.log_scale.fill_(math.log(4.0) + step)
        values.append(scale.residual(*inputs)[0])
    assert_close(slope, (values[1] - values[0]) / 2e-5, rtol=1e-6, atol=1e-8)


def test_the_residual_of_a_batch_worked_out_by_hand():
    """Two samples, three classes, DR with angles: B = mean of sum of theta^-s, m = the smaller of
    the two angles.
    """
    scale = DynamicScale("DR", "arccos", 3, lr=0.1, prior=torch.tensor([0.5, 0.3, 0.2]))
    scale.log_scale.fill_(math.log(2.0))
    angles = torch.tensor([[0.5, 1.0, 2.0], [1.0, 0.6, 0.5]], dtype=torch.float64)
    residual, _ = scale.residual(
        -angles.log(), torch.tensor([0.5, 0.6]).double(), torch.tensor([0, 1])
    )
    wrong = ((0.3 / 1.0 + 0.2 / 4.0) + (0.5 / 1.0 + 0.2 / 0.25)) / 2
    assert float(residual) == pytest.approx(
        wrong * 3 * 0.5**2 + (0.5 + 0.3) / 2 * (1 - 2), rel=1e-6
    )


def test_the_published_updates_differ_where_they_should():
    for method, distance, power, angle in [
        ("DR", "euc", 2 * math.sqrt(5), None),
        ("normface", "arccos", 5, "chord"),
    ]:
        scale = DynamicScale(method, distance, 100, lr=0.1, legacy=True)
        scale.log_scale.fill_(math.log(5.0))
        inputs = batch(method, distance, 30.0, wrong=80.0)
        wrong = 99 * math.exp(power * float(closeness(method, distance, 80.0)))
        m = math.pi / 6 if angle is None else math.sqrt(2 - 2 * math.cos(math.pi / 6))
        expected = inflection(method, distance, 5.0, wrong, 1.0, m)
        assert_close(scale.residual(*inputs)[0], expected)
    for kind in [("DR", "arccos"), ("normface", "euc")]:
        inputs = batch(*kind, 30.0)
        here, published = (
            DynamicScale(*kind, 100, lr=0.1, legacy=legacy) for legacy in (False, True)
        )
        assert_close(here.residual(*inputs)[0], published.residual(*inputs)[0])


def test_the_published_gradient_holds_the_sum_over_the_wrong_classes_constant():
    # two classes, s = 10, chords to the own class 2 - sqrt 2 squared, to the wrong one exp(.34657)
    scale = DynamicScale("DR", "euc", 2, lr=0.1, legacy=True)
    scale.log_scale.fill_(math.log(10.0))
    inputs = torch.tensor([[0.2674, -0.34657]]), torch.tensor([math.pi / 4]), torch.tensor([0])
    residual, slope = scale.residual(*inputs)
    length = math.sqrt(2 - math.sqrt(2))
    wrong = math.exp(-2 * math.sqrt(10) * 0.34657)
    value = wrong * 11 * length**10 - 9
    # d/ds of wrong (s + 1) length^s + 1 - s with wrong constant, times ds/dt = s
    derivative = 10 * (wrong * length**10 * (1 + 11 * math.log(length)) - 1)
    assert_close(residual, torch.tensor(value, dtype=torch.float64))
    assert_close(slope, torch.tensor(derivative, dtype=torch.float64))
    assert float(2 * residual * slope) == pytest.approx(180.972, abs=1e-3)


def test_the_published_gradient_of_normface_with_angles():
    scale = DynamicScale("normface", "arccos", 100, lr=0.1, legacy=True)
    closeness_to = torch.full((1, 100), -(1.3**2)).index_fill(1, torch.tensor([0]), -1.0)
    residual, slope = scale.residual(closeness_to, torch.tensor([1.0]), torch.tensor([0]))
    assert float(2 * residual * slope) == pytest.approx(891.13, abs=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_with_a_class_prior_the_start_rests_on_a_batch_drawn_like_it(kind):
    counts = torch.arange(1, 81)
    scale = DynamicScale(*kind, 80, lr=0.1, prior=prior_from_counts(counts))
    targets = torch.repeat_interleave(torch.arange(80), counts)
    degrees = torch.full((len(targets), 80), 90.0).scatter(1, targets[:, None], 45.0)
    inputs = (
        closeness(*kind, degrees),
        torch.full((len(targets),), math.pi / 4, dtype=torch.float64),
        targets,
    )
    assert scale.note is None
    assert abs(float(scale.residual(*inputs)[0])) < 1e-6
    uniform = DynamicScale(*kind, 80, lr=0.1, prior=prior_from_counts(torch.ones(80)))
    assert float(uniform()) == pytest.approx(start_scale(*kind, 80), rel=1e-5)


def test_its_step_is_that_of_adam():
    scale = DynamicScale("DR", "euc", 100, lr=3e-3)
    parameter = torch.nn.Parameter(scale.log_scale.clone())
    adam = torch.optim.Adam([parameter], lr=3e-3)
    for own in (30.0, 50.0, 20.0, 44.0):
        inputs = batch("DR", "euc", own, wrong=85.0)
        residual, slope = scale.residual(*inputs)
        parameter.grad = 2 * residual * slope
        adam.step()
        scale.update(*inputs)
        assert_close(scale.log_scale, parameter.data)


def test_the_scale_stays_between_1_and_64():
    scale = DynamicScale("DR", "euc", 100, lr=50.0)
    seen = set()
    for wrong in (90.0, 5.0, 90.0, 160.0):
        scale.update(*batch("DR", "euc", 10.0, wrong=wrong))
        seen.add(round(float(scale()), 6))
        assert 1 <= float(scale()) <= 64 + 1e-9
    assert seen & {1.0, 64.0}


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_class_vector_right_under_an_embedding_does_no_harm(kind):
    method, distance = kind
    head = build_head(method, 60, HeadOptions(dim=4, distance=distance, dynamic=True, lr=1e-2))
    head.dynamic_scale.log_scale.fill_(math.log(64.0))
    for size in (1, 3):
        head.update_after_step(
            head.weight.detach()[1].expand(size, 4), torch.zeros(size, dtype=torch.int64)
        )
    assert 1 <= head.scale <= 64 and torch.isfinite(head.dynamic_scale.variance)


def test_a_single_sample_and_an_empty_batch_are_fine():
    scale = DynamicScale("DR", "euc", 100, lr=1e-2)
    scale.update(*batch("DR", "euc", 30.0, size=1))
    moved = float(scale())
    scale.update(torch.zeros(0, 100), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    assert float(scale()) == moved != start_scale("DR", "euc", 100)


def test_it_is_no_parameter_and_resumes_from_its_state():
    scale, other = DynamicScale("DR", "euc", 100, lr=1e-2), DynamicScale("DR", "euc", 100, lr=1e-2)
    assert not list(scale.parameters())
    for own in (30.0, 20.0):
        scale.update(*batch("DR", "euc", own))
    other.load_state_dict({name: value.clone() for name, value in scale.state_dict().items()})
    for _ in range(3):
        scale.update(*batch("DR", "euc", 50.0)), other.update(*batch("DR", "euc", 50.0))
    assert float(scale()) == float(other())
