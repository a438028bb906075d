"""A trained model as a file of its own for other programs: SavedModel, ONNX or LiteRT."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from seqconv.config.errors import ConfigError, OutputError, Problem, not_written
from seqconv.config.registry import KerasModel
from seqconv.console import native_notices_in_log
from seqconv.runs.files import write_json
from seqconv.tasks.contract import Json, Serving
from seqconv.training import tensorflow_import
from seqconv.training.predictor import build_model, restore
from seqconv.training.serving import serving_model
from seqconv.training.trained import TrainedRun

ExportFormat = Literal["saved_model", "onnx", "litert"]
FILES: dict[ExportFormat, str] = {
    "saved_model": "model",
    "onnx": "model.onnx",
    "litert": "model.tflite",
}
SIGNATURE = "signature.json"
TOKENS = "numbers of words, padded in front: 0 padding, 1 start, 2 unknown, then {words}"
# What a number stands for, where texts were read, and where their words had been numbered before.
WORDS = "the words of preparation.json"
RANKS = "the rank of the word in the data, plus 3"


def export_run(run: TrainedRun, form: ExportFormat, out: Path | None = None) -> Path:
    """Write the model of a run, its scaling inside, with `signature.json` beside it, which says what goes in and out.

    Args:
        run: of which the best checkpoint is used.
        form: `saved_model` (a folder, for TensorFlow), `onnx` or `litert`.
        out: a folder that does not exist yet; None: `export-FORMAT` in the run directory.

    Returns:
        The folder.

    Raises:
        OutputError: if the folder exists or cannot be written.
        ConfigError: if the converter is not installed, or cannot write such a model.
    """
    folder = run.run_dir / f"export-{form}" if out is None else out
    if folder.exists():
        raise OutputError(f"{folder}: exists already; name another folder with --out")
    if form == "onnx":
        _require_onnx()
    config = run.settings
    if problems := list(config.model.export_problems(form)):
        raise ConfigError(problems)
    serving = run.serving()
    if serving.series:
        rule = (
            "a model of series that are scaled apart cannot be exported, since it would have to know the series of a "
            "window; received per_series. Train with common, or use `seqconv predict`"
        )
        raise ConfigError([Problem("dataset.scaling", rule)])
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise not_written(folder, error) from error
    try:
        tensorflow_import.finish()
        model = _trained_model(run, serving, unroll=form == "litert")
        WRITERS[form](model, staging / FILES[form])
        write_json(staging / SIGNATURE, signature(run, serving))
        os.chmod(staging, 0o755)
        os.replace(staging, folder)
    except OSError as error:
        raise not_written(folder, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def signature(run: TrainedRun, serving: Serving) -> dict[str, Json]:
    """What goes into an exported model and what comes out."""
    shared: dict[str, Json] = {"run": run.run_dir.name, "model": run.settings.model.name}
    if serving.scaling is None:
        return {
            **shared,
            "input": {
                "shape": ["batch", serving.spec.time],
                "type": "int32",
                "tokens": TOKENS.format(words=RANKS if serving.ranks else WORDS),
            },
            "output": {
                "shape": ["batch", len(serving.outputs)],
                "type": "float32",
                "classes": list(serving.outputs),
            },
        }
    return {
        **shared,
        "input": {
            "shape": ["batch", serving.spec.time, len(serving.columns)],
            "type": "float32",
            "columns": list(serving.columns),
            "rows_between": serving.step,
        },
        "output": {
            "shape": ["batch", *serving.spec.outputs],
            "type": "float32",
            "columns": list(serving.outputs),
            "lead_rows": list(serving.leads),
            **({"quantiles": list(serving.quantiles)} if serving.quantiles else {}),
        },
    }


def _trained_model(run: TrainedRun, serving: Serving, *, unroll: bool) -> KerasModel:
    config = run.settings
    # Other programs know float32; the weights are that anyway.
    model = build_model(config, serving.spec, mixed_precision=False)
    restore(model, run.checkpoint)
    return serving_model(model, serving, unroll=unroll)


def _require_onnx() -> None:
    # Not imported: it would bring TensorFlow along, with all it has to say.
    if importlib.util.find_spec("tf2onnx") is None:
        rule = 'onnx needs the package tf2onnx: pip install "seqconv[onnx]"'
        raise ConfigError([Problem("--format", rule)])


def _write(name: str) -> Callable[[KerasModel, Path], None]:
    def write(model: KerasModel, path: Path) -> None:
        from seqconv.models.layers.native import tensorflow_alone

        with native_notices_in_log(), tensorflow_alone():
            # Keras wants a model that was called once.
            model(np.zeros((1, *model.input_shape[1:]), model.inputs[0].dtype))
            model.export(str(path), format=name, verbose=False)

    return write


WRITERS: dict[ExportFormat, Callable[[KerasModel, Path], None]] = {
    "saved_model": _write("tf_saved_model"),
    "onnx": _write("onnx"),
    "litert": _write("litert"),
}
