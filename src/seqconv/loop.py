"""The training loop: steps, validation, checkpoints; able to start again inside an epoch.

Everything that decides what comes next is in `Progress`, in the model's and the optimizer's variables, or a pure
function of (seed, epoch, step). A checkpoint of the first two is therefore enough to continue exactly.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from seqconv.checkpoints import Checkpoint, CheckpointStore
from seqconv.config import Config, TrainerConfig
from seqconv.console import TrainingProgress
from seqconv.data.drawing import TrainingOrder
from seqconv.errors import DataError, DivergedError, InterruptedRun
from seqconv.fields import STRICT, Count, NonNegative, NonNegativeFloat
from seqconv.shapes import PaddingRule
from seqconv.steps import as_tensor, build_optimizer, compile_steps
from seqconv.stopping import StopRequest

# Evaluation keeps no gradients, so its batches can be larger; this many windows of 240 x 14 take 7 MB.
EVALUATION_BATCH = 512


@dataclass
class Progress:
    """Where a training is; plain numbers, as JSON holds them.

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
        history: the records of the finished epochs.
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
    history: list[dict[str, int | float | bool | None]] = field(default_factory=list)

    @classmethod
    def from_state(cls, state: Any) -> Progress:
        """What a checkpoint's state says.

        Raises:
            DataError: if it is no state of a training.
        """
        try:
            # As JSON, since pydantic's strict mode takes no mapping for a dataclass else.
            progress = TypeAdapter(cls).validate_json(json.dumps(state["progress"]))
        except (ValidationError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"no state of a training ({str(error).splitlines()[0]})") from error
        known = len(progress.history) == progress.epoch - 1 and progress.best_epoch < progress.epoch
        if not known or (progress.best is None) != (progress.best_epoch == 0):
            raise DataError("no state of a training (its epochs contradict each other)")
        return progress

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

    def ended(self, trainer: TrainerConfig) -> bool:
        """Whether nothing is left to train: all epochs are done, or the training has stopped early."""
        patience = trainer.early_stopping
        return self.epoch > trainer.epochs or (patience is not None and self.stalled >= patience)


def checkpoint_name(epoch: int, step: int) -> str:
    """Of the state before a step; epochs count from 1, steps from 0."""
    return f"epoch-{epoch:05d}-step-{step:07d}"


def learning_rate(trainer: TrainerConfig, progress: Progress, steps_per_epoch: int) -> float:
    """The learning rate of the next step.

    `cosine` falls from `learning_rate` to zero over all steps of all epochs (Loshchilov and Hutter, 2017, SGDR).
    """
    if trainer.schedule == "cosine":
        done = (progress.epoch - 1) * steps_per_epoch + progress.step
        share = done / (trainer.epochs * steps_per_epoch)
        return trainer.learning_rate * 0.5 * (1 + math.cos(math.pi * share))
    return trainer.learning_rate * progress.rate_factor


@dataclass(frozen=True)
class Predicted:
    """What a model says of the samples of a split, in their order.

    Attributes:
        predictions: `(samples, outputs)`.
        targets: `(samples, targets)`.
        losses: `(samples,)`.
    """

    predictions: np.ndarray
    targets: np.ndarray
    losses: np.ndarray


class Training:
    """Fits one model to one dataset.

    Args:
        config: of the run.
        data: windows or texts of three splits; see `seqconv.data.series.SeriesData`.
        model: a built `keras.Model`.
        checkpoints: where to save.
        stop: asked between steps.
        record_epoch: called with the record of each finished epoch.
    """

    def __init__(
        self,
        config: Config,
        data: Any,
        model: Any,
        *,
        checkpoints: CheckpointStore,
        stop: StopRequest,
        record_epoch: Callable[[dict[str, Any]], None],
    ):
        self.config = config
        self.trainer = config.trainer
        self.data = data
        self.model = model
        self.optimizer = build_optimizer(config.trainer, model)
        self.checkpoints = checkpoints
        self.stop = stop
        self.record_epoch = record_epoch
        # Only texts have padding, and only some models allow it to be cut.
        tokens = data.spec.vocabulary is not None
        self.padding: PaddingRule | None = config.model.padding_rule() if tokens else None
        self.order = TrainingOrder(
            data.count("train"),
            config.batch_size,
            config.trainer.steps_per_epoch,
            config.seed,
            data.lengths("train") if self.padding else None,
        )
        self.progress = Progress()
        self.steps_done = 0
        self.seconds_in_steps = 0.0
        self._fingerprint = data.describe()["fingerprint"]
        self._train_step, self._predict = compile_steps(config.trainer, data, model, self.optimizer)

    def fit(self) -> Progress:
        """Train from where `progress` is to the end.

        Raises:
            DivergedError: when the loss is no longer a number.
            InterruptedRun: when a signal or the time limit asked to stop; the state is saved by then.
        """
        shown = TrainingProgress(self.trainer.epochs, self.order.steps)
        with shown.live():
            while not self.progress.ended(self.trainer):
                started = time.perf_counter() - self.progress.epoch_seconds
                self._train_epoch(shown, started)
                shown.status("validation")
                validation = self._validate()
                self.progress.epoch_seconds = time.perf_counter() - started
                self._end_epoch(validation, shown)
        return self.progress

    def _validate(self) -> dict[str, Any]:
        """Evaluate on the validation split; if that is stopped, save what there was before it.

        Keras' LSTM draws dropout masks outside training too, so its random state moves on while a validation
        runs. One that is begun again must begin from the same state.
        """
        before = self.variables()
        try:
            return self.evaluate("validation")
        except InterruptedRun:
            self.save(best=False, variables=before)
            raise

    def evaluate(self, split: str, *, details: bool = False) -> dict[str, Any]:
        """Loss and metrics over every sample of a split, each once; details are what is no single number."""
        outcome = self.predict(split)
        sample_metrics = self.data.sample_metrics(outcome.predictions, outcome.targets)
        return {
            "loss": float(outcome.losses.astype(np.float64).mean()),
            **{name: float(values.mean()) for name, values in sample_metrics.items()},
            **self.data.summary_metrics(outcome.predictions, outcome.targets),
            **(self.data.details(outcome.predictions, outcome.targets) if details else {}),
        }

    def predict(self, split: str) -> Predicted:
        """What the model says of every sample of a split, in the order of the samples."""
        count = self.data.count(split)
        order = np.arange(count)
        if self.padding:
            # Texts of similar length share a batch, so that little padding is computed.
            order = np.argsort(self.data.lengths(split), kind="stable")
        predictions = np.empty((count, self.data.spec.outputs), np.float32)
        targets = np.empty((count, self.data.spec.targets), np.float32)
        losses = np.empty(count, np.float32)
        for positions, used in _slices(count, EVALUATION_BATCH):
            inputs, wanted = self._batch(split, order[positions])
            predicted, loss = self._predict(as_tensor(inputs), wanted)
            rows = order[positions[:used]]
            predictions[rows] = predicted.numpy()[:used]
            losses[rows] = loss.numpy()[:used]
            targets[rows] = wanted[:used]
            self.stop.check()
        return Predicted(predictions, targets, losses)

    def _batch(self, split: str, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Samples, without the padding that changes nothing."""
        inputs, targets = self.data.batch(split, indices)
        if self.padding:
            longest = int(self.data.lengths(split)[indices].max())
            inputs = inputs[:, self.padding.cut(longest, inputs.shape[1]) :]
        return inputs, targets

    # One epoch

    def _train_epoch(self, shown: TrainingProgress, started: float) -> None:
        progress = self.progress
        saved = time.monotonic()
        while progress.step < self.order.steps:
            before = time.perf_counter()
            rate = learning_rate(self.trainer, progress, self.order.steps)
            indices = self.order.indices(progress.epoch, progress.step)
            inputs, targets = self._batch("train", indices)
            inputs = self.data.augment(inputs, self.order.generator(progress.epoch, progress.step))
            loss, predictions = self._train_step(as_tensor(inputs), targets, np.float32(rate))
            loss = float(loss)
            seconds = time.perf_counter() - before
            if not math.isfinite(loss):
                raise DivergedError(
                    f"the loss is {loss} in epoch {progress.epoch}, step {progress.step + 1}. "
                    "Lower `trainer.learning_rate`, or set `trainer.clip_norm=1.0`"
                )
            self._count(loss, predictions.numpy(), targets, seconds)
            shown.step(progress.epoch, progress.step, progress.sums["loss"] / progress.samples)
            every = self.trainer.checkpoint_seconds
            due = every is not None and time.monotonic() - saved >= every
            # From the first step on there is something to save. It is the one that compiles, for seconds: until
            # it is done a signal may break it off anywhere, since nothing of it is kept.
            self.stop.deferred = True
            if due or self.stop.reason is not None:
                progress.epoch_seconds = time.perf_counter() - started
                self.save(best=False)
                saved = time.monotonic()
            self.stop.check()

    def _count(
        self, loss: float, predictions: np.ndarray, targets: np.ndarray, seconds: float
    ) -> None:
        progress = self.progress
        sums = {"loss": loss * len(targets)} | {
            name: float(values.sum())
            for name, values in self.data.sample_metrics(predictions, targets).items()
        }
        for name, value in sums.items():
            progress.sums[name] = progress.sums.get(name, 0.0) + value
        progress.samples += len(targets)
        progress.step += 1
        progress.step_seconds += seconds
        self.steps_done += 1
        self.seconds_in_steps += seconds

    def _end_epoch(self, validation: dict[str, float], shown: TrainingProgress) -> None:
        progress, trainer = self.progress, self.trainer
        record: dict[str, Any] = {
            "epoch": progress.epoch,
            **{name: total / progress.samples for name, total in progress.sums.items()},
            **{f"val_{name}": value for name, value in validation.items()},
            # Of the epoch's first step: what a constant rate was, and where a falling one started.
            "learning_rate": learning_rate(
                trainer,
                Progress(epoch=progress.epoch, rate_factor=progress.rate_factor),
                self.order.steps,
            ),
            "seconds": round(progress.epoch_seconds, 3),
            "samples_per_second": round(progress.samples / progress.step_seconds, 1),
        }
        for name, figure in validation.items():
            if not math.isfinite(figure):
                raise DivergedError(f"the validation {name} is {figure}")
        value = validation[self.config.objective.metric]
        better = self.config.objective.better(value, progress.best)
        progress.stalled = 0 if better else progress.stalled + 1
        progress.plateau = 0 if better else progress.plateau + 1
        if better:
            progress.best, progress.best_epoch = value, progress.epoch
        if trainer.schedule == "plateau" and progress.plateau >= trainer.plateau_patience:
            progress.rate_factor *= trainer.plateau_factor
            progress.plateau = 0
        if trainer.early_stopping is not None and progress.stalled >= trainer.early_stopping:
            record["stopped_early"] = True
        progress.history.append(record)
        progress.fit_seconds += progress.epoch_seconds
        progress.epoch += 1
        progress.step, progress.samples, progress.sums = 0, 0, {}
        progress.step_seconds = progress.epoch_seconds = 0.0
        self.save(best=better)
        self.record_epoch(record)
        shown.epoch(epoch_line(record, trainer.epochs, better))

    # State

    def save(self, *, best: bool, variables: dict[str, np.ndarray] | None = None) -> None:
        """Write a checkpoint of everything that training goes on from.

        Args:
            best: whether the epoch that has just ended is the best so far.
            variables: as they are now, unless given.

        Raises:
            DivergedError: if a variable is no longer finite; such a state is no good to go on from.
        """
        started = time.monotonic()
        variables = self.variables() if variables is None else variables
        for value in variables.values():
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                raise DivergedError(
                    f"weights are no longer numbers before epoch {self.progress.epoch}, step "
                    f"{self.progress.step + 1}. Lower `trainer.learning_rate`, or set `trainer.clip_norm=1.0`"
                )
        state = {"progress": asdict(self.progress), "fingerprint": self._fingerprint}
        self.checkpoints.save(self.progress.name, Checkpoint(variables, state), best=best)
        # Twice the slowest one: a time limit is often another program's, and a full disk writes slowly.
        self.stop.reserve = max(self.stop.reserve, 2 * (time.monotonic() - started))

    def restore(self, checkpoint: Checkpoint, progress: Progress) -> None:
        """Go on from a checkpoint.

        Raises:
            DataError: if it belongs to another model or another length of an epoch. Nothing is changed then.
        """
        if progress.step > self.order.steps:
            raise DataError(
                f"the checkpoint was made in step {progress.step} of an epoch; one has {self.order.steps}"
            )
        if progress.step and progress.sums.keys() != {"loss", self.data.headline}:
            raise DataError(
                f"the checkpoint sums up {', '.join(sorted(progress.sums)) or 'nothing'}; this run sums up "
                f"loss and {self.data.headline}"
            )
        named = self._named_variables()
        _check_fit(named, checkpoint)
        for name, variable in named.items():
            variable.assign(checkpoint.variables[name])
        # A copy, since the history grows.
        self.progress = replace(
            progress,
            sums=dict(progress.sums),
            history=[dict(record) for record in progress.history],
        )

    def variables(self) -> dict[str, np.ndarray]:
        """All variables by name: weights, the state of the seed generators, the optimizer's."""
        return {
            name: np.asarray(variable).copy() for name, variable in self._named_variables().items()
        }

    def _named_variables(self) -> dict[str, Any]:
        values = {f"model/{index}": variable for index, variable in enumerate(self.model.variables)}
        values |= {
            f"optimizer/{index}": variable
            for index, variable in enumerate(self.optimizer.variables)
        }
        return values

    def restore_weights(self, checkpoint: Checkpoint) -> None:
        """Give the model the weights of a checkpoint; the optimizer is left as it is.

        Raises:
            DataError: if it belongs to another model.
        """
        _check_fit(self._named_variables(), checkpoint)
        for index, variable in enumerate(self.model.variables):
            variable.assign(checkpoint.variables[f"model/{index}"])


def _check_fit(variables: dict[str, Any], checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint whose arrays are not those of this model, before one of them is assigned."""
    if missing := variables.keys() ^ checkpoint.variables.keys():
        raise DataError(
            f"the checkpoint belongs to another model: only one of them has {', '.join(sorted(missing)[:3])}"
        )
    for name, variable in variables.items():
        found = checkpoint.variables[name]
        if found.shape != tuple(variable.shape) or found.dtype != np.dtype(variable.dtype):
            raise DataError(
                f"the checkpoint belongs to another model: {name} must be {tuple(variable.shape)} "
                f"{variable.dtype}; received {found.shape} {found.dtype}"
            )


def _slices(count: int, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Every sample once, in batches of one size; the last one is filled up, and `used` says how far it counts.

    A batch of another size would be compiled anew, which takes longer than the samples that fill it up.
    """
    for first in range(0, count, size):
        used = min(size, count - first)
        yield np.minimum(np.arange(first, first + size), count - 1), used


def epoch_line(record: dict[str, Any], epochs: int, best: bool) -> str:
    """What people see of a finished epoch."""
    figures = "  ".join(
        f"{name} {value:.4f}"
        for name, value in record.items()
        if isinstance(value, float)
        and name not in ("learning_rate", "seconds", "samples_per_second")
    )
    return (
        f"epoch {record['epoch']:>{len(str(epochs))}}/{epochs}  {figures}  "
        f"{record['seconds']:.1f} s{'  best' if best else ''}"
    )
