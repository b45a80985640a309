"""The command `predict`."""

import argparse
import sys
from pathlib import Path

from ...service import Service
from ...settings import load_settings
from ..model_commands import add_model_dir


def add_predict(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    predict = commands.add_parser(
        "predict",
        help="predict the rows of a file of any size",
        description="Read rows from FILE (.csv, .tsv, .jsonl, .parquet or .json; - is JSON Lines "
        "from standard input) and write one prediction for each row, in their order: as JSON Lines "
        "to standard output, or to RESULT. The file may be larger than the memory, unless it is "
        ".json.",
        epilog="JSON Lines have the predictions of POST /predict. CSV and Parquet have a column "
        "for each value: label, value, cluster, outlier, score, labels.NAME, values.NAME, "
        "probabilities.NAME. A bad row cannot be read, does not fit the model, or makes it fail. "
        "It ends the command with code 2; with --on-error, BAD gets it with its number, from 0, "
        "and the reason, and its prediction is empty.",
    )
    predict.add_argument("file", type=Path, metavar="FILE")
    predict.add_argument(
        "--output",
        type=Path,
        metavar="RESULT",
        help="a .jsonl, .csv or .parquet file, which appears when it is complete",
    )
    predict.add_argument(
        "--on-error", type=Path, metavar="BAD", help="a file for the bad rows, as JSON Lines"
    )
    predict.add_argument(
        "--resume",
        action="store_true",
        help="go on where a run for RESULT was killed, if it was; without this, begin anew",
    )
    predict.add_argument(
        "--workers",
        type=_count,
        default=1,
        metavar="N",
        help="processes that predict, with one copy of the model in memory (default: 1)",
    )
    add_model_dir(predict)
    predict.set_defaults(run=_predict)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("it must be 1 or more")
    return int(text)


def _predict(service: Service, options: argparse.Namespace) -> None:
    from ...heap import freeze_heap
    from ...runtimes.load import load_model
    from .run import PredictOptions, predict_file

    chosen = PredictOptions(
        options.file, options.output, options.on_error, options.resume, options.workers
    )
    chosen.check()
    settings = load_settings(service.import_settings(), model_dir=options.model_dir)
    model = load_model(settings)
    freeze_heap()
    done = predict_file(chosen, model, _note)
    if done.bad:
        _note(f"{done.bad} of {done.rows} rows are in {chosen.on_error}")
    if chosen.output is not None:
        print(f"{done.rows - done.bad} rows predicted: {chosen.output}")


def _note(text: str) -> None:
    print(text, file=sys.stderr)
