"""`devmodel report` on what a booted guest's runs came to."""

import json
from pathlib import Path

import pytest

from devmodel.cli.main import main


@pytest.mark.usefixtures("no_vm")
def test_compare_and_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "at-once.html"
    models = ["--models", "mirror,private"]
    assert main(["compare", "kv", *models, "--json", "--report", str(page)]) == 0
    data = json.loads(capsys.readouterr().out)
    assert "2 of 2 runs are right" in page.read_text()
    # How things stood meanwhile: from nothing to what the row says, in time.
    rows = {row["model"]: row for row in data["results"]}
    for samples in data["samples"]:
        model = samples["model"]
        assert len(samples["seconds"]) >= 3
        assert samples["seconds"] == sorted(samples["seconds"])
        # The row is of the work alone, the samples are of the whole program.
        assert samples["device_faults"][0] == 0
        assert samples["device_faults"][-1] >= rows[model]["device_faults"] > 0
        assert max(samples["resident_bytes"]) > 0
        assert bool(max(samples["hbm_bytes_in_use"])) is (model == "private")
    made = data["made"]
    assert made["command"][:2] == ["devmodel", "compare"]
    assert set(made["machines"]) == {"mirror", "private"}
    assert all(machine["kernel"] for machine in made["machines"].values())
    file = tmp_path / "results.json"
    file.write_text(json.dumps(data))
    assert main(["report", str(file), "--pictures", str(tmp_path / "pictures")]) == 0
    text = file.with_suffix(".html").read_text()
    assert made["machines"]["private"]["kernel"] in text
    names = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert {"time.svg", "time.png", "places.png", "moves.png"} <= names
