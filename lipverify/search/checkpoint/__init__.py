"""The state of a run on disk, so that a killed run can be resumed."""

from lipverify.search.checkpoint.store import (
    AbstractCheckpoint,
    check_free,
    checkpoint_file,
    open_checkpoint,
)

__all__ = ["AbstractCheckpoint", "check_free", "checkpoint_file", "open_checkpoint"]
