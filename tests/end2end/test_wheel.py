"""The wheel holds everything: built, unpacked over nothing, run from an empty folder."""

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_the_console_script_runs_from_a_wheel(tmp_path, request):
    wheels, site, empty = (tmp_path / name for name in ("wheels", "site", "empty"))
    empty.mkdir()
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "-w", str(wheels)]
    subprocess.run([*pip, *build, str(request.config.rootpath)], check=True)
    (wheel,) = wheels.glob("seqconv-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True)

    # -S leaves the editable install out; the libraries come after the wheel.
    import numpy

    libraries = str(__import__("pathlib").Path(numpy.__file__).parents[1])
    done = subprocess.run(
        [
            sys.executable,
            "-S",
            str(site / "bin" / "seqconv-train"),
            "trainer=smoke",
            "model=conv1d",
        ],
        cwd=empty,
        env={"PYTHONPATH": f"{site}:{libraries}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert '"status": "completed"' in done.stdout
    assert (empty / "outputs" / "climate_demo-conv1d").is_dir()
