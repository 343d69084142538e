"""What a check finds: a step of the path, whether it holds, what was seen, and how to mend it."""

from dataclasses import asdict, dataclass
from typing import Literal

Status = Literal["ok", "warning", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One step.

    Attributes:
        step: Its name, the same in every run.
        status: `failed`: guests are hurt; `warning`: they may be; `skipped`: it could not be tried.
        seen: What was seen, in one sentence; never a secret or a token.
        cure: What to do about it; "" where nothing is to be done.
    """

    step: str
    status: Status
    seen: str
    cure: str = ""

    def as_json(self) -> dict[str, str]:
        """Its members, for a machine."""
        return asdict(self)


def ok(step: str, seen: str) -> Finding:
    """The step holds."""
    return Finding(step, "ok", seen)


def warning(step: str, seen: str, cure: str) -> Finding:
    """The step holds, but not for long, or not for everyone."""
    return Finding(step, "warning", seen, cure)


def failed(step: str, seen: str, cure: str) -> Finding:
    """The step does not hold."""
    return Finding(step, "failed", seen, cure)


def skipped(step: str, seen: str) -> Finding:
    """The step could not be tried, or there is nothing to try."""
    return Finding(step, "skipped", seen)
