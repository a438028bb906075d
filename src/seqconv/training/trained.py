"""A run that was trained, from its directory alone: its model predicts what its preparation can read."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seqconv.config.errors import DataError, OutputError
from seqconv.config.registry import DATASETS
from seqconv.config.schema import Config, load_config
from seqconv.runs import layout
from seqconv.runs.checkpoints import Checkpoint, CheckpointStore
from seqconv.runs.files import read_json
from seqconv.tasks.contract import InputData, Inputs, Json, Serving, StoredPreparation
from seqconv.training import tensorflow_import
from seqconv.training.predictor import EVALUATION_BATCH, Predictor, build_model

if TYPE_CHECKING:
    import pandas
    import polars

# Samples whose forecasts are written at once; whole batches, so that where one is cut makes no difference.
BLOCK_SAMPLES = 16 * EVALUATION_BATCH


class Predicting(ABC):
    """What predicts from new data, whose form it knows."""

    @abstractmethod
    def blocks(
        self, data: InputData, *, newest: bool = False
    ) -> tuple[Inputs, Iterator[tuple[np.ndarray, slice]]]:
        """Predict block by block; TensorFlow is not needed before the first block.

        Args:
            data: of the form the model was trained on.
            newest: of a series, whether only the newest window is wanted.

        Returns:
            What is predicted from, and the outputs of each block with its place.

        Raises:
            DataError: if the data cannot be read, or does not fit.
        """

    def predict(
        self,
        data: InputData | pandas.DataFrame,
        *,
        newest: bool = False,
    ) -> polars.DataFrame | pandas.DataFrame | np.ndarray:
        """Forecasts from measurements, or classes of texts.

        Args:
            data: a file (`Path`), or a polars or pandas frame, with the columns that the run was trained on; for a
                series also an array `(rows, columns)` of the columns the model sees, for texts a list of them.
            newest: of a series, whether to forecast from the newest window alone; else from every one.

        Returns:
            A frame of the same kind (polars for a file or a list): of a series a row for each window and lead, of texts
            a row each. For an array of measurements an array `(windows, leads, targets)`. In the targets' units.

        Raises:
            DataError: if the data cannot be read, or does not fit the run.
        """
        import polars as pl

        known = isinstance(data, (Path, np.ndarray, pl.DataFrame, list, tuple))
        given: InputData = data if known else _from_pandas(data)
        inputs, blocks = self.blocks(given, newest=newest)
        if isinstance(data, np.ndarray):
            return np.concatenate([inputs.array(*block) for block in blocks])
        tables = [pl.DataFrame(inputs.table(*block)) for block in blocks]
        found = pl.concat(tables)
        if given is data:
            return found
        import pandas as pd

        return pd.DataFrame({name: found[name].to_numpy() for name in found.columns})


@dataclass(frozen=True)
class TrainedRun(Predicting):
    """A run directory, opened; in whatever state the run is, also beside the process that trains it.

    Attributes:
        run_dir: of the run.
        settings: its configuration.
        checkpoint: the best so far.
        preparation: what it learnt from the training part.
    """

    run_dir: Path
    settings: Config
    checkpoint: Checkpoint
    preparation: StoredPreparation

    @property
    def config(self) -> dict[str, Json]:
        """The content of `config.yaml`."""
        return dict(self.settings.tree)

    @property
    def metrics(self) -> dict[str, Json]:
        """The content of `metrics.json`; empty while the run is in progress."""
        return read_json(self.run_dir / layout.METRICS) or {}

    def serving(self) -> Serving:
        """What the model's inputs and outputs mean."""
        entry = DATASETS.get(self.settings.dataset.name)
        return entry.serving(self.settings.settings, self.preparation)

    def read_inputs(self, data: InputData, *, newest: bool = False) -> Inputs:
        """What to predict from. TensorFlow is not needed for it.

        Args:
            data: of the form the run was trained on.
            newest: of a series, whether only the newest window is wanted.

        Raises:
            DataError: if it cannot be read, or does not fit the run.
        """
        entry = DATASETS.get(self.settings.dataset.name)
        return entry.read_inputs(data, self.settings.settings, self.preparation, newest)

    def outputs(self, inputs: Inputs) -> Iterator[tuple[np.ndarray, slice]]:
        """What the model says of all inputs, block by block, in the units trained on; TensorFlow is loaded."""
        tensorflow_import.finish()
        with tensorflow_import.deterministic_operations(not self.settings.trainer.jit_compile):
            predictor = Predictor(
                build_model(self.settings, inputs.spec),
                inputs.spec,
                None,
                self.settings.model.padding_rule(),
            )
            predictor.restore(self.checkpoint)
            for first in range(0, len(inputs), BLOCK_SAMPLES):
                part = slice(first, min(first + BLOCK_SAMPLES, len(inputs)))
                yield predictor.predict(inputs.samples(part)).predictions, part

    def blocks(
        self, data: InputData, *, newest: bool = False
    ) -> tuple[Inputs, Iterator[tuple[np.ndarray, slice]]]:
        """As `Predicting.blocks`."""
        tensorflow_import.begin(self.settings)
        inputs = self.read_inputs(data, newest=newest)
        return inputs, self.outputs(inputs)


def load_run(run_dir: Path | str) -> TrainedRun:
    """Open a run directory.

    Raises:
        OutputError: if it is no run directory, or no epoch has been finished.
        ConfigError: if its configuration is none of this version.
        DataError: if a file of it is missing or corrupt.
    """
    path = Path(run_dir)
    if not path.is_dir():
        raise OutputError(f"{path}: no such run directory")
    if layout.is_sweep(path):
        raise OutputError(f"{path}: is a sweep; name one of its runs, such as {path / '0'}")
    config = load_config(path / layout.CONFIG)
    checkpoint = _best_checkpoint(path)
    return TrainedRun(path, config, checkpoint, _stored_preparation(path, checkpoint))


def _from_pandas(frame: pandas.DataFrame) -> polars.DataFrame:
    """A pandas frame as one of polars, column by column: the whole would need pyarrow."""
    import polars as pl

    pandas = sys.modules.get("pandas")
    if pandas is None or not isinstance(frame, pandas.DataFrame):
        hint = ": give pathlib.Path(name) for a file" if isinstance(frame, str) else ""
        raise DataError(
            f"must be a path, a polars or pandas frame, or an array; received {type(frame).__name__}{hint}"
        )
    if frame.index.name is not None and frame.index.name not in frame.columns:
        # An index with a name is a column that was set apart.
        frame = frame.reset_index()
    names = [str(name) for name in frame.columns]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"the frame has the column `{twice}` twice")
    return pl.DataFrame({str(name): _column(frame[name]) for name in frame.columns})


def _column(cells: pandas.Series) -> polars.Series:
    import pandas as pd
    import polars as pl

    if isinstance(cells.dtype, pd.DatetimeTZDtype):
        # As they are in UTC; numpy knows no time zones.
        cells = cells.dt.tz_convert(None)
    if cells.dtype.kind == "M":
        # numpy's days and seconds polars does not take in every form.
        cells = cells.astype("datetime64[ms]")
    if isinstance(cells.dtype, np.dtype) and cells.dtype != object:
        return pl.Series(cells.to_numpy())
    # What is missing has many forms in pandas, which would be texts or no texts at all.
    pairs = zip(cells.tolist(), cells.isna(), strict=True)
    plain = [None if missing else cell for cell, missing in pairs]
    if all(isinstance(cell, str) for cell in plain if cell is not None):
        return pl.Series(plain, dtype=pl.String)
    try:
        return pl.Series(plain, strict=False)
    except (pl.exceptions.PolarsError, TypeError):
        # Objects of all kinds, in a column that a run can make nothing of.
        return pl.Series([None if cell is None else str(cell) for cell in plain], dtype=pl.String)


def _best_checkpoint(run_dir: Path) -> Checkpoint:
    store = CheckpointStore(run_dir / layout.CHECKPOINTS)
    if "best" not in store.pointers():
        if (run_dir / layout.fold_name(1)).is_dir():
            raise OutputError(
                f"{run_dir}: is a run of several folds; name one, {run_dir / layout.fold_name(1)}"
            )
        raise OutputError(
            f"{run_dir}: no epoch of this run has been finished, so there is no model to use"
        )
    return store.load("best")


def _stored_preparation(run_dir: Path, checkpoint: Checkpoint) -> StoredPreparation:
    path = run_dir / layout.PREPARATION
    content, fingerprint = read_json(path), checkpoint.state.get("fingerprint")
    if content is None or not isinstance(fingerprint, str):
        raise DataError(
            f"{path}: is missing or cannot be read; without it the model cannot be used"
        )
    return StoredPreparation(content, fingerprint, str(path))
