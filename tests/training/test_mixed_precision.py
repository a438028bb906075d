"""A run with `trainer.mixed_precision`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tensorflow as tf

from seqconv import load_run
from seqconv.training.export import export_run


def test_a_run_trains_predicts_and_exports(command, write_jena, aside, in_empty_folder):
    """Its export computes in float32, and agrees as far as bfloat16 goes."""
    record = write_jena(aside / "record.csv", 3000)
    words = ["dataset=jena", f"dataset.path={record}", "lookback=144", "step=2", "model=conv1d"]
    words += ["split.train_end=0.5", "split.validation_end=0.75", "trainer=smoke", "interval=null"]
    code, stdout, stderr = command([*words, "trainer.mixed_precision=true", "model.filters=[4,4]"])
    assert code == 0, stderr
    run = load_run(Path(json.loads(stdout)["run_dir"]))
    folder = export_run(run, "saved_model")
    signature = json.loads((folder / "signature.json").read_text())
    columns = signature["input"]["columns"]
    values = np.random.default_rng(0).normal(size=(144, len(columns))).astype(np.float32)
    exported = tf.saved_model.load(str(folder / "model"))
    served = exported.serve(values[None, ::2])
    forecast = run.predict(values)
    assert served.dtype == tf.float32
    np.testing.assert_allclose(served, forecast[:1].reshape(served.shape), rtol=0.05, atol=0.05)
