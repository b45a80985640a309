"""What people and scripts answer: refused with the rule and a way out, or carried intact."""

import ast
import json
import re
import shlex
import shutil
import tomllib
from pathlib import Path

import pytest
import yaml
from cookiecutter.exceptions import FailedHookException, UndefinedVariableInTemplate
from jinja2.exceptions import TemplateSyntaxError

from . import fixtures_template
from .rendering import CHOICES, PROJECT, ROOT, context, files, load_hook, render

template = fixtures_template.template
small_template = fixtures_template.small_template

FREE_TEXT = ["project_name", "description", "author"]
SETTINGS = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
# What follows from the answers, and what is said to cookiecutter; _model_url is an answer.
PRIVATE = [key for key in SETTINGS if key.startswith("_") and not key.startswith("_model_")]

FIRST_CHOICES = {key: choices[0] for key, choices in CHOICES.items()}

CARRIED = {
    "quotes and a backslash": 'Robert "Bob" O\'Neil \\ é ☃',
    "one quote": '"',
    "one apostrophe": "'",
    "one backslash": "\\",
    "backslash at the end": "a\\",
    "escaped quote": '\\"',
    "escape sequences": r"\n \x41 \u0041 \U0001F600 \N{SNOWMAN}",
    "triple quotes": '"""',
    "triple apostrophes": "'''",
    "code after triple quotes": '""" + __import__("os").system("touch pwned") + """',
    "code after an apostrophe": "'); import os; os.system('touch pwned') #",
    "command substitution": "$(touch pwned)",
    "backticks": "`touch pwned`",
    "shell variable": "$HOME ${HOME} $$ %PATH% !!",
    "shell operators": "a && touch pwned; b | c > d < e",
    "emoji": "👩‍👩‍👧 🏴󠁧󠁢󠁥󠁮󠁧󠁿 🤖",
    "right to left": "שלום עולם مرحبا",
    "combining and wide": "é ﷽ 株式会社",
    "Turkish capital": "İstanbul IĞDIR",
    "option": "-rf",
    "long option": "--help",
    "comment": "a # b",
    "mapping": "a: b",
    "document start": "---",
    "block scalar": "| a",
    "folded scalar": "> a",
    "list item": "- a",
    "alias": "*a",
    "anchor": "&a",
    "tag": "!!python/object/apply:os.system",
    "flow mapping": "{a: b}",
    "flow list": "[a, b]",
    "null": "null",
    "no": "no",
    "number": "1e3",
    "date": "2026-01-31",
    "tilde": "~",
    "TOML table": "[tool.evil]",
    "TOML assignment": 'x = "y"',
    "emphasis": "_a_ *b* **c**",
    "HTML": "<b>x</b><script>alert(1)</script>",
    "HTML comment": "<!-- a --> b",
    "entity": "&amp; &#65;",
    "link": "[a](https://example.org)",
    "image": "![a](https://example.org/a.png)",
    "heading": "# a",
    "table": "a | b | c",
    "expression": "$[[ inputs.x ]]",
    "format strings": "%s %d {0} {x!r} {} }",
    "single braces": "{ { % # } }",
    "at sign": "@a <a@example.org>",
    "key and value": "author=b",
    "two hundred": "x" * 200,
    "no-break space inside": "a\u00a0b",
    "zero-width joiner": "a\u200db",
}

REFUSED = {
    "empty": ("", "must not be empty"),
    "blank": ("   ", "must not be empty"),
    "invisible": ("\u200b", "must not be empty"),
    "space before": (" a", "must not begin or end with a space"),
    "space after": ("a ", "must not begin or end with a space"),
    "newline": ("a\nb", "must be one line"),
    "newline at the end": ("a\n", "must be one line"),
    "carriage return": ("a\r\nb", "must be one line"),
    "tab": ("a\tb", "must be one line"),
    "NUL": ("a\0b", "must be one line"),
    "escape": ("\x1b[31mred", "must be one line"),
    "delete": ("a\x7f", "must be one line"),
    "C1 control": ("a\x85b", "must be one line"),
    "line separator": ("a\u2028b", "must be one line"),
    "paragraph separator": ("a\u2029b", "must be one line"),
    "right-to-left override": ("a\u202eb", "must be one line"),
    "isolate": ("a\u2066b", "must be one line"),
    "byte of another encoding": ("Ren\udce9", "must be in utf-8, the encoding of this console"),
    "lone surrogate": ("a\ud800b", "must be one line"),
    "noncharacter": ("a\uffff", "must be one line"),
    "201 characters": ("x" * 201, "must not be longer than 200"),
    "10 KB": ("x" * 10240, "must not be longer than 200"),
    "expression": ("{{7*7}}", "must not hold '{' before"),
    "statement": ("{% if true %}a{% endif %}", "must not hold '{' before"),
    "raw": ("{% raw %}", "must not hold '{' before"),
    "Jinja comment": ("a{# b #}", "must not hold '{' before"),
    "not text": (True, "must be text"),
    "nothing": (None, "must be text"),
}

SLUGS_REFUSED = {
    "parent": "../../x",
    "absolute": "/etc/x",
    "nested": "a/b",
    "backslash": "a\\b",
    "drive": "C:x",
    "here": ".",
    "up": "..",
    "empty": "",
    "hidden": ".hidden",
    "home": "~",
    "option": "-rf",
    "underscore": "a_b",
    "capital": "A",
    "Turkish capital": "İ",
    "accent": "é",
    "hyphen at the end": "a-",
    "double hyphen": "a--b",
    "digit first": "2nd",
    "dot": "a.b",
    "newline": "a\n",
    "space": "a b",
    "NUL": "a\0b",
    "lone surrogate": "a\ud800",
    "too long": "a" * 300,
    "101 characters": "a" * 101,
    "too long, digit first": "2" + "a" * 300,
    "not text": True,
    "keyword": "class",
    "soft keyword": "match",
    "newer keyword": "type",
    "standard library": "json",
    "newer standard library": "tomllib",
    "older standard library": "distutils",
    "dependency": "numpy",
    "distribution": "scikit-learn",
    "import name": "sklearn",
    "two words": "prometheus-client",
    "tests": "tests",
    "model": "model",
    "src": "src",
    "interpreter": "python",
    "device": "con",
    "numbered device": "lpt1",
}

URLS_REFUSED = {
    "http": ("http://example.org/manifest.json", "https"),
    "like loopback": ("http://localhost.example.org/manifest.json", "https"),
    "user like loopback": ("http://127.0.0.1@example.org/manifest.json", "https"),
    "ftp": ("ftp://example.org/manifest.json", "https"),
    "file": ("file:///models/manifest.json", "https"),
    "script": ("javascript:manifest.json", "https"),
    "no host": ("https:///manifest.json", "https"),
    "one slash": ("https:/example.org/manifest.json", "https"),
    "space": ("https://example.org/a b/manifest.json", "https"),
    "artifact": ("https://example.org/model.skops", "manifest.json"),
    "folder": ("https://example.org/iris/", "manifest.json"),
    "like a manifest": ("https://example.org/my-manifest.json", "manifest.json"),
    "only in the query": ("https://example.org/?a=/manifest.jsonx", "manifest.json"),
    "newline": ("https://example.org/\n/manifest.json", "one line"),
    "too long": ("https://example.org/" + "a" * 2000 + "/manifest.json", "2000"),
    "blank": ("  ", "empty"),
}

URLS_ACCEPTED = [
    "",
    "https://example.org/manifest.json",
    "https://example.org:8443/a/b/manifest.json",
    "https://example.org/manifest.json?signature=a%2Fb",
    "http://localhost:8000/manifest.json",
    "http://127.0.0.1/iris/manifest.json",
    "http://[::1]:8000/manifest.json",
    "manifest.json",
    "../models/iris/manifest.json",
    "/models/with space/é/manifest.json",
    "~/iris/manifest.json",
    r"C:\models\manifest.json",
]


NASTY = ["quotes and a backslash", "code after triple quotes", "emoji", "HTML"]


@pytest.fixture(scope="module")
def usual(small_template, tmp_path_factory):
    return files(render(tmp_path_factory.mktemp("usual") / "out", small_template))


@pytest.fixture(scope="module")
def texts_only(template, tmp_path_factory):
    """The template without the files that no free text can reach: quick to render."""
    folder = tmp_path_factory.mktemp("texts") / template.name
    shutil.copytree(template, folder)
    for path in filter(Path.is_file, (folder / PROJECT).rglob("*")):
        source = path.read_text(encoding="utf-8", errors="replace")
        if not re.search(
            rf"cookiecutter\.({'|'.join(FREE_TEXT)}|__quoted)|{{% (include|import|from) ", source
        ):
            path.unlink()
    return folder


@pytest.fixture(scope="module")
def baseline(texts_only, tmp_path_factory):
    return render(tmp_path_factory.mktemp("baseline") / "out", texts_only, hooks=False)


@pytest.fixture(scope="module")
def usual_shapes(baseline):
    return {path: shape(path, content) for path, content in files(baseline).items()}


@pytest.fixture
def refuse(template, tmp_path, monkeypatch, capsys):
    """Ask the hook: it refuses, and what it offers instead it takes."""

    def refused(values=None, **answers):
        values = values or context(template, **answers)
        empty = tmp_path / "empty"
        empty.mkdir(exist_ok=True)
        monkeypatch.chdir(empty)
        monkeypatch.setenv("PWD", str(tmp_path))
        assert load_hook("pre_gen_project", tmp_path, values, template).main() == 1
        report, _, again = capsys.readouterr().err.partition("Run again:\n")
        assert report.isascii()
        command, name, option, *offered = shlex.split(again)
        assert (command, name, option) == ("cookiecutter", "TEMPLATE", "--no-input")
        offered = dict(word.split("=", 1) for word in offered)
        values = context(template, **offered)
        assert load_hook("pre_gen_project", tmp_path, values, template).main() == 0
        return report, offered

    return refused


@pytest.mark.parametrize("text", CARRIED.values(), ids=CARRIED)
def test_text_is_carried_intact(text, texts_only, baseline, usual_shapes, tmp_path):
    answers = dict.fromkeys(FREE_TEXT, text)
    values = context(texts_only, project_slug=baseline.name, **answers)
    hook = load_hook("pre_gen_project", tmp_path, values, texts_only)
    assert {key: hook.ANSWERS[key] for key in FREE_TEXT} == answers
    assert hook.main() == 0
    for quoted in values["cookiecutter"]["__quoted"].values():
        assert tomllib.loads(f"x = {quoted}") == yaml.safe_load(f"x: {quoted}") == {"x": text}
        assert json.loads(quoted) == ast.literal_eval(quoted) == text
    made = files(
        render(tmp_path / "out", texts_only, hooks=False, project_slug=baseline.name, **answers)
    )
    assert {path: shape(path, content) for path, content in made.items()} == usual_shapes
    metadata = tomllib.loads(made["pyproject.toml"].decode())["project"]
    assert metadata["description"] == text
    assert metadata["authors"] == [{"name": text}]


def test_a_quoted_answer_is_readable(template):
    answers = context(template, author="O'Neil <é ☃ 🤖>")["cookiecutter"]
    assert answers["__quoted"].keys() == set(FREE_TEXT)
    assert answers["__quoted"]["author"] == '"O\'Neil <é ☃ 🤖>"'


@pytest.mark.parametrize(("text", "rule"), REFUSED.values(), ids=REFUSED)
def test_text_is_refused_with_its_rule(text, rule, refuse):
    report, _ = refuse(project_slug="a", **dict.fromkeys(FREE_TEXT, text))
    assert re.findall("^  ([a-z_]+) = ", report, re.M) == FREE_TEXT
    assert report.count(f"    {rule}") == len(FREE_TEXT)


@pytest.mark.parametrize(
    ("text", "offered"),
    [("  é ☃ ", "é ☃"), ("x" * 10240, "x" * 200), ("a\r\nb", "a b"), ("a\u202eb", "a b")],
)
def test_what_is_offered_is_close_to_what_was_answered(text, offered, refuse):
    assert refuse(author=text)[1]["author"] == offered


@pytest.mark.parametrize("slug", SLUGS_REFUSED.values(), ids=SLUGS_REFUSED)
def test_a_slug_is_refused(slug, refuse):
    report, offered = refuse(project_slug=slug)
    assert f"  project_slug = {str(slug)!a:.60}\n" in report
    assert offered["project_slug"].isascii()


@pytest.mark.parametrize("name", ["parent", "absolute", "nested", "up", "empty", "NUL", "too long"])
def test_a_refused_slug_leaves_nothing_behind(name, template, tmp_path, capfd):
    with pytest.raises(FailedHookException):
        render(tmp_path / "a" / "out", template, project_slug=SLUGS_REFUSED[name])
    assert "  project_slug = " in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"out", ".replay"}
    assert list((tmp_path / "a" / "out").iterdir()) == []


@pytest.mark.parametrize("name", ["10 KB", "NUL", "lone surrogate", "raw", "nothing"])
def test_a_refused_text_leaves_nothing_behind(name, template, tmp_path, capfd):
    text, rule = REFUSED[name]
    with pytest.raises(FailedHookException):
        render(tmp_path / "out", template, **dict.fromkeys(FREE_TEXT, text))
    assert rule in capfd.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("slug", ["a", "iris-service-2", "a" * 53])
def test_a_plain_slug_names_folder_package_and_command(slug, template, tmp_path):
    project = render(tmp_path / "out", template, project_slug=slug)
    assert project == tmp_path / "out" / slug
    assert (project / "src" / slug.replace("-", "_") / "__init__.py").is_file()
    metadata = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert metadata["name"] == slug
    assert list(metadata["scripts"]) == [slug]


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Iris Service", "iris-service"),
        ("İstanbul", "istanbul"),
        ("O'Neil & Söhne", "o-neil-sohne"),
        ("../../x", "x"),
        ("☃", "model-service"),
        ("x" * 150, "x" * 53),
    ],
)
def test_a_slug_is_derived_from_any_name(name, slug, template, tmp_path):
    values = context(template, project_name=name)
    assert values["cookiecutter"]["project_slug"] == slug
    assert load_hook("pre_gen_project", tmp_path, values, template).main() == 0


@pytest.mark.parametrize(
    ("slug", "offered"),
    [
        ("Fraud Scores!", "fraud-scores"),
        ("class", "class-service"),
        ("2nd", "service-2nd"),
        (f"2{'a' * 43}-b", f"service-2{'a' * 43}"),
    ],
)
def test_what_is_offered_is_close_to_the_slug(slug, offered, refuse):
    assert refuse(project_slug=slug)[1]["project_slug"] == offered


def test_a_slug_that_cannot_be_derived_is_offered(refuse):
    _, offered = refuse(project_name="2" + "a" * 150)
    assert offered["project_slug"] == "service-2" + "a" * 44


def test_without_hooks_a_slug_is_still_a_plain_name(template, tmp_path):
    project = render(tmp_path / "a" / "b" / "out", template, hooks=False, project_slug="../../x")
    assert project == tmp_path / "a" / "b" / "out" / "x"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(("url", "rule"), URLS_REFUSED.values(), ids=URLS_REFUSED)
def test_a_model_url_of_the_wrong_kind_is_refused(url, rule, refuse):
    report, _ = refuse(_model_url=url, _model_sha256="a" * 64)
    assert f"  _model_url = {url!a:.60}\n" in report
    assert rule in report


@pytest.mark.parametrize("url", URLS_ACCEPTED)
def test_a_model_url_is_accepted(url, template, tmp_path):
    hook = load_hook("pre_gen_project", tmp_path, context(template, _model_url=url), template)
    assert hook.main() == 0


@pytest.mark.parametrize("digest", ["a" * 63, "a" * 65, "g" * 64, "a" * 64 + "\n", "0x" + "a" * 62])
def test_a_digest_is_64_hex_digits(digest, refuse):
    report, offered = refuse(_model_url="https://example.org/manifest.json", _model_sha256=digest)
    assert "  _model_sha256 = " in report
    assert "_model_sha256" not in offered or offered["_model_sha256"] == digest.strip()


def test_a_digest_alone_is_refused(refuse):
    report, offered = refuse(_model_sha256="a" * 64)
    assert "is of no use without a _model_url; leave it out\n" in report
    assert "_model_sha256" not in offered


def test_the_readme_has_every_question_and_its_choices():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| (.*) \|$", text, re.M))
    assert list(rows) == [key for key in SETTINGS if not key.startswith("_")]
    for key, choices in CHOICES.items():
        shown = re.sub(r"\([^)]*\)", "", rows[key])
        assert re.findall("`([^`]+)`", shown) == choices, key


def test_all_problems_are_reported_at_once(refuse):
    report, offered = refuse(
        project_name=" Iris", project_slug="Iris!", description="", author="a\nb", ci="none"
    )
    keys = ["project_name", "project_slug", "description", "author"]
    assert re.findall("^  ([a-z_]+) = ", report, re.M) == keys
    assert offered == {
        "project_name": "Iris",
        "project_slug": "iris",
        "author": "a b",
        **FIRST_CHOICES,
        "ci": "none",
    }


def test_the_command_keeps_good_answers_and_leaves_out_what_cannot_be_mended(refuse):
    report, offered = refuse(project_name="Café O'Neil", author="", deployment="none")
    assert "    must not be empty; leave it out\n" in report
    assert offered == {
        "project_name": "Café O'Neil",
        "project_slug": "cafe-o-neil",
        "description": SETTINGS["description"],
        **FIRST_CHOICES,
        "deployment": "none",
    }


def test_the_command_repeats_how_cookiecutter_was_called(template, tmp_path, monkeypatch, capsys):
    values = context(template, author="")
    values["cookiecutter"].update(_template="gh:owner/serving", _checkout="v1.0 beta")
    project = tmp_path / "my projects" / "iris-service"
    project.mkdir(parents=True)
    (project / "mine").touch()
    monkeypatch.chdir(project)
    monkeypatch.setenv("PWD", str(tmp_path))
    load_hook("pre_gen_project", tmp_path, values, template).main()
    again = capsys.readouterr().err.partition("Run again:\n")[2]
    assert again.startswith(
        "  cookiecutter gh:owner/serving --no-input 'project_name=Iris Service'"
    )
    assert again.endswith(
        f" --checkout 'v1.0 beta' --overwrite-if-exists --output-dir '{project.parent}'\n"
    )


@pytest.mark.parametrize("text", ["${{ secrets.X }}", "{{ x"])
def test_text_that_cookiecutter_cannot_render_leaves_nothing_behind(text, template, tmp_path):
    with pytest.raises((UndefinedVariableInTemplate, TemplateSyntaxError)):
        render(tmp_path / "out", template, author=text)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("key", CHOICES)
def test_a_choice_that_is_not_offered_is_refused_by_cookiecutter(key, template, tmp_path):
    with pytest.raises(ValueError, match="the choices are"):
        render(tmp_path / "out", template, **{key: "other"})
    assert list((tmp_path / "out").iterdir()) == []


PACKAGES = {
    "parent": "../../../evil",
    "absolute": "{folder}/evil",
    "code": "os; touch X",
    "standard library": "json",
    "another name": "other",
    "Jinja": "{{{{ cookiecutter.author }}}}",
    "empty": "",
}


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_name_follows_from_the_slug_and_cannot_be_given(name, template, tmp_path, capfd):
    given = PACKAGES[name].format(folder=tmp_path)
    with pytest.raises(FailedHookException):
        render(tmp_path / "a" / "out", template, __package_name=given)
    printed = capfd.readouterr().err
    assert re.search(
        r"^  __package_name = '.*\n    follows from the other answers and cannot be given",
        printed,
        re.M,
    )
    assert "__package_name=" not in printed
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"out", ".replay"}
    assert list((tmp_path / "a" / "out").iterdir()) == []


@pytest.mark.parametrize("name", ["parent", "absolute"])
def test_without_hooks_a_package_name_that_is_given_names_no_folder(name, template, tmp_path):
    given = PACKAGES[name].format(folder=tmp_path)
    project = render(tmp_path / "a" / "out", template, hooks=False, __package_name=given)
    assert (project / "src" / "iris_service" / "__init__.py").is_file()
    assert {path.name for path in (project / "src").iterdir()} == {"iris_service"}
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"out", ".replay"}


@pytest.mark.parametrize(
    "value",
    ["x", "", [], ["x"], {}, {"as_used": "../../x"}, [{"as_used": "../../x"}], None, True],
    ids=repr,
)
@pytest.mark.parametrize("hooks", [True, False], ids=["hooks", "no hooks"])
def test_nobody_can_give_the_name_of_the_folder(value, hooks, template, tmp_path):
    with pytest.raises((ValueError, TypeError)):
        render(tmp_path / "a" / "out", template, hooks=hooks, project_slug="../../x", __slug=value)
    assert files(tmp_path) == {}


@pytest.mark.parametrize("key", PRIVATE)
@pytest.mark.parametrize("value", ["../../../evil", "*"])
def test_a_private_value_of_the_command_line_is_refused_or_changes_nothing(
    key, value, small_template, usual, tmp_path
):
    try:
        project = render(tmp_path / "a" / "out", small_template, **{key: value})
    except Exception:
        assert list((tmp_path / "a" / "out").iterdir()) == []
    else:
        assert files(project) == usual
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_pyproject_quotes_follows_from_the_answers_too(template, tmp_path, capfd):
    given = {"author": '"x" }]\n[tool.evil]\n[[a'}
    with pytest.raises(FailedHookException):
        render(tmp_path / "out", template, __quoted=given)
    assert "  __quoted = {" in capfd.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def test_jinja_is_refused_from_a_prompt_too(template, refuse):
    """There cookiecutter does not run it, but a replay or an update of cruft would."""
    values = context(template)
    values["cookiecutter"]["author"] = "{{7*7}}"
    report, _ = refuse(values)
    assert "cookiecutter runs what follows as code" in report


def shape(path, content):
    """What a file is made of, whatever text it holds; it must parse."""
    text = content.decode()
    if path.startswith(".github/"):
        return text
    if path.endswith(".py"):
        return [type(node) for node in ast.walk(ast.parse(text))]
    if path.endswith(".toml"):
        return skeleton(tomllib.loads(text))
    if path.endswith(".json"):
        return skeleton(json.loads(text))
    if path.endswith((".yml", ".yaml")):
        return [skeleton(document) for document in yaml.load_all(text, Loader=AnyTag)]
    if path == "Dockerfile":
        return re.sub(r'"(\\.|[^"\\])*"', '""', text)
    return len(text.splitlines())


def skeleton(value):
    if isinstance(value, dict):
        return {key: skeleton(item) for key, item in value.items()}
    if isinstance(value, list):
        return [skeleton(item) for item in value]
    return type(value)


class AnyTag(yaml.SafeLoader):
    """GitLab has tags of its own, such as !reference."""


AnyTag.add_multi_constructor("!", lambda *_: None)
