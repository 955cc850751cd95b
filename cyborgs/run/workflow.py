"""The workflow that the package brings along, and how Snakemake is started on it."""

import importlib.util
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import cyborgs
from cyborgs.common.errors import InputError

_PACKAGE = Path(cyborgs.__file__).resolve().parent

# In a clone, these are links.
WORKFLOW = (_PACKAGE / "workflow").resolve()
RECIPES = (_PACKAGE / "recipes").resolve()

# Profiles of one's own, in the folder where the run is started.
OWN_PROFILES = Path("profiles")


def profile_folder(name: str) -> Path:
    """The folder of a profile: one's own (``profiles/NAME``), the package's, or a path.

    Raises:
        InputError: no such profile, or one that needs what is not installed.
    """
    packaged = WORKFLOW / "profiles"
    for folder in (OWN_PROFILES / name, packaged / name, Path(name)):
        if (folder / "config.yaml").is_file():
            break
    else:
        known = sorted({path.parent.name for path in packaged.glob("*/config.yaml")})
        raise InputError(
            f"--profile {name}: no such profile; there are {', '.join(known)}, and folders with a "
            f"config.yaml (here, or in {OWN_PROFILES})"
        )
    for executor in re.findall(r"^executor: *([\w-]+)", (folder / "config.yaml").read_text(), re.M):
        if importlib.util.find_spec(f"snakemake_executor_plugin_{executor.replace('-', '_')}"):
            continue
        raise InputError(
            f"--profile {name}: needs snakemake-executor-plugin-{executor}, which is not installed "
            f"(pip install snakemake-executor-plugin-{executor})"
        )
    return folder


def snakemake_arguments(configuration: Path, profile: str, more: Sequence[str]) -> list[str]:
    """What Snakemake is given for a run.

    Args:
        configuration: file of the run.
        profile: name of a profile.
        more: arguments that come last.
    """
    arguments = ["--snakefile", str(WORKFLOW / "Snakefile"), "--configfile", str(configuration)]
    arguments += ["--workflow-profile", str(profile_folder(profile))]
    # The others say themselves.
    arguments += ["--cores", "all"] if profile == "default" else []
    return [*arguments, *more]


def snakemake_command(arguments: Sequence[str]) -> list[str]:
    """Snakemake of the Python that runs this program."""
    return [sys.executable, "-m", "snakemake", *arguments]


def environment(path: str) -> dict[str, str]:
    """Variables by which jobs find this program's commands, where no environment is activated."""
    return {"PATH": f"{Path(sys.executable).parent}:{path}"}
