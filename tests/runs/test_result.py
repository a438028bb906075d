"""The line that a finished run writes for scripts."""

from pathlib import Path

from seqconv.runs.result import Result, baseline_values, summary


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


def test_a_part_stands_in_the_whole_without_each_target_and_lead():
    """Of folds of ensembles `metrics.json` would be too large to be read again."""
    measured = {"scaled": {"mae": 1.0}, "targets": {"T": {"1": {"mae": 2.0}}}}
    result = Result(
        status="completed",
        dataset={"targets": ["T"]},
        test=measured,
        baselines={"persistence": {"test": measured}},
    )
    found = result.in_short()
    assert found["dataset"] == {"targets": ["T"]}
    assert found["test"] == {"scaled": {"mae": 1.0}}
    assert found["baselines"] == {"persistence": {"test": {"scaled": {"mae": 1.0}}}}
    assert result.test == measured


def test_a_baseline_has_the_objective_of_several_leads():
    result = Result(baselines={"ridge": {"validation": {"scaled": {"mae": 0.5}}}})
    assert baseline_values(result, "val_scaled.mae") == {"ridge": 0.5}
    assert baseline_values(result, "val_mae") == {}
