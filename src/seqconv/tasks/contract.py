"""What a task is. Forecasting and classification keep to this page; nothing that trains, saves or reports knows more.

A dataset gives a *source* (a cleaned record, a corpus of texts). A task kind prepares it: it learns a *preparation*
(scaling, vocabulary) from the training part alone and offers *samples* of each split. Whatever a model says of them,
*predicted*, the task measures in units that people read, beside its baselines.

    source --prepare--> Task: samples(split) --> model --> Predicted --> Task.measure(split, predicted)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypeAlias, TypeVar

from seqconv.config.errors import DataError
from seqconv.config.fields import Form, read_values
from seqconv.tasks.metrics import Metric

if TYPE_CHECKING:
    import numpy as np
    import polars

Json: TypeAlias = Any
"""A value as JSON holds it: None, bool, int, float, str, or a list or string-keyed dict of such values."""

Split: TypeAlias = Literal["train", "validation", "test"]
Origin: TypeAlias = Literal["mean", "newest", "window"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
EVALUATED: tuple[Split, ...] = ("validation", "test")


def evenly_spaced(count: int, limit: int) -> np.ndarray:
    """Numbers of `limit` of `count` samples, ascending int64; of two or more the first and the last are among them."""
    import numpy as np

    if limit == 1:
        return np.zeros(1, np.int64)
    return np.linspace(0, count - 1, limit).round().astype(np.int64)


@dataclass(frozen=True, kw_only=True, slots=True)
class SequenceSpec:
    """What goes into a model and what comes out: shapes, and how the outputs of a series go with its inputs.

    Attributes:
        time: time steps of one sample, `lookback / step` of a series or the length of a text.
        features: columns of a series, input shape `(batch, time, features)`; None for tokens.
        vocabulary: vocabulary size, input shape `(batch, time)`; None for a series.
        embedding: size of a token's vector; None for a series.
        outputs: shape of one prediction: `(leads, columns)`, `(leads, columns, quantiles)`, or `(classes,)` logits,
            `(1,)` for two classes.
        targets: shape of what the loss compares it with: `(leads, columns)`, or `(1,)`, the number of a class.
        target_features: of each column to predict, its number among the features; empty where a model does not see
            them all.
        made: how many of the features, the last ones, are no columns of the record, such as the time of day.
        origin: what a forecast is measured from: the training `mean`, as the features are, the `newest` value, or by
            mean and standard deviation of the `window`; None for texts.
    """

    time: int
    features: int | None
    vocabulary: int | None
    embedding: int | None
    outputs: tuple[int, ...]
    targets: tuple[int, ...]
    target_features: tuple[int, ...] = ()
    made: int = 0
    origin: Origin | None = None

    @property
    def has_quantiles(self) -> bool:
        """Whether the last axis of the outputs is one of quantiles."""
        return len(self.outputs) > len(self.targets)


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """What training makes small.

    Attributes:
        name: as Keras names it, a key of `seqconv.training.steps.LOSSES`; `pinball` with quantiles.
        lead_weights: of each lead of a forecast, their mean is 1; empty: all count alike.
        quantiles: levels along the last axis of the predictions; empty: there is no such axis.
    """

    name: str
    lead_weights: tuple[float, ...] = ()
    quantiles: tuple[float, ...] = ()


class Samples(Protocol):
    """The samples of one split. Reading a batch touches only the rows it needs, so memory-mapped arrays serve."""

    @property
    def lengths(self) -> np.ndarray | None:
        """Tokens of each text, `(samples,)`; None where samples have no padding."""
        ...

    def __len__(self) -> int: ...

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets of some samples, in their order.

        Returns:
            Inputs `(n, time, features)` float32 or `(n, time)` int32, and targets `(n, *spec.targets)` float32 in the
            units trained on.
        """
        ...


class Preparation(Protocol):
    """What was learnt from the training part: with it, `config.yaml` and a checkpoint a run predicts anywhere."""

    def to_json(self) -> dict[str, Json]:
        """The content of `preparation.json`."""
        ...


@dataclass(frozen=True)
class Predicted:
    """What a model says of the samples of a split, in their order.

    Attributes:
        predictions: `(samples, *spec.outputs)` float32, in the units trained on.
        targets: `(samples, *spec.targets)` float32.
        losses: `(samples,)` float32.
    """

    predictions: np.ndarray
    targets: np.ndarray
    losses: np.ndarray

    @property
    def nbytes(self) -> int:
        """Memory of the arrays in bytes."""
        return self.predictions.nbytes + self.targets.nbytes + self.losses.nbytes


@dataclass(frozen=True)
class SampleErrors:
    """The errors of a model on each test sample, for comparing it with another on the samples that both have.

    Attributes:
        ids: as `Task.ids`.
        errors: `(samples,)` float64; their mean is the primary metric, or for shares 1 less it.
        block: so many of `times` in a row are not independent of one another.
        times: `(samples,)` integers; samples of one time are not independent either. None: each has one of its own.
    """

    ids: np.ndarray
    errors: np.ndarray
    block: int
    times: np.ndarray | None = None


@dataclass(frozen=True)
class BaselineResult:
    """How a baseline does.

    Attributes:
        metrics: `{"validation": {metric: value}, "test": ...}`.
        errors: of each test sample, as those of `SampleErrors`.
    """

    metrics: dict[str, Json]
    errors: np.ndarray


@dataclass(frozen=True)
class Breakdown:
    """A table of test metrics by part.

    Attributes:
        title: what they are.
        columns: headings.
        rows: cells.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]


class Task(Protocol):
    """A dataset prepared for training and evaluation."""

    @property
    def name(self) -> str:
        """Name of the dataset."""
        ...

    @property
    def fingerprint(self) -> str:
        """`sha256:` and the checksum of the source."""
        ...

    @property
    def spec(self) -> SequenceSpec:
        """The shapes of samples and targets."""
        ...

    @property
    def loss(self) -> Loss:
        """What training makes small."""
        ...

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Metrics that `measure` gives by name, the loss first."""
        ...

    @property
    def primary_metric(self) -> Metric:
        """The metric of the final table."""
        ...

    @property
    def reference(self) -> str:
        """The baseline that the final table compares with."""
        ...

    @property
    def preparation(self) -> Preparation:
        """What was learnt from the training part."""
        ...

    def samples(self, split: Split) -> Samples:
        """The samples of a split."""
        ...

    def with_validation(self, limit: int) -> Task:
        """The same task that validates on so many samples at most, evenly spaced."""
        ...

    def augment(self, inputs: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Inputs of a training step, changed at random where the settings want it."""
        ...

    def running_metrics(
        self, predictions: np.ndarray, targets: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Metrics that are means over samples, `(n,)` values each; what training reports besides the loss."""
        ...

    def measure(self, split: Split, predicted: Predicted) -> dict[str, Json]:
        """All metrics of a split by name, the loss first; not-a-number where one is not defined."""
        ...

    def details(self, predicted: Predicted) -> dict[str, Json]:
        """What is no single number of the test split, such as a confusion matrix, for `metrics.json`."""
        ...

    def detail_names(self, split: Split) -> Iterator[str]:
        """Dotted names of the numbers that a split's results have besides metrics, such as `interval.width`."""
        ...

    def calibrated(self, predicted: Predicted) -> Task:
        """The same task with what is learnt from a trained model's predictions of the validation split."""
        ...

    def uncalibrated(self) -> Task:
        """The same task without what was learnt from one model's predictions, for another model."""
        ...

    def ids(self, split: Split) -> np.ndarray:
        """`(samples,)` int64, the same in two tasks of one source where the same value is predicted."""
        ...

    def sample_errors(self, predicted: Predicted) -> SampleErrors:
        """The error of each test sample."""
        ...

    def baseline_names(self, *, slow: bool) -> tuple[str, ...]:
        """The names of the baselines, known before they are computed; `slow` as below."""
        ...

    def baselines(self, *, slow: bool) -> dict[str, BaselineResult]:
        """How what a model must beat does, by name.

        Args:
            slow: whether to compute those that take long.
        """
        ...

    def describe(self) -> dict[str, Json]:
        """The `dataset` part of `metrics.json`."""
        ...

    def summary(self) -> list[str]:
        """The data in a few lines for people."""
        ...

    @property
    def subject(self) -> str:
        """What the final table is about, such as `24 h ahead`; may be empty."""
        ...

    def breakdown(
        self, model: str, test: Mapping[str, Json], baselines: Mapping[str, Mapping[str, Json]]
    ) -> Breakdown | None:
        """The test metrics of each part there is, such as targets and leads; None where there is one.

        Args:
            model: name.
            test: metrics of the model, as in `metrics.json`.
            baselines: as in `metrics.json`.
        """
        ...

    def remarks(
        self, test: Mapping[str, Json], baselines: Mapping[str, Mapping[str, Json]]
    ) -> list[str]:
        """Lines below the final table; arguments as for `breakdown`."""
        ...

    def unit_of(self, metric: Metric) -> str:
        """The unit a metric is in here, such as `degC`; empty if none."""
        ...

    def draw(self, folder: Path, predicted: Predicted, title: str) -> None:
        """Write the task's own pictures, of the test split, into a run directory."""
        ...


InputData: TypeAlias = "Path | polars.DataFrame | np.ndarray | Sequence[str]"
"""What to predict from: a file, a frame, an array of measurements, or texts."""


class Inputs(Protocol):
    """Samples to predict for, whose targets need not be known."""

    @property
    def spec(self) -> SequenceSpec:
        """The shapes of inputs and predictions."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What reading and cleaning had to say."""
        ...

    @property
    def ids(self) -> np.ndarray:
        """`(samples,)` int64, by which the same sample is known where another run has read the same data."""
        ...

    def __len__(self) -> int: ...

    def samples(self, part: slice) -> Samples:
        """Some of them; their targets are zeros."""
        ...

    def uncalibrated(self) -> Inputs:
        """The same without what was learnt from one model's predictions, for another model."""
        ...

    def table(self, predictions: np.ndarray, part: slice) -> dict[str, np.ndarray]:
        """Predictions `(samples, *spec.outputs)` of some of them in columns, as people read them."""
        ...

    def array(self, predictions: np.ndarray, part: slice) -> np.ndarray:
        """The same as an array, a row for each sample: `(samples, leads, columns)` in own units, or probabilities."""
        ...


# The least standard deviation that a window is scaled by, in those of the training rows: a constant window has none.
LEAST_STD = 0.01


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """How raw windows become what a model of a series sees, and what it says becomes values in the targets' units.

    Attributes:
        mean: `(features,)` float64, in each feature's unit.
        std: `(features,)` float64.
        target: `value`, `change` or `normalized`, as in the settings.
        targets: number of the input column of each target; empty for `value`, which needs no past of them.
        target_mean: `(targets,)` float64, in each target's unit.
        target_std: `(targets,)` float64.
        least_std: added, in quadrature, to the standard deviation of a window (`normalized`), `(targets,)` float64.
    """

    mean: np.ndarray
    std: np.ndarray
    target: str
    targets: tuple[int, ...]
    target_mean: np.ndarray
    target_std: np.ndarray
    least_std: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Serving:
    """What a model needs around it to stand alone: raw values in, the targets' units or probabilities out.

    Attributes:
        spec: shapes of the model.
        columns: names of the input columns, the model's features first; empty for texts.
        scalings: one for each of `series`, else one; none for texts.
        outputs: names of the targets, or of the classes.
        leads: rows from the newest input row to each target; empty for texts.
        step: rows from one input row to the next; 1 for texts.
        quantiles: levels along the last axis of the outputs; empty: there is no such axis.
        series: names of those that are scaled apart.
        ranks: whether texts are numbers of words that came with the data, not words of the preparation.
    """

    spec: SequenceSpec
    columns: tuple[str, ...]
    scalings: tuple[Scaling, ...]
    outputs: tuple[str, ...]
    leads: tuple[int, ...]
    step: int
    quantiles: tuple[float, ...] = ()
    series: tuple[str, ...] = ()
    ranks: bool = False

    @property
    def scaling(self) -> Scaling | None:
        """The only or first scaling of a series; None for texts."""
        return self.scalings[0] if self.scalings else None


class TaskSettings(Protocol):
    """The top-level keys that a kind of task brings along."""

    metrics: ClassVar[tuple[Metric, ...]]
    length_key: ClassVar[str]
    """The key that makes a sample longer."""

    @property
    def time_steps(self) -> int | None:
        """Time steps of one sample; None where only the data tells."""
        ...

    @property
    def folds_to_run(self) -> int:
        """Folds that a run goes through one after the other, each by the key `fold`; 0: it is a plain run."""
        ...


Settings = TypeVar("Settings", bound=TaskSettings)
Source = TypeVar("Source")


@dataclass(frozen=True)
class TaskKind(Generic[Settings, Source]):
    """How datasets of one kind become tasks.

    Attributes:
        settings: the dataclass of its top-level keys.
        prepare: `(dataset name, source, settings, preparation)` to a task. With a stored preparation nothing is
            learnt; a source with another fingerprint than its own is the test split as a whole.
        read_inputs: `(data, settings, preparation, newest)` to what a finished run predicts from; of a series only the
            newest window if `newest`.
        serving: `(settings, preparation)` to what an exported model has around it.
    """

    settings: type[Settings]
    prepare: Callable[[str, Source, Settings, StoredPreparation | None], Task]
    read_inputs: Callable[[InputData, Settings, StoredPreparation, bool], Inputs]
    serving: Callable[[Settings, StoredPreparation], Serving]


@dataclass(frozen=True)
class StoredPreparation:
    """A preparation read back from a run directory, which is not trusted.

    Attributes:
        content: of `preparation.json`.
        fingerprint: of the data the run was trained on.
        origin: the file, for messages.
    """

    content: Mapping[str, Json]
    fingerprint: str
    origin: str

    def read(self, form: type[Form]) -> Form:
        """The content as a dataclass of its keys.

        Raises:
            DataError: naming the first key that is wrong.
        """
        try:
            return read_values(form, dict(self.content))
        except ValueError as error:
            raise self.refused(str(error)) from error

    def refused(self, reason: str) -> DataError:
        """The error of a content that cannot be used."""
        return DataError(
            f"{self.origin}: no preparation of such a run of this version of seqconv ({reason})"
        )
