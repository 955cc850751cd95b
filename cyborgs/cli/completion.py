"""The command that prints a script by which a shell completes all others."""

import argparse
from pathlib import Path
from typing import Any

from cyborgs.cli import options as o

# Arguments that name folders, and texts that may name a file.
_FOLDERS = ("datasets", "images", "run", "work")
_TEXTS = ("backbone", "config", "file", "masks")


def add(commands: o.Commands, parser: argparse.ArgumentParser) -> None:
    """Add the command to the parser, which it completes."""
    c = o.command(
        commands, "completion", _completion, "print a script for completing commands in a shell"
    )
    c.add_argument("shell", choices=("bash", "zsh"))
    c.set_defaults(parser=parser)


def _completion(options: argparse.Namespace) -> None:
    import shtab

    files: dict[str, Any] = {"file": shtab.FILE, "folder": shtab.DIRECTORY}
    _complete_paths(options.parser, files)
    print(shtab.complete(options.parser, shell=options.shell))


def _complete_paths(parser: argparse.ArgumentParser, how: dict[str, Any]) -> None:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _complete_paths(command, how)
        elif action.type is Path or action.dest in _TEXTS:
            kind = "folder" if action.dest in _FOLDERS else "file"
            action.complete = how[kind]  # type: ignore[attr-defined]
