import json

import papermill
import pytest


@pytest.mark.slow
def test_the_tour_runs_the_five_notebooks_and_predicts_a_file_of_the_users(project, demo_folder):
    mine = sorted(demo_folder.rglob("*_angry.wav"))[0]
    small = ["EPOCHS=1", "LSTM_UNITS=4", "DENSE_UNITS=4", f"DATASET_PATH={demo_folder}", "N_JOBS=1"]
    executed = papermill.execute_notebook(
        project / "notebooks" / "00_tour.ipynb",
        project / "tour.ipynb",
        parameters={"OVERRIDES": small, "RUN_NAME": "tour", "MY_AUDIO_FILE": str(mine)},
        progress_bar=False,
        cwd=project,
    )
    manifest = json.loads((project / "reports" / "tour" / "manifest.json").read_text())
    assert manifest["state"] == "done"
    printed = [output.get("text", "") for cell in executed.cells for output in cell.get("outputs", [])]
    assert any(text.startswith(f"{mine.name}: ") for text in printed)
