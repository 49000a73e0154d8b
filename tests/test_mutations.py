"""The list of mutations keeps in step with the code."""

import pytest
from mutations import MUTATIONS, ROOT, occurrences


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_every_text_to_be_taken_out_stands_once_and_its_tests_exist(mutation):
    assert occurrences(mutation) == 1
    assert mutation.old != mutation.new
    assert all((ROOT / path).is_file() for path in mutation.tests.split())
