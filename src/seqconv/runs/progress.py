"""Where a training is: plain numbers that a checkpoint keeps."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from seqconv.config.errors import DataError
from seqconv.config.fields import STRICT, Count, NonNegative, NonNegativeFloat, read_values
from seqconv.config.schema import TrainerConfig


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """A finished epoch.

    Attributes:
        epoch: from 1.
        training: means of the loss and of the running metrics over the epoch's samples.
        validation: all metrics of the validation split; None where one is not defined.
        learning_rate: of the epoch's first step: what a constant rate was, and where a falling one started.
        seconds: spent in the epoch, validation included.
        samples_per_second: of the training steps.
        stopped_early: whether the training ended with it.
    """

    # Read back from a run directory, which is not trusted.
    __pydantic_config__ = STRICT

    epoch: Count
    training: dict[str, float]
    validation: dict[str, float | None]
    learning_rate: float
    seconds: float
    samples_per_second: float
    stopped_early: bool = False

    def to_json(self) -> dict[str, Any]:
        """A line of `metrics.jsonl`, with the names that Keras gives metrics."""
        record: dict[str, Any] = {"epoch": self.epoch, **self.training}
        record |= {f"val_{name}": value for name, value in self.validation.items()}
        record |= {
            "learning_rate": self.learning_rate,
            "seconds": self.seconds,
            "samples_per_second": self.samples_per_second,
        }
        return record | ({"stopped_early": True} if self.stopped_early else {})


@dataclass
class Progress:
    """Where a training is.

    Attributes:
        epoch: being trained, from 1; one more than `epochs` after the last.
        step: steps done in it.
        sums: of the training metrics over the samples of this epoch so far.
        samples: their number.
        step_seconds: spent in training steps of this epoch.
        epoch_seconds: spent in this epoch, validation included, before this process took it up.
        best: the objective's best value so far.
        best_epoch: where it was reached; 0 before the first.
        stalled: epochs since then.
        plateau: epochs since the objective got better or the rate was lowered.
        rate_factor: what plateaus have multiplied the learning rate with.
        fit_seconds: spent in training and validation of the finished epochs.
        history: the finished epochs.
    """

    # Read back from a run directory, which is not trusted.
    __pydantic_config__ = STRICT

    epoch: Count = 1
    step: NonNegative = 0
    sums: dict[str, float] = field(default_factory=dict)
    samples: NonNegative = 0
    step_seconds: NonNegativeFloat = 0.0
    epoch_seconds: NonNegativeFloat = 0.0
    best: float | None = None
    best_epoch: NonNegative = 0
    stalled: NonNegative = 0
    plateau: NonNegative = 0
    rate_factor: NonNegativeFloat = 1.0
    fit_seconds: NonNegativeFloat = 0.0
    history: list[EpochRecord] = field(default_factory=list)

    @classmethod
    def from_json(cls, value: Any) -> Progress:
        """Read back what a checkpoint holds.

        Raises:
            DataError: if it is no state of a training.
        """
        try:
            progress = read_values(cls, value)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"no state of a training of this version of seqconv ({error})"
            ) from error
        if len(progress.history) != progress.epoch - 1 or progress.best_epoch > progress.completed:
            raise DataError("no state of a training (its epochs contradict each other)")
        return progress

    def to_json(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return asdict(self)

    @property
    def completed(self) -> int:
        """Finished epochs."""
        return len(self.history)

    @property
    def name(self) -> str:
        """The checkpoint of this state; names sort in the order of training."""
        return checkpoint_name(self.epoch, self.step)

    @property
    def best_name(self) -> str | None:
        """The checkpoint of the best epoch so far, written when that epoch ended; None before."""
        return checkpoint_name(self.best_epoch + 1, 0) if self.best_epoch else None

    @property
    def best_record(self) -> EpochRecord | None:
        """The best epoch so far; None before the first has ended."""
        return self.history[self.best_epoch - 1] if self.best_epoch else None

    def ended(self, trainer: TrainerConfig) -> bool:
        """Whether nothing is left to train: all epochs are done, or the training has stopped early."""
        patience = trainer.early_stopping
        return self.epoch > trainer.epochs or (patience is not None and self.stalled >= patience)


def checkpoint_name(epoch: int, step: int) -> str:
    """Name of the checkpoint before a step; epochs count from 1, steps from 0."""
    return f"epoch-{epoch:05d}-step-{step:07d}"
