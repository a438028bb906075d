"""Which training samples make up a batch, as a pure function of (seed, epoch, step).

Any batch of a run can therefore be drawn again, in any order, without replaying what came before.
"""

from __future__ import annotations

import numpy as np

# Batches whose texts are sorted by length together: enough for batches of nearly one length, few enough that a
# batch is still drawn from texts of all kinds.
POOL_BATCHES = 32


class TrainingOrder:
    """The training samples of every step.

    Args:
        samples: number of training samples.
        batch_size: samples per step.
        steps_per_epoch: steps of samples drawn at random with replacement; None: every sample once per epoch,
            shuffled, the last batch being short.
        seed: of the run.
        lengths: `(samples,)` of texts whose padding may be cut; shuffled batches then hold texts of similar
            length, so that short ones do not cost as much as long ones.
    """

    def __init__(
        self,
        samples: int,
        batch_size: int,
        steps_per_epoch: int | None,
        seed: int,
        lengths: np.ndarray | None = None,
    ):
        self.samples = samples
        self.batch_size = batch_size
        self.shuffled = steps_per_epoch is None
        self.steps = -(-samples // batch_size) if steps_per_epoch is None else steps_per_epoch
        self._seed = seed
        self._lengths = lengths
        self._permutation: tuple[int, np.ndarray] | None = None

    def indices(self, epoch: int, step: int) -> np.ndarray:
        """Sample numbers of a step, `(batch_size,)`; epochs count from 1, steps from 0."""
        if not self.shuffled:
            generator = np.random.default_rng((self._seed, epoch, step))
            return generator.integers(self.samples, size=self.batch_size)
        if self._permutation is None or self._permutation[0] != epoch:
            self._permutation = (epoch, self._shuffled(epoch))
        return self._permutation[1][step * self.batch_size : (step + 1) * self.batch_size]

    def generator(self, epoch: int, step: int) -> np.random.Generator:
        """Random numbers for changing the samples of a step; other than those that chose them."""
        return np.random.default_rng((self._seed, epoch, step, 1))

    def _shuffled(self, epoch: int) -> np.ndarray:
        """Every sample once. With lengths, pools of random texts are sorted and their batches shuffled."""
        generator = np.random.default_rng((self._seed, epoch))
        order = generator.permutation(self.samples)
        if self._lengths is None:
            return order
        pool = POOL_BATCHES * self.batch_size
        for first in range(0, self.samples, pool):
            members = order[first : first + pool]
            order[first : first + pool] = members[np.argsort(self._lengths[members], kind="stable")]
        whole = self.samples // self.batch_size * self.batch_size
        batches = order[:whole].reshape(-1, self.batch_size)
        # The short batch stays the last one.
        return np.concatenate([generator.permutation(batches).reshape(-1), order[whole:]])
