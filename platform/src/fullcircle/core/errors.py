"""The one error tree. Every error says what failed, for which id, why, and what to do next.

FullcircleError                exit code 1
|-- UsageError                 exit code 2: wrong words on the command line, an unknown name
|   |-- ProjectNotFound        no such project folder, or it does not load
|   |-- ProjectInvalid         a field of project.py is wrong: which, what it must be, what it is
|   `-- TargetInvalid          the target does not fit its kind of problem: which column, which values
|-- HomeUnwritable             FULLCIRCLE_HOME is read-only or full
|-- DataUnavailable            rows, a data version or one of its blobs cannot be had
|-- ContractViolated           a batch breaks the data contract (carries its violations); code 2: the target does
|-- LeakageFound               a split would let the answer, or the future, into training
|-- RetrainRefused             the budget of retrains is spent, or this very one was made already
|-- TrainingFailed             a trainer could not produce a finite model
|-- Preempted                  exit code 75: training was told to stop, wrote a checkpoint, and can be resumed
|-- LeaseTaken                 exit code 75: another process does this at the moment
|-- LeaseLost                  this process was given up and another does its work: what it still writes is refused
|-- ChampionChanged            another champion serves than the one that a verdict was taken against
|-- ExportFailed               the one graph could not be built, or differs from the native model
|-- TrackingUnavailable        MLflow's store or the registry does not answer
|   `-- TrackerAway            (also Away) away for now: what a run tells waits in its spool
|-- Away                       somebody else's service is away for now, and is worth waiting for
|   `-- DatabaseAway           the platform's database does not answer, or another program holds it locked
|-- FormatTooNew               a newer version wrote this file; nothing of it is changed
|   `-- SpoolTooNew            ... this spool
|-- ModelUnavailable           no such version or alias, or its graph does not load or match its digest
|-- BadRequest                 a prediction request that names no answer: which field and why
`-- ServiceUnavailable         a local server (Prefect, MLflow UI, inference) did not come up
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fullcircle.core.security.untrusted import visible

if TYPE_CHECKING:
    from fullcircle.core.records.dataset import ContractReport, LeakageReport


class FullcircleError(Exception):
    """What failed and why in one line, and what to do next in another.

    Args:
        what: one line: what failed, for which id, and why.
        hint: what the reader can do about it; empty when there is nothing to say.

    Either quotes what came from outside, and is read on a terminal, in a log and in an answer: hidden characters of
    both are spelled out.
    """

    exit_code = 1

    def __init__(self, what: str, *, hint: str = "") -> None:
        self.what = visible(what)
        self.hint = visible(hint)
        super().__init__(self.what)

    def __str__(self) -> str:
        return f"{self.what}; {self.hint}" if self.hint else self.what


class UsageError(FullcircleError):
    """The caller asked for something that does not exist or does not fit."""

    exit_code = 2


class ProjectNotFound(UsageError):
    """No project of that name, or its project.py does not load."""


class ProjectInvalid(UsageError):
    """A field of a project is wrong: which field, what it must be, what it got."""


class TargetInvalid(UsageError):
    """A target column does not fit its kind of problem: which column, which values, what to do."""


class HomeUnwritable(FullcircleError):
    """FULLCIRCLE_HOME cannot be written."""


class DataUnavailable(FullcircleError):
    """Rows, a data version, or one of its blobs cannot be had."""


class ContractViolated(FullcircleError):
    """A batch breaks the data contract; `report` has the violations, `quarantine` where the batch is kept."""

    def __init__(self, what: str, *, report: ContractReport, quarantine: str, hint: str = "") -> None:
        super().__init__(what, hint=hint)
        self.report = report
        self.quarantine = quarantine


class LeakageFound(FullcircleError):
    """A split would let the answer, or the future, into training; `report` says how."""

    def __init__(self, what: str, *, report: LeakageReport, hint: str = "") -> None:
        super().__init__(what, hint=hint)
        self.report = report


class RetrainRefused(FullcircleError):
    """Nothing was trained: the policy's budget or cooldown forbids it, or the same wish was done before."""


class TrainingFailed(FullcircleError):
    """A trainer could not produce a finite model."""


class Preempted(FullcircleError):
    """Training was told to stop (SIGTERM), wrote a checkpoint of `step`, and can be resumed."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: a scheduler knows that it may be tried again

    def __init__(self, what: str, *, step: int = 0, hint: str = "") -> None:
        super().__init__(what, hint=hint)
        self.step = step


class LeaseTaken(FullcircleError):
    """Another process holds the lease of what was asked for."""

    exit_code = 75  # EX_TEMPFAIL: it may be tried again


class LeaseLost(FullcircleError):
    """This process was given up (it did not renew its lease in time) and another holds the lease now, or may."""


class ChampionChanged(FullcircleError):
    """The champion is another one than the one that a verdict was taken against; nothing was changed.

    Attributes:
        champion: the version that serves now, None for none.
    """

    def __init__(self, what: str, *, champion: str | None, hint: str = "") -> None:
        super().__init__(what, hint=hint)
        self.champion = champion


class ExportFailed(FullcircleError):
    """The one graph could not be built, or does not agree with the native model."""


class TrackingUnavailable(FullcircleError):
    """MLflow's store or registry does not answer."""


class Away(FullcircleError):
    """What cannot be had at this moment and may be had later; see `core.system.outages`.

    Args:
        whom: what is away, as a sentence begins: "the tracking server at ...".
        why: in the system's own words.
        worth_s: waiting longer than so many seconds helps nobody.
    """

    def __init__(self, what: str, *, hint: str = "", whom: str = "", why: str = "", worth_s: float = math.inf) -> None:
        super().__init__(what, hint=hint)
        self.whom = whom or "what is needed"
        self.why = why or what
        self.worth_s = worth_s


class TrackerAway(TrackingUnavailable, Away):
    """A tracker does not answer now, but may later: what a run tells waits in its spool until it does."""


class DatabaseAway(Away):
    """The platform's database does not answer, or another program holds it and did not let go of it in time."""


class FormatTooNew(FullcircleError):
    """A newer version of the platform wrote a file: it is neither read nor changed."""


class SpoolTooNew(FormatTooNew):
    """A newer version of the platform wrote a spool: it is neither read nor changed."""


class ModelUnavailable(FullcircleError):
    """No such model version or alias, or its graph does not load or does not match its digest."""


class BadRequest(FullcircleError):
    """A prediction request that cannot be answered; `field` names the column at fault."""

    exit_code = 2

    def __init__(self, what: str, *, field: str = "", hint: str = "") -> None:
        super().__init__(what, hint=hint)
        self.field = field


class ServiceUnavailable(FullcircleError):
    """A local server did not come up or went away."""
