"""Predicts the rows of a file of any size, a block at a time."""

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ...build_model.row_files import check_rows
from ...errors import UsageError
from ...runtimes.base import LoadedModel
from ...schema.signature import Signature
from ...text import one_line
from .checkpoint import Checkpoint, Progress
from .output import Output, PartialFile
from .progress_bar import ProgressBar
from .results import ResultFormat, result_format
from .scorer import Scorer
from .scoring import scoring
from .sources import Source, open_source


@dataclass(frozen=True)
class PredictOptions:
    """What `predict` is to do.

    source: `-` is standard input. output: None is standard output, as JSON Lines. on_error: the
    file for bad rows; None ends at the first one. resume: go on from the last checkpoint, if there
    is one.
    """

    source: Path
    output: Path | None = None
    on_error: Path | None = None
    resume: bool = False
    workers: int = 1

    def check(self) -> None:
        """Raise UsageError if the options do not fit each other."""
        if self.resume and self.output is None:
            raise UsageError("--resume needs --output.")
        if self.resume and not self.source.is_file():
            raise UsageError(f"--resume needs a file: {self.source} is none.")
        written = [path for path in (self.output, self.on_error) if path is not None]
        if len({path.resolve() for path in (self.source, *written)}) <= len(written):
            raise UsageError("FILE, --output and --on-error must be different files.")
        for path in written:
            if path.is_dir():
                raise UsageError(f"cannot write {path}: it is a directory.")


def predict_file(
    options: PredictOptions, model: LoadedModel, note: Callable[[str], None]
) -> Progress:
    """Predict the rows of a file. The rows are validated as those of a request are.

    note: called with a line about columns that the model does not take, which are ignored.
    Raises UsageError if the file cannot be read, and at the first bad row without `on_error`: one
    that cannot be read or does not fit the signature, on which the model fails, or whose output is
    not finite. It names the row, counted from 0, and the columns with their values.
    """
    options.check()
    if options.workers > 1 and not model.manifest.probes.fork_safe:
        raise UsageError("the model may not be shared by processes. Use --workers 1.")
    signature = model.manifest.signature
    form = result_format(options.output, signature)
    scorer = Scorer(model, form)
    with ExitStack() as stack:
        source = stack.enter_context(closing(open_source(options.source, signature)))
        _check_names(source, options.source, signature, note)
        # Workers are forked before the files are opened, whose locks they would hold.
        score = stack.enter_context(
            scoring(lambda block: scorer(source.parse(block)), options.workers)
        )
        output = _open_output(stack, options, model, form)
        bar = stack.enter_context(closing(ProgressBar(output.done.rows)))
        for scored, part in score(islice(source.blocks(), output.done.blocks, None)):
            output.add(scored)
            bar.show(output.done.rows, part)
        if not output.done.rows:
            check_rows([], str(options.source))
        output.complete()
    return output.done


def _check_names(
    source: Source, path: Path, signature: Signature, note: Callable[[str], None]
) -> None:
    """Raise UsageError if a header lacks a column, and note the columns that are ignored."""
    required = [column.name for column in signature.inputs if not column.nullable]
    missing = [name for name in required if name not in source.names]
    if missing and source.names and source.has_header:
        names = ", ".join(map(one_line, missing))
        raise UsageError(f"{path} has no column {names}. `model show` has the columns.")
    ignored = [str(name) for name in source.names if name not in signature.columns]
    if ignored:
        note(f"ignored columns: {', '.join(ignored)}")


def _open_output(
    stack: ExitStack, options: PredictOptions, model: LoadedModel, form: ResultFormat
) -> Output:
    """Open the files to write, where the last checkpoint left them if the run is to go on."""
    done = Progress()
    checkpoint = None
    if options.output is not None and options.source.is_file():
        checkpoint = Checkpoint(options.output, options.source, model.manifest)
        if options.resume:
            done = checkpoint.read()
    if done.bad and options.on_error is None:
        raise UsageError("this run has set bad rows apart: give --on-error FILE again.")
    result = bad = None
    if options.output is not None:
        result = stack.enter_context(PartialFile(options.output, done.result_bytes))
    if options.on_error is not None:
        bad = stack.enter_context(PartialFile(options.on_error, done.bad_bytes))
    return Output(
        options.source, done, result_format=form, result=result, bad=bad, checkpoint=checkpoint
    )
