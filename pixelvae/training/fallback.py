"""The last checkpoint whose validation was finite, for a run that diverges later."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pixelvae.checkpoint import load_progress
from pixelvae.storage import replace_folder
from pixelvae.training.messages import diverged
from pixelvae.training.trainer import TrainingDivergedError


class Fallback:
    """Keeps the files of a checkpoint in memory; they replace a later ``out/last`` when training diverges.

    A later checkpoint has finite weights, but they may be ones from which every resumed run diverges again.

    Args:
        out: The folder of the run.
    """

    def __init__(self, out: Path) -> None:
        self.last, self.step = out / "last", 0
        self.files: Mapping[str, bytes] | None = None

    def keep(self, step: int, files: Mapping[str, bytes]) -> None:
        """Keep the files of the checkpoint after a finite validation."""
        self.step, self.files = step, files

    def restored(self, error: TrainingDivergedError) -> TrainingDivergedError:
        """Put the kept checkpoint in the place of a later one; the error, with checkpoints and remedies."""
        if self.files is None:
            return diverged(str(error), self.last.parent, "the last with finite weights")
        if not self.last.is_dir() or load_progress(self.last).step > self.step:
            replace_folder(self.last, self.files)
        return diverged(str(error), self.last.parent, "the last with a finite validation")
