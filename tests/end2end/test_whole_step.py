"""Steps that XLA compiles as a whole."""

import json
import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset", "model"), [("reviews_demo", "conv1d"), ("climate_demo", "conv_gru")]
)
def test_a_step_compiled_as_a_whole_has_one_result_too(in_empty_folder, dataset, model):
    # In processes of their own, as two users would start them.
    results = []
    for _ in range(2):
        words = [
            f"dataset={dataset}",
            f"model={model}",
            "trainer=smoke",
            "trainer.jit_compile=true",
        ]
        done = subprocess.run(
            [sys.executable, "-c", "from seqconv.cli.train import main; main()", *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        results.append({k: v for k, v in json.loads(done.stdout).items() if k != "run_dir"})
    assert results[0] == results[1]
