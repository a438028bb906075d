"""Tables show numbers of any size with digits that say something."""

import math

import pytest

from seqconv.runs.display import decimals, epoch_line
from seqconv.runs.progress import EpochRecord


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([0.123, 12.5], 3),
        ([0.1, 0.00001], 3),
        ([-0.25, 0.01], 3),
        ([0.0999, None], 4),
        ([3e-4, 1e-4], 6),
        ([-3e-4, 0.0], 6),
        ([0.0], 3),
        ([], 3),
        ([math.nan, math.inf, 0.02], 4),
        ([1234567.0], 3),
    ],
)
def test_the_largest_has_three_digits_behind_its_zeros(values, wanted):
    assert decimals(values) == wanted


def test_a_small_loss_of_an_epoch_has_digits():
    record = EpochRecord(
        epoch=2,
        training={"loss": 0.00012344},
        validation={"loss": 0.5},
        learning_rate=1e-3,
        seconds=1.0,
        samples_per_second=1.0,
    )
    assert "loss 0.0001234  val_loss 0.5000" in epoch_line(record, 10, best=True)
