"""What is checked out against a commit, in paired rounds: fails where it is slower beyond the noise.

    make bench-guard ARGS='--against main~1'
    make bench-guard ARGS='--against v0.1.0 --models forest --rounds 5'
    make bench-guard ARGS='--against HEAD'        the noise of this machine: nothing should fail

Both templates are rendered and installed, each packages the models with its own command, and both
services run at once and take turns of a second under the same load (paired.py). Compared is the
median over all turns: requests per second, processor time of a request, p99; and memory and time
until ready, as medians of the rounds. A figure that is worse than the commit's by more than its band
ends the command with code 1. The bands are what an unchanged service shows against itself on a
shared machine; a change that small needs a quiet machine and more rounds to be seen.
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

from cookiecutter.main import cookiecutter

from load import write_script
from models_of_services import package
from paired import Check, Load, Rounds, Variant, measure_round, ratios
from report import OURS
from servers import HERE, Server, choose_python, python_version, service_of, uv, with_model
