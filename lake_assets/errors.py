"""Every error this package raises on purpose.

The first split says what a caller may do: call again later, change something first, or look up
what happened.

LakeError
├── RetryableError            the same call may work later
│   ├── DatasetBusy               another process is ingesting this dataset
│   ├── LeaseLost                 another process took over a dataset from this one
│   ├── CommitConflict            other writers won the race for a table too often
│   ├── SchemaChanged             another writer changed a table since rows were fitted to it
│   └── StorageUnavailable        the disk is full, or a file is locked or gone for now
├── FatalError                the same call will fail again
│   ├── InvalidSettings           lake.toml or a LAKE_* variable
│   ├── InvalidName               a provider, dataset, tag or file name that engines would refuse
│   ├── InvalidRequest            options that contradict each other, or one that is missing
│   ├── InvalidRegistry           config/schema.yaml
│   ├── InvalidMetadata           what is said of an upload breaks its task's contract
│   ├── LakeNotFound              no lake at this place
│   ├── LakeMoved                 a lake that was copied or moved, until `lake relocate`
│   ├── UnknownProvider
│   ├── UnknownDataset
│   ├── UnknownTask
│   ├── UnknownUpload
│   ├── UnknownTable
│   ├── AlreadyExists
│   ├── UnreadableSource          a delivery that cannot be read as what it claims to be
│   ├── UnsupportedFormat         a delivery in a form that no reader knows
│   ├── UnreadableMedia           one image; always becomes a rejected row
│   ├── InvalidManifest           a manifest.json that does not parse or is of a later version
│   ├── SchemaMismatch            rows that do not fit their table
│   ├── DamagedTable              a file of a table is missing or cannot be read
│   ├── FewerRows                 a rebuild would lose accepted rows, and nobody agreed to it
│   ├── UploadsFailed             one or more uploads ended in failed/
│   └── QueryFailed               SQL that DuckDB refuses
└── UnknownOutcome            a commit may or may not have happened: look it up, never guess
"""

from __future__ import annotations


class LakeError(Exception):
    """Base class. The message says what failed, where, and what to do about it.

    Args:
        message: One sentence or two, for a person.
        context: The same facts as fields, for programs (``table=``, ``upload=``, ``row=``…).
    """

    def __init__(self, message: str, **context: object) -> None:
        super().__init__(message)
        self.message = message
        self.context = context

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions pickle by their args only; workers send these across processes.
        return (_rebuild, (type(self), self.message, self.context))

    def __str__(self) -> str:
        pairs = " ".join(f"{key}={value!r}" for key, value in self.context.items())
        return f"{self.message} [{pairs}]" if pairs else self.message


def _rebuild(kind: type[LakeError], message: str, context: dict[str, object]) -> LakeError:
    return kind(message, **context)


class RetryableError(LakeError):
    """The same call may work later."""


class DatasetBusy(RetryableError):
    """Another process is ingesting this dataset."""


class LeaseLost(RetryableError):
    """Another process took over a dataset from this one, which had stood still for too long."""


class CommitConflict(RetryableError):
    """Other writers won the race for a table too often."""


class SchemaChanged(RetryableError):
    """Another writer changed a table's columns since rows were fitted to it; fit them anew."""


class StorageUnavailable(RetryableError):
    """The disk is full, or a file is locked or gone for now."""


class FatalError(LakeError):
    """The same call will fail again until something is changed."""


class InvalidSettings(FatalError):
    """A value in lake.toml or in a LAKE_* variable is wrong; the message names its source."""


class InvalidName(FatalError):
    """A name that some engine would refuse."""


class InvalidRequest(FatalError):
    """Options that contradict each other, or one that is missing."""


class InvalidRegistry(FatalError):
    """config/schema.yaml does not parse or breaks its own rules."""


class InvalidMetadata(FatalError):
    """What is said of an upload breaks its task's contract; the message lists all that is wrong."""


class LakeNotFound(FatalError):
    """There is no lake at this place; `lake init` makes one."""


class LakeMoved(FatalError):
    """The lake is not where its tables' metadata say; `lake relocate` rewrites them."""


class UnknownProvider(FatalError):
    """The registry has no such provider."""


class UnknownDataset(FatalError):
    """The registry has no such dataset."""


class UnknownTask(FatalError):
    """The registry has no such task."""


class UnknownUpload(FatalError):
    """Staging holds no upload with this id."""


class UnknownTable(FatalError):
    """The catalog has no such table."""


class AlreadyExists(FatalError):
    """What was to be created is there already."""


class UnreadableSource(FatalError):
    """A delivery, or a file in it, cannot be read as what it claims to be."""


class UnsupportedFormat(FatalError):
    """No reader knows this form of delivery."""


class UnreadableMedia(FatalError):
    """One image cannot be used; it becomes a rejected row and never stops an upload."""


class InvalidManifest(FatalError):
    """A manifest.json does not parse, or a later version of this package wrote it."""


class SchemaMismatch(FatalError):
    """Rows do not fit the table that they are meant for."""


class DamagedTable(FatalError):
    """A file that a table needs is missing or cannot be read: `lake verify`, then `lake repair`."""


class FewerRows(FatalError):
    """A rebuild would leave fewer accepted rows than there are, and nobody agreed to it."""


class UploadsFailed(FatalError):
    """One or more uploads ended in ``failed/``; the others were committed."""


class QueryFailed(FatalError):
    """DuckDB refuses this SQL."""


class UnknownOutcome(LakeError):
    """A commit may or may not have happened; look it up before doing it again."""
