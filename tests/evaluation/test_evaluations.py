"""The tuple of evaluations: what each one holds, and what is held together by it."""

import subprocess
import sys

import pytest
import yaml

from cyborgs.cli import main
from cyborgs.common.errors import InputError
from cyborgs.config import Config
from cyborgs.evaluation import BY_NAME, EVALUATIONS
from cyborgs.evaluation.datasets import require_datasets
from cyborgs.evaluation.kinds import Trained
from cyborgs.run.provenance import VERSIONS
from tests.runs import REPOSITORY

each = pytest.mark.parametrize("evaluation", EVALUATIONS, ids=list(BY_NAME))


def test_they_are_listed_without_heavy_libraries():
    heavy = ("torch", "torchvision", "numpy", "sklearn", "cv2", "pycocotools")
    code = (
        "import sys\nfrom cyborgs.evaluation import EVALUATIONS\n"
        "import cyborgs.config.downstream\n"
        f"print([m for m in {heavy} if m in sys.modules], len(EVALUATIONS))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == f"[] {len(EVALUATIONS)}\n"


@each
def test_what_each_holds(evaluation):
    assert evaluation.metrics
    assert evaluation.headline in evaluation.metrics
    assert VERSIONS[evaluation.stage] == evaluation.version
    assert Config().downstream.settings(evaluation) == evaluation.settings
    if isinstance(evaluation, Trained):
        assert evaluation.settings.batch_size > 0


@each
def test_each_is_a_command(evaluation, capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", evaluation.command, "--help"])
    shown = capsys.readouterr().out
    assert ("--datasets" in shown) == bool(evaluation.needed)
    assert ("--seed" in shown) == isinstance(evaluation, Trained)


@each
def test_what_is_missing_is_told_with_how_to_get_it(evaluation, tmp_path):
    if not evaluation.needed:
        require_datasets(tmp_path, [evaluation])
        return
    with pytest.raises(InputError) as caught:
        require_datasets(tmp_path, [evaluation])
    lines = str(caught.value).splitlines()
    for line, needed in zip(lines, evaluation.needed, strict=True):
        assert line.startswith(f"downstream.{evaluation.name}: {tmp_path / needed} does not exist")
        assert "`cyborgs data" in line


@each
def test_each_is_described(evaluation):
    text = (REPOSITORY / "docs/evaluation.md").read_text()
    assert f"| `{evaluation.name}` | `cyborgs evaluate {evaluation.command}` |" in text
    assert f"**`{evaluation.name}`**" in text


@each
def test_the_cluster_profile_says_where_each_runs(evaluation):
    profile = yaml.safe_load((REPOSITORY / "workflow/profiles/slurm/config.yaml").read_text())
    assert "mem_mb" in profile["set-resources"][f"evaluate_{evaluation.name}"]
