"""Which training samples make up a batch, as a pure function of (seed, epoch, step).

Any batch of a run can therefore be drawn again, in any order, without replaying what came before.
"""

from __future__ import annotations

import numpy as np


class TrainingOrder:
    """The training samples of every step.

    Args:
        samples: number of training samples.
        batch_size: samples per step.
        steps_per_epoch: steps of samples drawn at random with replacement; None: every sample once per epoch,
            shuffled, the last batch being short.
        seed: of the run.
    """

    def __init__(self, samples: int, batch_size: int, steps_per_epoch: int | None, seed: int):
        self.samples = samples
        self.batch_size = batch_size
        self.shuffled = steps_per_epoch is None
        self.steps = -(-samples // batch_size) if steps_per_epoch is None else steps_per_epoch
        self._seed = seed
        self._permutation: tuple[int, np.ndarray] | None = None

    def indices(self, epoch: int, step: int) -> np.ndarray:
        """Sample numbers of a step, `(batch_size,)`; epochs count from 1, steps from 0."""
        if not self.shuffled:
            generator = np.random.default_rng((self._seed, epoch, step))
            return generator.integers(self.samples, size=self.batch_size)
        if self._permutation is None or self._permutation[0] != epoch:
            permutation = np.random.default_rng((self._seed, epoch)).permutation(self.samples)
            self._permutation = (epoch, permutation)
        return self._permutation[1][step * self.batch_size : (step + 1) * self.batch_size]
