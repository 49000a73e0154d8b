"""A run says that its prototypes answer better than its class vectors, where that is not chance."""

import numpy as np
import pytest

from training.better_prototypes import better_prototypes


def part(vectors, prototypes, **others):
    """A split of images of class 1 of 3, answered rightly where it is said."""
    answers = {"scores": np.array(vectors), "prototype_scores": np.array(prototypes)}
    return {
        "labels": np.ones(len(vectors), int),
        **{name: np.eye(3)[right.astype(int)] for name, right in answers.items()},
        **others,
    }


def test_it_is_said_where_a_sign_test_says_so():
    # 2 of 16 answered rightly by both; of 8 that differ all are the prototypes': p = 2 / 2^8
    vectors, prototypes = [1, 1, *[0] * 14], [1] * 10 + [0] * 6
    said = better_prototypes([part(vectors, prototypes)])
    assert "0.125 of the 16 validation images" in said and "of a class) 0.625:" in said
    half = [part(one[::2], other[::2]) for one, other in [(vectors, prototypes)]]
    rest = [part(one[1::2], other[1::2]) for one, other in [(vectors, prototypes)]]
    assert better_prototypes([*half, *rest]) == said
    assert better_prototypes([part(prototypes, vectors)]) is None
    assert better_prototypes(half) is None  # 2 / 2^4
    assert better_prototypes([]) is None


@pytest.mark.parametrize("groups, said", [(range(16), True), (np.arange(16) // 2, False)])
def test_images_of_one_group_are_one(groups, said):
    found = part([0] * 16, [1] * 8 + [0] * 8, groups=np.array([f"g{i}" for i in groups]))
    assert (better_prototypes([found]) is not None) == said


def test_images_without_a_class_and_heads_without_prototypes_do_not_count():
    found = part([0] * 16, [1] * 8 + [0] * 8)
    found["labels"][:8] = 4  # an inner node
    assert better_prototypes([found]) is None
    found = part([0] * 8, [1] * 8)
    del found["prototype_scores"]
    assert better_prototypes([found]) is None
