"""Snakemake's `--logger cyborgs`: a run as a tree of its rounds and jobs (`cyborgs.progress`).

Snakemake imports every plugin whenever it starts, so what it takes is imported when it is used.
"""

import logging
from dataclasses import dataclass, field

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase


@dataclass
class LogHandlerSettings(LogHandlerSettingsBase):
    """Options of the command line, ``--logger-cyborgs-…``."""

    show: str = field(
        default="auto",
        metadata={
            "help": "auto: a tree in a terminal, else lines. lines: a line when a job begins and "
            "ends. snakemake: what Snakemake prints without this plugin",
            "choices": ["auto", "lines", "snakemake"],
        },
    )


class LogHandler(LogHandlerBase):
    """Hands Snakemake's records on."""

    def __post_init__(self) -> None:
        from cyborgs.progress.handler import ProgressHandler

        assert self.settings is None or isinstance(self.settings, LogHandlerSettings)
        show = "auto" if self.settings is None else self.settings.show
        self._handler = ProgressHandler(self.common_settings, show)

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record."""
        self._handler.take(record)

    def close(self) -> None:
        """End what is shown."""
        self._handler.close()
        super().close()

    @property
    def writes_to_stream(self) -> bool:
        """It takes the place of Snakemake's own output."""
        return True

    @property
    def writes_to_file(self) -> bool:
        """Snakemake's own log file stays."""
        return False

    @property
    def has_filter(self) -> bool:
        """It chooses by itself what to show."""
        return True

    @property
    def has_formatter(self) -> bool:
        """It has its own words."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """The jobs are told when the workflow starts."""
        return False
