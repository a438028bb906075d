"""The line that a finished run writes for scripts."""

from pathlib import Path

from seqconv.runs.result import Result, summary


def test_several_targets_have_their_errors_in_standard_deviations():
    measured = {"loss": 0.3, "scaled": {"mae": 0.2, "mse": 0.1}, "targets": {"T": {"1": {}}}}
    line = summary(Result(status="completed", validation={"loss": 0.4}, test=measured), Path("run"))
    assert line == {
        "run_dir": "run",
        "status": "completed",
        "objective": None,
        "validation_loss": 0.4,
        "test_loss": 0.3,
        "test_scaled.mae": 0.2,
        "test_scaled.mse": 0.1,
    }
