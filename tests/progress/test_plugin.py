"""The plugin of Snakemake: found by its name, and harmless whatever happens in it."""

import logging
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry

from cyborgs.progress import handler as module
from cyborgs.progress.handler import SHOWN
from snakemake_logger_plugin_cyborgs import LogHandler, LogHandlerSettings

SETTINGS = SimpleNamespace(
    printshellcmds=True, nocolor=False, quiet=None, debug_dag=False, verbose=False,
    show_failed_logs=True, stdout=False, dryrun=False,
)  # fmt: skip


def record(message, **extra):
    made = logging.LogRecord("snakemake", logging.INFO, __file__, 1, message, (), None)
    made.__dict__.update(extra)
    return made


def test_snakemake_finds_it():
    plugin = LoggerPluginRegistry().get_plugin("cyborgs")
    assert plugin.log_handler is LogHandler
    (field,) = LogHandlerSettings.__dataclass_fields__.values()
    assert tuple(field.metadata["choices"]) == SHOWN


def test_it_loads_nothing_heavy_before_it_is_used():
    code = (
        "import sys, snakemake_logger_plugin_cyborgs\n"
        "print([m for m in ('torch', 'cv2', 'h5py', 'numpy', 'psutil', 'cyborgs') "
        "if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"


def test_a_fault_of_its_own_is_told_and_the_run_goes_on_in_snakemakes_words(capsys):
    handler = LogHandler(SETTINGS, LogHandlerSettings())
    # A record that lacks what it must have.
    broken = record("", event=LogEvent.JOB_INFO, rule_name="pretrain", msg="x")
    handler.handle(broken)
    handler.handle(record("a warning of the workflow"))
    handler.close()
    told = capsys.readouterr().err
    assert "the progress display failed (AttributeError" in told
    assert "a warning of the workflow" in told


def test_where_snakemakes_own_handler_fails_too_the_words_are_shown(monkeypatch, capsys):
    monkeypatch.setattr(module, "plain_handler", lambda _: 1 / 0)
    handler = LogHandler(SETTINGS, LogHandlerSettings())
    handler.handle(record("", event=LogEvent.JOB_INFO))
    handler.handle(record("what comes after"))
    handler.close()
    assert "what comes after" in capsys.readouterr().err


def test_a_fault_between_two_records_ends_no_run(monkeypatch, capsys):
    monkeypatch.setattr(module, "_TICK", 0.01)
    handler = LogHandler(SETTINGS, LogHandlerSettings())
    monkeypatch.setattr(
        handler._handler._follower, "tick", lambda: (_ for _ in ()).throw(ValueError("no"))
    )
    deadline = time.monotonic() + 30
    while handler._handler._plain is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    handler.handle(record("what comes after"))
    handler.close()
    assert "what comes after" in capsys.readouterr().err


@pytest.mark.parametrize("more", [{"verbose": True}, {"debug_dag": True}])
def test_who_asks_for_more_is_given_all(capsys, more):
    handler = LogHandler(SimpleNamespace(**vars(SETTINGS) | more), LogHandlerSettings())
    handler.handle(record("Select jobs to execute..."))
    handler.close()
    assert "Select jobs" in capsys.readouterr().err


def test_snakemakes_words_can_be_asked_for(capsys):
    handler = LogHandler(SETTINGS, LogHandlerSettings(show="snakemake"))
    handler.handle(record("Select jobs to execute..."))
    handler.close()
    assert capsys.readouterr().err == "Select jobs to execute...\n"


def test_a_stream_that_is_closed_ends_no_run(monkeypatch):
    class Broken:
        encoding = "utf-8"

        def isatty(self):
            return False

        def write(self, _):
            raise BrokenPipeError

        flush = write

    monkeypatch.setattr(sys, "stderr", Broken())
    handler = LogHandler(SETTINGS, LogHandlerSettings())
    handler.handle(record("a message"))
    handler.handle(record("another"))
    handler.close()
