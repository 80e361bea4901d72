"""The faults of the journal: a store that cannot be used, a row that cannot be read or written."""

from pathlib import Path

from aegis.core.errors import AegisError, bounded_text


class JournalError(AegisError):
    """Raised when the journal file cannot be opened, read or written; says how to mend it."""

    def __init__(self, path: Path | str, problem: str, fix: str) -> None:
        self.path = str(path)
        self.problem = bounded_text(problem)
        self.fix = fix
        super().__init__(f"journal {self.path}: {self.problem}: {fix}")


class CodecError(AegisError):
    """Raised when an event cannot be written losslessly, or a row is not of the form it names."""

    def __init__(self, event_type: str, problem: str) -> None:
        self.event_type = event_type
        self.problem = bounded_text(problem)
        super().__init__(f"{event_type}: {self.problem}")
