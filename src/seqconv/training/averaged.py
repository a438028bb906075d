"""Several runs as one model: the mean of what theirs say, whatever kinds they are.

Where an ensemble (`ensemble=k`) averages models that differ in their seeds, these may differ in everything but what
they predict: layers, tokens, inputs. As `VotingRegressor` and `VotingClassifier` of scikit-learn; of texts the scores
are averaged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seqconv.config.errors import ConfigError, DataError, Problem
from seqconv.tasks.contract import InputData, Inputs, Loss, Predicted, Scaling, Serving
from seqconv.training import tensorflow_import
from seqconv.training.steps import losses_of
from seqconv.training.tensorflow_import import deterministic_operations
from seqconv.training.trained import Predicting, TrainedRun, load_run


@dataclass(frozen=True)
class AveragedRuns(Predicting):
    """Opened runs that predict together; see `average_runs`.

    Attributes:
        runs: two or more.
    """

    runs: tuple[TrainedRun, ...]

    def blocks(
        self, data: InputData, *, newest: bool = False
    ) -> tuple[Inputs, Iterator[tuple[np.ndarray, slice]]]:
        """As `Predicting.blocks`; there are no prediction intervals, whose margins are those of one model.

        Raises:
            DataError: as a single run does, or if the runs do not see the same number of samples.
        """
        tensorflow_import.begin(self.runs[0].settings)
        each = [run.read_inputs(data, newest=newest) for run in self.runs]
        for run, inputs in zip(self.runs, each, strict=True):
            if len(inputs) != len(each[0]):
                raise DataError(
                    f"{run.run_dir}: finds {len(inputs):,} samples there, {self.runs[0].run_dir} {len(each[0]):,}, "
                    "since their windows differ in length. Predict from the newest rows alone (--newest), or average "
                    "runs of one lookback"
                )
        return each[0].uncalibrated(), self._means(each)

    def _means(self, each: Sequence[Inputs]) -> Iterator[tuple[np.ndarray, slice]]:
        # Around the runs' own blocks of this kind, which end in the order they began in: the last one to end would
        # put back what the first one had set.
        tensorflow_import.finish()
        with deterministic_operations(not self.runs[0].settings.trainer.jit_compile):
            outputs = [run.outputs(inputs) for run, inputs in zip(self.runs, each, strict=True)]
            for block in zip(*outputs, strict=True):
                yield mean([values for values, _ in block]), block[0][1]


def average_runs(run_dirs: Sequence[Path | str]) -> AveragedRuns:
    """Open the directories of several runs whose predictions are to be averaged.

    Args:
        run_dirs: of two runs or more.

    Raises:
        ConfigError: if they do not predict the same.
        SeqconvError: as `load_run`.
    """
    runs = tuple(load_run(run_dir) for run_dir in run_dirs)
    require_alike(runs)
    return AveragedRuns(runs)


def require_alike(runs: Sequence[TrainedRun]) -> None:
    """Check that what runs predict can be averaged.

    Raises:
        ConfigError: if it cannot.
    """
    first = runs[0].serving()
    for run in runs[1:]:
        if differing := _differing(first, run.serving()):
            raise ConfigError(
                [
                    Problem(
                        "--with",
                        f"runs that are averaged predict the same; {run.run_dir} has other {' and '.join(differing)} "
                        f"than {runs[0].run_dir}",
                    )
                ]
            )


def average(loss: Loss, each: Sequence[Predicted], names: Sequence[Path]) -> Predicted:
    """The mean of what several models say of the same samples.

    Args:
        loss: of the mean.
        each: predictions of one split.
        names: of the models' runs, for messages.

    Raises:
        ConfigError: if the samples are not the same.
    """
    first = each[0]
    for name, other in zip(names, each, strict=True):
        if not np.array_equal(other.targets, first.targets):
            rule = f"runs that are averaged are evaluated on the same samples; {name} has others than {names[0]}"
            raise ConfigError([Problem("--with", f"{rule}. Give them one `split` and one data")])
    predictions = mean([found.predictions for found in each])
    return Predicted(predictions, first.targets, losses_of(loss, predictions, first.targets))


def mean(each: Sequence[np.ndarray]) -> np.ndarray:
    """The mean of arrays of one shape, float32."""
    total = each[0].copy()
    for other in each[1:]:
        total += other
    return total / np.float32(len(each))


def _differing(ours: Serving, theirs: Serving) -> list[str]:
    """In what the outputs of two models mean something else."""
    word = "classes" if ours.scaling is None and theirs.scaling is None else "targets"
    same = {
        word: ours.outputs == theirs.outputs,
        "leads": ours.leads == theirs.leads,
        "quantiles": ours.quantiles == theirs.quantiles,
        "scaling": _same_scaling(ours, theirs),
    }
    return [name for name, equal in same.items() if not equal]


def _same_scaling(ours: Serving, theirs: Serving) -> bool:
    """Whether one number means the same in the targets' units."""
    a, b = ours.scaling, theirs.scaling
    if a is None or b is None:
        return a is b
    if a.target == "normalized" and (ours.spec.time, ours.step) != (theirs.spec.time, theirs.step):
        return False
    return _key(a) == _key(b)


def _key(scaling: Scaling) -> tuple[object, ...]:
    return (
        scaling.target,
        scaling.target_mean.tolist(),
        scaling.target_std.tolist(),
        scaling.least_std.tolist(),
    )
