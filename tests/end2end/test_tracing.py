"""Steps are traced once: nothing is compiled again after the first epoch."""

import json
import subprocess
import sys

import pytest
from variants import variants

from seqconv.training import loop, predictor

pytestmark = pytest.mark.usefixtures("blank_pictures")


@pytest.mark.parametrize("model", variants("conv1d", "gru"))
def test_no_step_is_traced_again(command, write_jena, aside, in_empty_folder, monkeypatch, model):
    made = []

    def remembering(compile_one):
        def compile_and_remember(*arguments):
            made.append(compile_one(*arguments))
            return made[-1]

        return compile_and_remember

    monkeypatch.setattr(loop, "compile_training", remembering(loop.compile_training))
    monkeypatch.setattr(predictor, "compile_prediction", remembering(predictor.compile_prediction))
    path = write_jena(aside / "jena.csv.gz", 3000)
    words = [f"dataset.path={path}", "dataset=jena", f"model={model}", "lookback=144", "step=2"]
    words += ["delay=40", "split.train_end=0.5", "split.validation_end=0.75", "trainer=smoke"]
    # 1316 windows in batches of 96: the last one is short.
    code, _, stderr = command([*words, "trainer.steps_per_epoch=null", "batch_size=96"])

    assert code == 0, stderr
    assert [function.traces for function in made] == [1, 1]


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
