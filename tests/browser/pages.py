"""The pages of a generated service in a real browser: `make browser`, which needs Chromium.

Every layout and every task is loaded, filled, predicted and refused; no request leaves the service,
and the browser finds no other host.
"""

import json
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request, Route, expect

from .. import processes
from ..conftest import SAMPLE, clean_environment
from ..services import Service

KEY = "page-key-0123456789abcdef"

SHOWN = {
    "text": "label: ",
    "mixed": "",
    "values": "",
    "multilabel": "labels: ",
    "several": "labels: ",
    "clusters": "cluster: ",
    "outliers": "outlier: ",
}


def predict(page: Page) -> str:
    """Press the button; return what is shown as the predictions."""
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#predictions li").first).to_be_visible()
    return page.locator("#predictions").inner_text()


def test_the_sample_is_loaded_filled_predicted_and_refused(environment: Path, page: Page) -> None:
    with Service(environment, SAMPLE) as service:
        page.goto(f"http://127.0.0.1:{service.port}/")
        assert "label: " in predict(page)
        assert page.locator("meter").count() >= 2
        assert page.locator("#took").inner_text().endswith("1")
        shown = page.locator("#code").inner_text()
        assert f"curl http://127.0.0.1:{service.port}/predict" in shown
        ended = processes.run(shown, shell=True, capture_output=True, text=True, check=True)
        assert "predictions" in json.loads(ended.stdout)
        page.get_by_role("button", name="Python").click()
        code = page.locator("#code").inner_text()
        ended = processes.run(
            [environment / "python", "-c", code], capture_output=True, text=True, check=True
        )
        assert "predictions" in ended.stdout
        page.locator("#c0").fill("five")
        page.get_by_role("button", name="Predict").click()
        expect(page.locator("#c0-error")).to_have_text("must be a finite number")
        expect(page.locator("#c0")).to_be_focused()
        expect(page.locator("#c0")).to_have_css("border-top-width", "2px")
        expect(page.locator("#result")).to_be_hidden()


def test_several_rows_from_csv_and_from_a_link(environment: Path, page: Page) -> None:
    with Service(environment, SAMPLE) as service:
        page.goto(f"http://127.0.0.1:{service.port}/")
        expect(page.locator("#c0")).to_be_visible()
        names = page.locator("fieldset label").all_inner_texts()
        page.get_by_text("Paste CSV").click()
        line = ",".join("1.5" for _ in names)
        page.locator("#csv").fill(",".join(names) + f"\n{line}\n{line}\n")
        page.get_by_role("button", name="Use these rows").click()
        expect(page.locator("#predictions > li")).to_have_count(2)
        page.get_by_role("button", name="Row 2").click()
        page.locator("#c0").fill("nothing")
        page.get_by_role("button", name="Row 1").click()
        page.get_by_role("button", name="Predict").click()
        expect(page.locator("#legend")).to_have_text("Row 2 of 2")
        expect(page.locator("#c0-error")).not_to_be_empty()
        rows = json.dumps([dict.fromkeys(names, "2")] * 3)
        page.goto("about:blank")
        page.goto(f"http://127.0.0.1:{service.port}/#rows={rows}")
        expect(page.locator("#legend")).to_have_text("Row 1 of 3")
        expect(page.locator("#c0")).to_have_value("2")


@pytest.mark.parametrize("name", SHOWN)
def test_every_layout_and_task(name: str, environment: Path, models: Path, page: Page) -> None:
    with Service(environment, models / name / "model") as service:
        page.goto(f"http://127.0.0.1:{service.port}/")
        assert SHOWN[name] in predict(page)
        if name == "mixed":
            page.get_by_role("checkbox", name="no value").check()
            predict(page)
            assert '"city": null' in page.locator("#code").inner_text()
            page.get_by_label("new").select_option("")
            page.get_by_role("button", name="Predict").click()
            expect(page.locator("#problem")).to_contain_text("see the marked fields")


def test_a_key_is_asked_for_and_kept_by_the_page_alone(environment: Path, page: Page) -> None:
    with Service(environment, SAMPLE, api_keys=KEY) as service:
        page.goto(f"http://127.0.0.1:{service.port}/")
        expect(page.locator("#form")).to_be_hidden()
        page.get_by_label("API key").fill("wrong")
        page.get_by_role("button", name="Use this key").click()
        expect(page.locator("#problem")).not_to_be_empty()
        page.get_by_label("API key").fill(KEY)
        page.get_by_role("button", name="Use this key").click()
        predict(page)
        assert KEY not in page.locator("#code").inner_text()
        assert page.context.storage_state() == {"cookies": [], "origins": []}
        page.reload()
        expect(page.locator("#form")).to_be_hidden()


def test_the_card_is_linked_where_there_is_one(
    environment: Path, page: Page, tmp_path: Path
) -> None:
    with Service(environment, SAMPLE) as service:
        page.goto(f"http://127.0.0.1:{service.port}/")
        predict(page)
        expect(page.get_by_role("link", name="Model card")).to_be_hidden()
    model = shutil.copytree(SAMPLE, tmp_path / "model")
    command = [environment / "iris-service", "model", "card", "--model-dir", model]
    processes.run(command, check=True, env=clean_environment())
    with Service(environment, model) as service:
        page.goto(f"http://127.0.0.1:{service.port}/")
        page.get_by_role("link", name="Model card").click()
        expect(page.locator("body")).to_contain_text("## Intended use")
        assert page.url.endswith("/model/card")
    with Service(environment, model, api_keys=KEY) as service:
        page.goto(f"http://127.0.0.1:{service.port}/")
        page.get_by_label("API key").fill(KEY)
        page.get_by_role("button", name="Use this key").click()
        with page.expect_popup() as opened:
            page.get_by_role("link", name="Model card").click()
        expect(opened.value.locator("body")).to_contain_text("## Intended use")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_narrow_screen_by_keyboard(environment: Path, page: Page, scheme: str) -> None:
    with Service(environment, SAMPLE) as service:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": 340, "height": 700})
        page.goto(f"http://127.0.0.1:{service.port}/")
        page.locator("#c0").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#predictions li").first).to_be_visible()
        assert (
            page.evaluate_handle("document.documentElement")
            .get_property("scrollWidth")
            .json_value()
            <= 340
        )


def try_predict(page: Page) -> None:
    """Ask for a prediction in Swagger UI, with the example that it offers."""
    page.locator(".opblock-post .opblock-summary-control").first.click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    answer = page.locator(".live-responses-table")
    expect(answer).to_contain_text("200")
    expect(answer).to_contain_text("predictions")


def test_swagger_ui_predicts_without_the_internet(environment: Path, page: Page) -> None:
    with Service(environment, SAMPLE) as service:
        page.goto(f"http://127.0.0.1:{service.port}/docs")
        try_predict(page)


def test_swagger_ui_works_behind_a_proxy_that_removes_a_prefix(
    environment: Path, page: Page
) -> None:
    with Service(environment, SAMPLE) as service:
        url = f"http://127.0.0.1:{service.port}"

        def remove_prefix(route: Route, request: Request) -> None:
            path = request.url.removeprefix(f"{url}/below")
            assert path != request.url, f"{path} is outside of the prefix"
            route.fulfill(response=route.fetch(url=f"{url}{path}"))

        page.route("**/*", remove_prefix)
        page.goto(f"{url}/below/docs")
        try_predict(page)


def test_swagger_ui_asks_for_a_key_and_shows_it_nowhere(environment: Path, page: Page) -> None:
    with Service(environment, SAMPLE, api_keys=KEY) as service:
        page.goto(f"http://127.0.0.1:{service.port}/docs")
        page.get_by_label("API key").fill("wrong")
        page.get_by_role("button", name="Use this key").click()
        expect(page.locator("#problem")).to_have_text("This key is not valid.")
        page.get_by_label("API key").fill(KEY)
        page.get_by_role("button", name="Use this key").click()
        try_predict(page)
        assert KEY not in page.content()
        assert page.context.storage_state() == {"cookies": [], "origins": []}
        page.reload()
        expect(page.get_by_label("API key")).to_be_visible()
