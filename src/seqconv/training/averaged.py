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

LAST_DIGITS = 1e-6


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
            DataError: as a single run does, or if the runs do not see the same samples.
        """
        tensorflow_import.begin(self.runs[0].settings)
        first = self.runs[0]
        columns = [run.serving().columns for run in self.runs]
        if isinstance(data, np.ndarray) and len(set(columns)) > 1:
            raise DataError(
                "the columns of an array mean other things to runs that see other columns. Give a file or a frame"
            )
        each = [run.read_inputs(data, newest=newest) for run in self.runs]
        for run, inputs in zip(self.runs, each, strict=True):
            if not np.array_equal(inputs.ids, each[0].ids):
                both = len(np.intersect1d(inputs.ids, each[0].ids))
                raise DataError(
                    f"{run.run_dir}: finds {len(inputs):,} samples there, {first.run_dir} {len(each[0]):,}, and "
                    f"{both:,} of them are the same, since their windows differ in length, or values are missing in "
                    "columns that only one of them sees. Predict from the newest rows alone (--newest), from rows "
                    "that are complete, or average runs of one lookback"
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
        ConfigError: if there are not two, or they do not predict the same.
        SeqconvError: as `load_run`.
    """
    if len(run_dirs) < 2:
        rule = f"an average is made of two runs or more; received {len(run_dirs)}"
        raise ConfigError([Problem("run_dirs", rule)])
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
        # Means of columns read alone or beside others differ in the last digit.
        same = other.targets.shape == first.targets.shape
        if not (same and np.allclose(other.targets, first.targets, rtol=1e-5, atol=1e-5)):
            raise other_samples(name, names[0])
    predictions = mean([found.predictions for found in each])
    return Predicted(predictions, first.targets, losses_of(loss, predictions, first.targets))


def other_samples(run: Path, first: Path) -> ConfigError:
    """That two runs cannot be averaged, since they have other samples."""
    rule = (
        f"runs that are averaged are evaluated on the same samples; {run} has others than {first}. Give them one data, "
        "`split`, `lookback` and `trainer.evaluation_windows`"
    )
    return ConfigError([Problem("--with", rule)])


def mean(each: Sequence[np.ndarray]) -> np.ndarray:
    """The mean of arrays of one shape, float32."""
    total = each[0].copy()
    for other in each[1:]:
        total += other
    return total / np.float32(len(each))


def _differing(ours: Serving, theirs: Serving) -> list[str]:
    """In what the outputs of two models mean something else."""
    word = "targets" if ours.scalings or theirs.scalings else "classes"
    same = {
        word: ours.outputs == theirs.outputs,
        "leads": ours.leads == theirs.leads,
        "quantiles": ours.quantiles == theirs.quantiles,
        "scaling": _same_scaling(ours, theirs),
    }
    return [name for name, equal in same.items() if not equal]


def _same_scaling(ours: Serving, theirs: Serving) -> bool:
    """Whether one number means the same in the targets' units."""
    if ours.series != theirs.series or len(ours.scalings) != len(theirs.scalings):
        return False
    by_window = any(scaling.target == "normalized" for scaling in ours.scalings)
    if by_window and (ours.spec.time, ours.step) != (theirs.spec.time, theirs.step):
        return False
    return all(map(_same_units, ours.scalings, theirs.scalings))


def _same_units(ours: Scaling, theirs: Scaling) -> bool:
    """But for the last digit: sums of a column alone and beside others are added up in another order."""
    if ours.target != theirs.target or len(ours.target_std) != len(theirs.target_std):
        return False
    differences = ours.target_mean - theirs.target_mean
    return bool(
        np.allclose(ours.target_std, theirs.target_std, rtol=LAST_DIGITS, atol=0.0)
        and np.all(np.abs(differences) <= LAST_DIGITS * ours.target_std)
    )
