"""Refuses answers that cannot make a working project: all of them at once, each with a way out.

cookiecutter runs this in the folder that it has just made, before it writes a file, and removes the
folder if the exit code is not 0. The questions, their defaults and their choices stand in
cookiecutter.json and nowhere else: cookiecutter itself refuses a choice that is not offered.

Why `__slug` is there: cookiecutter makes the folder before it runs this hook, so a slug like ../x
would already have made one elsewhere. `__slug` therefore puts a plain name in the place of
`project_slug`, and keeps the one that was asked for, which is checked here. It is a list of one
dictionary because that is what cookiecutter lets nobody give another value for.
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

# As data: an answer pasted between quotes would be code.
ANSWERS = json.loads({{cookiecutter | tojson | string | tojson}})
# In the order of asking: `tojson` sorts.
KEYS = json.loads({{cookiecutter | list | tojson | string | tojson}})
# The answers before cookiecutter ran the Jinja that one may hold; cruft does not tell them.
GIVEN = json.loads({{_cookiecutter | default({}) | tojson | string | tojson}})

LONGEST_TEXT = 200
LONGEST = {
    "project_slug": 53,  # of the 63 characters of a Service in Kubernetes, KServe takes 10
    "_model_url": 2000,
}

# A service cannot be called any of these: its package would hide the one of that name.
KEYWORDS = {*keyword.kwlist, *keyword.softkwlist, "case", "match", "type"}
MODULES = {
    *sys.stdlib_module_names,
    # Those that other Pythons have on which a service may run.
    "aifc", "annotationlib", "asynchat", "asyncore", "audioop", "cgi", "cgitb", "chunk",
    "compression", "crypt", "distutils", "imghdr", "imp", "lib2to3", "mailcap", "msilib", "nis",
    "nntplib", "ossaudiodev", "pipes", "smtpd", "sndhdr", "spwd", "sunau", "telnetlib", "tomllib",
    "uu", "xdrlib",
}
USED_BY_THE_PROJECT = {
    "activate", "annotated_types", "anyio", "build", "certifi", "click", "conftest", "coverage",
    "deactivate", "dist", "engine", "fastapi", "fastapi_swagger", "flatbuffers", "google", "h11",
    "hatchling", "httptools", "httpx", "httpx2", "hypothesis", "idna", "joblib", "leafparity",
    "lightgbm", "model", "mypy", "numpy", "onnx", "onnxruntime", "orjson", "packaging", "pandas",
    "pip", "pre_commit", "prometheus_client", "pyarrow", "pydantic", "pydantic_core",
    "pydantic_settings", "pytest", "pytest_xdist", "python", "python3", "requests", "ruff",
    "schemathesis", "scikit_learn", "scipy", "serving_engine", "setuptools", "skl2onnx", "sklearn",
    "skops", "src", "starlette", "test", "tests", "threadpoolctl", "types_requests",
    "typing_extensions", "urllib3", "uv", "uvicorn", "uvloop", "wheel", "xdist", "xgboost",
    "xgboost_cpu",
}
DEVICES = {
    "con", "prn", "aux", "nul",
    "com0", "com1", "com2", "com3", "com4", "com5", "com6", "com7", "com8", "com9",
    "lpt0", "lpt1", "lpt2", "lpt3", "lpt4", "lpt5", "lpt6", "lpt7", "lpt8", "lpt9",
}
RESERVED = {
    "a Python keyword": KEYWORDS,
    "a module of Python": MODULES,
    "a name that the project uses": USED_BY_THE_PROJECT,
    "a device of Windows": DEVICES,
}

JINJA = re.compile("[{][%#{]")
# What ends a line, reorders it or is half a character; right-to-left letters and emoji are fine.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
# What Python makes of a byte that is not in the encoding of the console.
UNREADABLE = re.compile(r"[\udc80-\udcff]")


def main():
    answers = answers_to_check()
    report = []
    for key, value in answers.items():
        rule = broken_rule(key, value)
        if rule:
            answers[key] = suggestion(key, value)
            way_out = f"this would do: {answers[key]!a}" if answers[key] else "leave it out"
            report += [f"  {key} = {value!a:.60}", f"    {rule}; {way_out}"]
    for key, value in derived_values().items():
        if ANSWERS[key] != value:
            rule = "follows from the other answers and cannot be given; leave it out"
            report += [f"  {key} = {ANSWERS[key]!a:.60}", f"    {rule}"]
    if not report:
        return 0
    report.insert(0, "Nothing was generated. These answers cannot be used:")
    report += ["Run again:", f"  {command(answers)}"]
    print("\n".join(report), file=sys.stderr)
    return 1


def answers_to_check():
    """Every answer as it was given, in the order of asking."""
    answers = {key: ANSWERS[key] for key in KEYS if not key.startswith("_")}
    answers["project_slug"] = ANSWERS["__slug"][0]["as_asked"]
    answers["_model_url"] = ANSWERS["_model_url"]
    answers["_model_sha256"] = ANSWERS["_model_sha256"]
    for key, value in GIVEN.items():
        if key != "project_slug" and JINJA.search(str(value)):  # the default slug is Jinja
            answers[key] = value
    return answers


def derived_values():
    """What cookiecutter.json makes of the answers, unless somebody gave another value for it."""
    texts = ["project_name", "description", "author"]
    return {
        "__package_name": package_of(ANSWERS["project_slug"]),
        "__quoted": {key: quoted(ANSWERS[key]) for key in texts},
    }


def package_of(slug):
    return slug.replace("-", "_")


def quoted(text):
    escaped = str(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def broken_rule(key, value):
    """The rule that an answer breaks, or None."""
    if not isinstance(value, str):
        return "must be text"
    if not value and key.startswith("_"):
        return None
    if not any(character.isprintable() and not character.isspace() for character in value):
        return "must not be empty"
    if JINJA.search(value):
        return "must not hold '{' before '{', '%' or '#': cookiecutter runs what follows as code"
    if UNREADABLE.search(value):
        return encoding_rule()
    if CONTROL.search(value):
        return "must be one line of text without control characters"
    longest = LONGEST.get(key, LONGEST_TEXT)
    if len(value) > longest:
        return f"must not be longer than {longest} characters"
    if value != value.strip():
        return "must not begin or end with a space"
    own_rules = {"project_slug": slug_rule, "_model_url": url_rule, "_model_sha256": sha256_rule}
    return own_rules[key](value) if key in own_rules else None


def encoding_rule():
    encoding = sys.getfilesystemencoding()
    rule = f"must be in {encoding}, the encoding of this console"
    if encoding != "utf-8":
        rule += " (with PYTHONUTF8=1 in the environment that is utf-8, which has every letter)"
    return rule


def slug_rule(slug):
    if not re.fullmatch("[a-z][a-z0-9]*(-[a-z0-9]+)*", slug):
        return "must match ^[a-z][a-z0-9-]*$, with single hyphens, none of them at the end"
    package = package_of(slug)
    for what, names in RESERVED.items():
        if package in names:
            return f"makes a package called {package}, which is {what}"
    return None


def url_rule(url):
    this_machine = r"http://(localhost|127(\.\d+){3}|\[::1\])(:\d+)?"
    is_path = not re.match("[A-Za-z][A-Za-z0-9+.-]+:", url)  # C: is a drive
    if not is_path and not re.fullmatch(rf"(https://[^\s/]+|{this_machine})/\S*", url):
        return "must be an https URL, an http URL of this machine, or a path"
    if not re.search(r"(^|[/\\])manifest\.json(\?|$)", url):
        return "must name a manifest.json"
    return None


def sha256_rule(digest):
    if not re.fullmatch("[0-9a-fA-F]{64}", digest):
        return "must be 64 hex digits"
    if not ANSWERS["_model_url"]:
        return "is of no use without a _model_url"
    return None


def suggestion(key, value):
    """An answer that breaks no rule, as close as can be to the one given; None if there is none."""
    text = JINJA.sub(" ", CONTROL.sub(" ", str(value or ""))).strip()
    options = [text[:LONGEST_TEXT].strip()]
    if key == "project_slug":
        slug = ANSWERS["project_slug"]  # a plain name already, made of what was asked for
        options = [slug, slug[:45] + "-service", "service-" + slug[:45].rstrip("-")]
    elif key == "_model_url":
        url = re.sub("^http:", "https:", re.sub("[?#].*", "", text))
        options = [text, url, url.rstrip("/") + "/manifest.json"]
    return next((option for option in options if option and not broken_rule(key, option)), None)


def command(answers):
    """What to type for a project with these answers; what is empty is left to its default."""
    given = {key: value for key, value in answers.items() if value}
    if "_model_url" not in given:
        given.pop("_model_sha256", None)
    template = ANSWERS.get("_template") or "TEMPLATE"
    if "_commit" in ANSWERS:  # which only cruft sets
        words = ["cruft", "create", template, "--no-input", "--extra-context", json.dumps(given)]
    else:
        pairs = [f"{key}={value}" for key, value in given.items()]
        words = ["cookiecutter", template, "--no-input", *pairs]
    if ANSWERS.get("_checkout"):
        words += ["--checkout", ANSWERS["_checkout"]]
    if os.listdir():
        words.append("--overwrite-if-exists")
    folder = os.path.dirname(os.getcwd())
    if folder != os.environ.get("PWD"):
        words += ["--output-dir", folder]
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


if __name__ == "__main__":
    sys.exit(main())
