"""The training loop: steps, validation, checkpoints; able to start again inside an epoch.

Everything that decides what comes next is in `Progress`, in the model's and the optimizer's variables, or a pure
function of (seed, epoch, step). A checkpoint of the first two is therefore enough to continue exactly.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from seqconv.config.errors import DataError, DivergedError, InterruptedRun
from seqconv.config.schema import Config, TrainerConfig
from seqconv.console import TrainingProgress
from seqconv.runs.checkpoints import Checkpoint, CheckpointStore
from seqconv.runs.display import epoch_line
from seqconv.runs.progress import EpochRecord, Progress
from seqconv.tasks.contract import Predicted, Task
from seqconv.tasks.metrics import value_of
from seqconv.training.predictor import (
    AVERAGE,
    OPTIMIZER,
    Predictor,
    assign,
    by_path,
    model_variables,
)
from seqconv.training.sampling import TrainingOrder
from seqconv.training.signals import Signals
from seqconv.training.steps import build_optimizer, compile_training

# Predictions of the validation split that are kept from the best epoch to the end of the run.
KEPT_BYTES = 64 * 2**20


def learning_rate(
    trainer: TrainerConfig, epoch: int, step: int, rate_factor: float, steps_per_epoch: int
) -> float:
    """The learning rate of a step.

    `cosine` falls from `learning_rate` to zero over all steps of all epochs (Loshchilov and Hutter, 2017, SGDR). A
    warm-up multiplies the rate of the first steps, by a share that rises to 1 (Goyal et al., 2017, "Accurate, large
    minibatch SGD").

    Args:
        trainer: the schedule.
        epoch: from 1.
        step: from 0, within the epoch.
        rate_factor: what plateaus have multiplied the rate with.
        steps_per_epoch: steps of one epoch.
    """
    done = (epoch - 1) * steps_per_epoch + step
    highest = trainer.learning_rate
    if done < trainer.warmup_steps:
        highest *= (done + 1) / trainer.warmup_steps
    if trainer.schedule == "cosine":
        share = done / (trainer.epochs * steps_per_epoch)
        return highest * 0.5 * (1 + math.cos(math.pi * share))
    return highest * rate_factor


class Training:
    """Fits the model of a predictor to a task. Signals are held back by the caller, except where it says so here.

    Args:
        config: of the run.
        task: prepared.
        predictor: of the model to fit.
        checkpoints: where to save.
        signals: asked between steps.
        record_epoch: called with each finished epoch.

    Attributes:
        best_validation: what the best epoch predicted of the validation split, so that the end of a run need not
            repeat it; None if another process has trained that epoch, or if it is larger than `KEPT_BYTES`.
    """

    def __init__(
        self,
        config: Config,
        task: Task,
        predictor: Predictor,
        *,
        checkpoints: CheckpointStore,
        signals: Signals,
        record_epoch: Callable[[EpochRecord], None],
    ):
        self.config = config
        self.trainer = config.trainer
        self.task = task
        self.predictor = predictor
        self.checkpoints = checkpoints
        self.signals = signals
        self.record_epoch = record_epoch
        self.samples = task.samples("train")
        self.order = TrainingOrder(
            len(self.samples),
            config.batch_size,
            config.trainer.steps_per_epoch,
            config.seed,
            self.samples.lengths if predictor.padding else None,
        )
        self.progress = Progress()
        self.best_validation: Predicted | None = None
        self.steps_done = 0
        self.samples_done = 0
        self.seconds_in_steps = 0.0
        self.optimizer = build_optimizer(config.trainer, predictor.model)
        self._train_step = compile_training(
            config.trainer, predictor.model, task.spec, task.loss, self.optimizer
        )

    def fit(self) -> None:
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
                predicted, validation = self._validate()
                self.progress.epoch_seconds = time.perf_counter() - started
                if self._end_epoch(validation, shown):
                    self.best_validation = predicted if predicted.nbytes <= KEPT_BYTES else None

    def _validate(self) -> tuple[Predicted, dict[str, Any]]:
        """Predict and measure the validation split; if that is stopped, save what there was before it.

        Keras' LSTM draws dropout masks outside training too, so its random state moves on while a validation
        runs. One that is repeated must begin from the same state.
        """
        before = self.variables()
        try:
            with self._averaged():
                samples = self.task.samples("validation")
                predicted = self.predictor.predict(samples, self.signals.check)
                found = self.task.measure("validation", predicted)
        except InterruptedRun:
            self.save(best=False, variables=before)
            raise
        return predicted, {
            metric.name: value_of(found, metric.name) for metric in self.task.metrics
        }

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """Give the model the moving average of its weights in a block, where there is one."""
        averages = self._averages()
        weights = self.predictor.model.trainable_variables if averages else []
        trained = [np.asarray(weight).copy() for weight in weights]
        for weight, average in zip(weights, averages, strict=True):
            weight.assign(average)
        try:
            yield
        finally:
            for weight, value in zip(weights, trained, strict=True):
                weight.assign(value)

    def _averages(self) -> list[Any]:
        """The moving averages of the trainable weights, in their order; none without `trainer.ema`."""
        if self.trainer.ema is None:
            return []
        # Keras has no public name for them.
        return list(self.optimizer._model_variables_moving_average)

    # One epoch

    def _train_epoch(self, shown: TrainingProgress, started: float) -> None:
        progress = self.progress
        saved = time.monotonic()
        while progress.step < self.order.steps:
            # The first step compiles, for seconds: a signal may break it off anywhere, since nothing of it is kept.
            # From then on there is something to save.
            first = self.steps_done == 0
            with self.signals.raised() if first else contextlib.nullcontext():
                loss = self._step()
            shown.step(progress.epoch, progress.step, progress.sums["loss"] / progress.samples)
            self._refuse_no_number(loss)
            every = self.trainer.checkpoint_seconds
            due = every is not None and time.monotonic() - saved >= every
            # Asked once: what comes while this is decided is for the next step, and finds it saved.
            reason = self.signals.reason
            if due or reason is not None:
                progress.epoch_seconds = time.perf_counter() - started
                self.save(best=False)
                saved = time.monotonic()
            if reason is not None:
                self.signals.check()

    def _step(self) -> float:
        """One training step; its mean loss."""
        progress = self.progress
        before = time.perf_counter()
        rate = learning_rate(
            self.trainer, progress.epoch, progress.step, progress.rate_factor, self.order.steps
        )
        indices = self.order.indices(progress.epoch, progress.step)
        inputs, targets = self.predictor.batch(self.samples, indices)
        inputs = self.task.augment(inputs, self.order.generator(progress.epoch, progress.step))
        mean, predictions = self._train_step(inputs, targets, np.float32(rate))
        loss = float(mean)
        self._count(loss, predictions.numpy(), targets, time.perf_counter() - before)
        return loss

    def _count(
        self, loss: float, predictions: np.ndarray, targets: np.ndarray, seconds: float
    ) -> None:
        progress = self.progress
        sums = {"loss": loss * len(targets)} | {
            name: float(values.sum())
            for name, values in self.task.running_metrics(predictions, targets).items()
        }
        for name, value in sums.items():
            progress.sums[name] = progress.sums.get(name, 0.0) + value
        progress.samples += len(targets)
        progress.step += 1
        progress.step_seconds += seconds
        self.steps_done += 1
        self.samples_done += len(targets)
        self.seconds_in_steps += seconds

    def _refuse_no_number(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise DivergedError(
                f"the loss is {loss} in epoch {self.progress.epoch}, step {self.progress.step}. "
                "Lower `trainer.learning_rate`, or set `trainer.clip_norm=1.0`"
            )

    def _end_epoch(self, validation: dict[str, Any], shown: TrainingProgress) -> bool:
        """Judge the epoch, save it, and record it.

        Returns:
            Whether it is the best so far.
        """
        progress = self.progress
        better = self._judge(validation)
        record = self._record(validation)
        progress.history.append(record)
        progress.fit_seconds += progress.epoch_seconds
        progress.epoch += 1
        progress.step, progress.samples, progress.sums = 0, 0, {}
        progress.step_seconds = progress.epoch_seconds = 0.0
        self.save(best=better)
        self.record_epoch(record)
        shown.epoch(epoch_line(record, self.trainer.epochs, best=better))
        return better

    def _judge(self, validation: dict[str, Any]) -> bool:
        """Whether the epoch is the best so far; patience and plateau are counted.

        Raises:
            DivergedError: if the loss is no number, or the objective is infinite.
            DataError: if the objective is not defined.
        """
        progress, objective = self.progress, self.config.objective
        found = validation[objective.metric]
        if math.isfinite(validation["loss"]) and math.isnan(found):
            raise DataError(
                f"objective={objective.name} is {found}: it is not defined on these validation "
                "samples. Choose another objective, or let validation have more of them (`split`, "
                "`trainer.evaluation_windows`)"
            )
        for name in ("loss", objective.metric):
            if not math.isfinite(validation[name]):
                raise DivergedError(f"the validation {name} is {validation[name]}")
        better = objective.better(validation[objective.metric], progress.best)
        progress.stalled = 0 if better else progress.stalled + 1
        progress.plateau = 0 if better else progress.plateau + 1
        if better:
            progress.best, progress.best_epoch = validation[objective.metric], progress.epoch
        return better

    def _record(self, validation: dict[str, Any]) -> EpochRecord:
        """The epoch that ends; a plateau lowers the rate of the next one."""
        progress, trainer = self.progress, self.trainer
        rate = learning_rate(trainer, progress.epoch, 0, progress.rate_factor, self.order.steps)
        if trainer.schedule == "plateau" and progress.plateau >= trainer.plateau_patience:
            progress.rate_factor *= trainer.plateau_factor
            progress.plateau = 0
        patience = trainer.early_stopping
        return EpochRecord(
            epoch=progress.epoch,
            training={name: total / progress.samples for name, total in progress.sums.items()},
            validation={
                name: value if math.isfinite(value) else None
                for name, value in validation.items()
                if isinstance(value, float)
            },
            learning_rate=rate,
            seconds=round(progress.epoch_seconds, 3),
            samples_per_second=round(progress.samples / progress.step_seconds, 1),
            stopped_early=patience is not None and progress.stalled >= patience,
        )

    # State

    def save(self, *, best: bool, variables: dict[str, np.ndarray] | None = None) -> None:
        """Write a checkpoint of everything that training resumes from.

        Args:
            best: whether the epoch that has just ended is the best so far.
            variables: as they are now, unless given.

        Raises:
            DivergedError: if a variable is no longer finite; such a state is no good to resume from.
        """
        started = time.monotonic()
        variables = self.variables() if variables is None else variables
        for value in variables.values():
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                raise DivergedError(
                    f"weights are no longer numbers before epoch {self.progress.epoch}, step "
                    f"{self.progress.step + 1}. Lower `trainer.learning_rate`, or set `trainer.clip_norm=1.0`"
                )
        state = {"progress": self.progress.to_json(), "fingerprint": self.task.fingerprint}
        self.checkpoints.save(self.progress.name, Checkpoint(variables, state), best=best)
        # Twice the slowest one: a time limit is often another program's, and a full disk writes slowly.
        self.signals.reserve = max(self.signals.reserve, 2 * (time.monotonic() - started))

    def restore(self, checkpoint: Checkpoint, progress: Progress) -> None:
        """Go on from a checkpoint.

        Raises:
            DataError: if it belongs to another model or another length of an epoch. Nothing is changed then.
        """
        if progress.step > self.order.steps:
            raise DataError(
                f"the checkpoint was made in step {progress.step} of an epoch; one has {self.order.steps}"
            )
        summed = {"loss", *self.task.running_metrics(*self._no_predictions())}
        if progress.step and progress.sums.keys() != summed:
            raise DataError(
                f"the checkpoint sums up {', '.join(sorted(progress.sums)) or 'nothing'}; this version of seqconv sums "
                f"up {', '.join(sorted(summed))}"
            )
        assign(self._named_variables(), checkpoint.variables)
        # A copy, since sums and history grow.
        self.progress = replace(progress, sums=dict(progress.sums), history=list(progress.history))

    def _no_predictions(self) -> tuple[np.ndarray, np.ndarray]:
        """Predictions and targets of no sample."""
        spec = self.task.spec
        return np.zeros((0, *spec.outputs), np.float32), np.zeros((0, *spec.targets), np.float32)

    def variables(self) -> dict[str, np.ndarray]:
        """All variables by path: weights, the state of the seed generators, the optimizer's."""
        return {
            name: np.asarray(variable).copy() for name, variable in self._named_variables().items()
        }

    def _named_variables(self) -> dict[str, Any]:
        averages = self._averages()
        weights = self.predictor.model.trainable_variables if averages else []
        averaged = {id(average) for average in averages}
        others = [each for each in self.optimizer.variables if id(each) not in averaged]
        return (
            model_variables(self.predictor.model)
            | by_path(OPTIMIZER, others)
            | {
                f"{AVERAGE}{weight.path}": average
                for weight, average in zip(weights, averages, strict=True)
            }
        )
