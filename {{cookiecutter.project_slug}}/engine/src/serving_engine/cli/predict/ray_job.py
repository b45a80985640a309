"""Predicts files on a Ray cluster: `python -m serving_engine.cli.predict.ray_job --help`.

Ray Data reads the files and hands their rows to processes on all machines; each of these has the
model in memory. The predictions are those of `predict FILE --output RESULT.parquet`.
"""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import ray
from pyarrow import csv, fs, ipc, string

from ...errors import ServiceExit, UsageError
from ...heap import freeze_heap
from ...model_files.manifest import read_manifest
from ...runtimes.load import load_model
from ...schema.signature import Signature
from ...service import Service
from ...settings import ServingSettings, load_settings
from ...text import one_line, reason
from .blocks import BatchBlock, TableBlock
from .results import result_format
from .scorer import Scorer

_ROWS = 8192
"""Most rows of one call of the model."""
_OWN_ERROR = re.compile(r"^serving_engine\.[\w.]+: (.+)$", re.MULTILINE)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the job; exit code 2 or 3 with one line if it fails."""
    parser = argparse.ArgumentParser(
        description="Predict the rows of files on a Ray cluster. The model directory is "
        "SERVING_MODEL_DIR, at the same path on every machine.",
        epilog="A bad row ends the job with its reason; `predict FILE --on-error BAD` sets apart "
        "those of a file.",
    )
    parser.add_argument("package", metavar="PACKAGE", help="the package of the service")
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help=".parquet, .csv, .tsv or .jsonl, all of one kind, or folders of .parquet files; paths "
        "or URLs that every machine can read",
    )
    parser.add_argument(
        "--output",
        required=True,
        metavar="FOLDER",
        help="a new folder. Its .parquet files, sorted by name, have one prediction for each row, "
        "in their order; _SUCCESS in it says that they are complete",
    )
    parser.add_argument(
        "--processes",
        type=int,
        metavar="N",
        help="processes that predict, each with the model (default: as the cluster has cores)",
    )
    options = parser.parse_args(arguments)
    try:
        rows = predict_files(options.package, options.files, options.output, options.processes)
    except ServiceExit as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    print(f"{rows} rows predicted: {options.output}")


def predict_files(
    package: str, files: Sequence[str], output: str, processes: int | None = None
) -> int:
    """Predict the rows of files, in their order; return how many there were.

    package: of the service. files, output: as on the command line. processes: None for as many as
    there are cores. Raises UsageError for a file or a row that is not as it must be, and
    ModelError.
    """
    settings = load_settings(Service(package).import_settings())
    settings = settings.model_copy(update={"model_dir": settings.model_dir.absolute()})
    signature = read_manifest(settings.model_dir).signature
    output, *files = (_absolute(path) for path in (output, *files))
    storage, folder = fs.FileSystem.from_uri(output)
    if storage.get_file_info(folder).type != fs.FileType.NotFound:
        raise UsageError(f"cannot write {output}: it exists. Give a new folder.")
    # Else `uv run` makes Ray copy the project to each machine, and install it there.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    ray.init(log_to_driver=False, ignore_reinit_error=True)
    ray.data.DataContext.get_current().execution_options.preserve_order = True
    text = PurePosixPath(files[0]).suffix.lower() in (".csv", ".tsv")
    try:
        predictions = _read(files, signature).map_batches(
            Predictor,
            fn_constructor_args=(settings, text),
            compute=ray.data.ActorPoolStrategy(size=processes),
            batch_size=_ROWS,
            batch_format="pyarrow",
            num_cpus=1,
        )
        predictions.write_parquet(output)
        rows: int = ray.data.read_parquet(output).count()
    except (ray.exceptions.RayError, OSError, ValueError) as error:
        raise _cause(error) from None
    storage.open_output_stream(f"{folder}/_SUCCESS").close()
    return rows


def _absolute(path: str) -> str:
    """A path for every machine; a URL as it is."""
    return path if "://" in path else str(Path.cwd() / path)


def _read(files: list[str], signature: Signature) -> Any:
    """The columns of the model, as a dataset. Those of a table of text are text."""
    suffixes = {PurePosixPath(file).suffix.lower() for file in files}
    suffix = suffixes.pop()
    if suffixes or suffix not in ("", ".parquet", ".csv", ".tsv", ".jsonl"):
        raise UsageError("the files must be .parquet, .csv, .tsv or .jsonl, all of one kind.")
    if suffix in (".csv", ".tsv"):
        delimiter = "\t" if suffix == ".tsv" else ","
        rows = ray.data.read_csv(
            files,
            parse_options=csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(signature.columns, string()),
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
    elif suffix == ".jsonl":
        rows = ray.data.read_json(files, lines=True)
    else:
        rows = ray.data.read_parquet(files)
    names = rows.schema().names
    required = [column.name for column in signature.inputs if not column.nullable]
    missing = ", ".join(one_line(name) for name in required if name not in names)
    if missing:
        raise UsageError(f"{files[0]} has no column {missing}. `model show` has the columns.")
    return rows.select_columns([name for name in signature.columns if name in names])


class Predictor:
    """Predicts batches of rows; Ray makes one in each process.

    text: whether the cells are text, of which the signature says what it means.
    """

    def __init__(self, settings: ServingSettings, text: bool) -> None:
        model = load_model(settings)
        freeze_heap()
        signature = model.manifest.signature
        self._text = text
        self._known = {column.name: column for column in signature.inputs}
        self._format = result_format(Path("result.parquet"), signature)
        self._scorer = Scorer(model, self._format)

    def __call__(self, rows: Any) -> Any:
        """The predictions of a pyarrow.Table, as one. Raises UsageError at a bad row."""
        scored = self._scorer(self._to_block(rows))
        if scored.bad:
            raise UsageError(f"the row {scored.bad[0].row} is bad: {scored.bad[0].reason}.")
        return ipc.open_stream(self._format.head() + scored.data).read_all()

    def _to_block(self, rows: Any) -> TableBlock | BatchBlock:
        """The rows as `predict` would have read them."""
        sink = BytesIO()
        if self._text:
            csv.write_csv(rows, sink, csv.WriteOptions(include_header=False))
            return TableBlock(sink.getvalue(), rows.column_names, ",", self._known)
        rows = rows.combine_chunks()
        with ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(rows)
        return BatchBlock(sink.getvalue())


def _cause(error: BaseException) -> UsageError:
    """The engine's own error that has caused one of Ray's, or else the first cause.

    Ray sends what a call of `Predictor` has raised as the text of a traceback.
    """
    own = _OWN_ERROR.findall(str(error))
    while cause := getattr(error, "cause", None) or error.__cause__:
        error = cause
    return UsageError(own[-1] if own else reason(error))


if __name__ == "__main__":
    # Ray finds `Predictor` by the name of its module, which is not __main__ elsewhere.
    import_module("serving_engine.cli.predict.ray_job").main()
