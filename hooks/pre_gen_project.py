"""Refuses answers that cannot make a working project: all of them at once, each with one that can.

cookiecutter runs this in the folder it has just made, and removes that if the exit code is not 0.
It makes none elsewhere: `__asked_slug` was asked for, `project_slug` is a plain name made of it.
"""

import sys

if sys.version_info < (3, 10):
    sys.exit("This template needs a cookiecutter on Python 3.10 or newer, e.g. `uvx cookiecutter`.")

import json
import keyword
import os
import re
import shlex
import subprocess

# As data: an answer pasted between quotes would be code. GIVEN: what cookiecutter rendered first.
ANSWERS = json.loads({{cookiecutter | tojson | string | tojson}})
GIVEN = json.loads({{_cookiecutter | default({}) | tojson | string | tojson}})

# Every question of cookiecutter.json, with its default or its choices.
QUESTIONS = {
    "project_name": "Iris Service",
    "project_slug": ANSWERS["__derived_slug"],
    "description": "Predictions of a machine-learning model over HTTP.",
    "author": "Your Name",
    "model_runtime": ["scikit-learn"],
    "protocols": ["open-inference", "none", "all"],
    "deployment": ["container", "none"],
    "ci": ["github", "gitlab", "none"],
    **dict.fromkeys(["_model_url", "_model_sha256"], ""),
}

# What a service cannot be called: it would be in the way of these, in a Python that it runs on.
RESERVED = {
    "a Python keyword": " ".join([*keyword.kwlist, *keyword.softkwlist, "case match type"]),
    "a module of Python": """aifc annotationlib asynchat asyncore audioop cgi cgitb chunk crypt
    compression distutils imghdr imp lib2to3 mailcap msilib nis nntplib ossaudiodev pipes smtpd
    sndhdr spwd sunau telnetlib tomllib uu xdrlib """ + " ".join(sys.stdlib_module_names),
    "a name that the project uses": """activate annotated_types anyio build certifi click conftest
    coverage deactivate dist fastapi h11 hatchling httptools httpx httpx2 hypothesis idna joblib
    lightgbm model mypy numpy orjson packaging pandas pip pre_commit pyarrow prometheus_client
    pydantic pydantic_core pydantic_settings pytest pytest_xdist python python3 requests ruff
    schemathesis scikit_learn scipy setuptools sklearn skops src starlette test tests threadpoolctl
    types_requests typing_extensions urllib3 uv uvicorn uvloop wheel xdist xgboost xgboost_cpu""",
    "a device of Windows": " ".join(["con prn aux nul", *(f"com{i} lpt{i}" for i in range(10))]),
}
JINJA = re.compile("[{][%#{]")
# What ends a line, reorders it or is half a character; right-to-left letters and emoji are fine.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def main():
    answers = {key: ANSWERS.get(key) for key in QUESTIONS}
    answers["project_slug"] = ANSWERS["__asked_slug"]
    answers.update((k, v) for k, v in GIVEN.items() if k != "project_slug" and JINJA.search(str(v)))
    rules = {key: rule for key, value in answers.items() if (rule := broken_rule(key, value))}
    if not rules:
        return 0
    lines = ["Nothing was generated. These answers cannot be used:"]
    for key, rule in rules.items():
        shown, answers[key] = f"{answers[key]!a:.60}", suggestion(key, answers[key])
        lines.append(f"  {key} = {shown}\n    {rule}; this would do: {answers[key]!a}")
    print(*lines, "Run again:", "  " + command(answers), sep="\n", file=sys.stderr)
    return 1


def broken_rule(key, value):
    """The rule that an answer breaks, or None."""
    if isinstance(QUESTIONS[key], list):
        return None if value in QUESTIONS[key] else "must be one of " + ", ".join(QUESTIONS[key])
    if not isinstance(value, str):
        return "must be text"
    if not value and key.startswith("_"):
        return None
    if not any(c.isprintable() and not c.isspace() for c in value):
        return "must not be empty"
    if JINJA.search(value):
        return "must not hold '{' before '{', '%' or '#': cookiecutter runs what follows as code"
    if CONTROL.search(value):
        return "must be one line of text without control characters"
    if len(value) > (limit := {"project_slug": 100, "_model_url": 2000}.get(key, 200)):
        return f"must not be longer than {limit} characters"
    if value != value.strip():
        return "must not begin or end with a space"
    own = {"project_slug": slug_rule, "_model_url": url_rule, "_model_sha256": sha256_rule}
    return own[key](value) if key in own else None


def slug_rule(slug):
    if not re.fullmatch("[a-z][a-z0-9]*(-[a-z0-9]+)*", slug):
        return "must match ^[a-z][a-z0-9-]*$, with single hyphens, none of them at the end"
    package = slug.replace("-", "_")
    taken = [what for what, names in RESERVED.items() if package in names.split()]
    return f"makes a package called {package}, which is {taken[0]}" if taken else None


def url_rule(url):
    this_machine = r"http://(localhost|127(\.\d+){3}|\[::1\])(:\d+)?"
    is_path = not re.match("[A-Za-z][A-Za-z0-9+.-]+:", url)  # C: is a drive
    if not is_path and not re.fullmatch(rf"(https://[^\s/]+|{this_machine})/\S*", url):
        return "must be an https URL, an http URL of this machine, or a path"
    return None if re.search(r"(^|[/\\])manifest\.json(\?|$)", url) else "must name a manifest.json"


def sha256_rule(digest):
    if not re.fullmatch("[0-9a-fA-F]{64}", digest):
        return "must be 64 hex digits"
    return None if ANSWERS["_model_url"] else "is of no use without a _model_url"


def suggestion(key, value):
    """An answer that breaks no rule, as close as can be to the one given."""
    if isinstance(QUESTIONS[key], list):
        return QUESTIONS[key][0]
    text = JINJA.sub(" ", CONTROL.sub(" ", str(value or ""))).strip()
    options = [text[:200].strip()]
    if key == "project_slug":
        slug = ANSWERS[key]
        options = [slug, slug[:80] + "-service", "service-" + slug[:80].rstrip("-")]
    elif key == "_model_url":
        url = re.sub("^http:", "https:", re.sub("[?#].*", "", text))
        options = [text, url, url.rstrip("/") + "/manifest.json"]
    return next(text for text in (*options, QUESTIONS[key]) if not broken_rule(key, text))


def command(answers):
    """What to type for a project with these answers."""
    usual = {key: d[0] if isinstance(d, list) else d for key, d in QUESTIONS.items()}
    if answers["project_name"] != ANSWERS["project_name"]:
        usual["project_slug"] = None  # another name has another default
    given = {key: value for key, value in answers.items() if value != usual[key]}
    if not answers["_model_url"]:
        given.pop("_model_sha256", None)
    template = ANSWERS.get("_template") or "TEMPLATE"
    words = ["cookiecutter", template, "--no-input", *(f"{k}={v}" for k, v in given.items())]
    if "_commit" in ANSWERS:  # which only cruft sets
        words = ["cruft", "create", template, "--no-input", "--extra-context", json.dumps(given)]
    words += ["--checkout", ANSWERS["_checkout"]] if ANSWERS.get("_checkout") else []
    words += ["--overwrite-if-exists"] if os.listdir() else []
    folder = os.path.dirname(os.getcwd())
    words += ["--output-dir", folder] if folder != os.environ.get("PWD") else []
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


if __name__ == "__main__":
    sys.exit(main())
