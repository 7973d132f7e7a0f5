"""The gallery: a table with scripts off; with them it sorts, filters and plots; what data hold stays text."""

import json

import html5lib
import pandas as pd
import pytest
from made_up import SENTENCES, finished
from small import ADAPTER, FULL, HEAD
from test_browser import WINDOWS, browser  # noqa: F401
from test_display import HOSTILE

from course_utils.methods import METHODS
from course_utils.report import gallery

HTML = "{http://www.w3.org/1999/xhtml}"
ACCURACY = {HEAD: 0.6, FULL: 0.9, ADAPTER: 0.8}


@pytest.fixture
def written(runs_in, reports_in, monkeypatch):
    """The gallery of three seeds of three methods, whose sentences are hostile."""
    results = finished(ACCURACY, apart=0.01)
    texts = [HOSTILE[k % len(HOSTILE)] + f" </script> {k}" for k in range(SENTENCES)]
    labels = [k % 2 for k in range(SENTENCES)]
    test = pd.DataFrame({"example_id": [f"sentence-{k}" for k in range(SENTENCES)], "text": texts, "label": labels})
    monkeypatch.setattr(gallery, "test_sentences", lambda results: test)
    (reports_in / results.experiment.name).mkdir(parents=True)
    return gallery.write_gallery(results)


def test_with_scripts_off_it_is_two_tables(written):
    text = written.read_text("utf-8")
    page = html5lib.HTMLParser(strict=True).parse(text)
    runs, missed = page.iter(f"{HTML}table")
    assert len([*runs.iter(f"{HTML}tr")]) == 1 + 9
    headings = ["".join(heading.itertext()) for heading in missed.iter(f"{HTML}th")]
    assert headings == ["text", "label", *(METHODS[name].title for name in (HEAD, FULL, ADAPTER))]
    rows = [["".join(cell.itertext()) for cell in row] for row in missed.find(f"{HTML}tbody").iter(f"{HTML}tr")]
    assert rows[0][2:] == ["100", "100", "100"] and rows[-1][3] == "0"  # the most missed ones come first
    assert not {"b", "img", "a"} & {element.tag.removeprefix(HTML) for element in page.iter()}
    points = json.loads(text.partition('id="points">')[2].partition("</script>")[0])
    mean, low, high = next(p for p in points if p["method"] == METHODS[ADAPTER].title)["values"]["test_accuracy"]
    assert mean == pytest.approx(0.8) and high - mean == pytest.approx(4.3027 * 0.01 / 3**0.5, rel=1e-3)
    assert mean - low == pytest.approx(high - mean)


@pytest.mark.slow
@pytest.mark.parametrize("window", WINDOWS)
def test_it_sorts_filters_chooses_and_plots(browser, written, window):  # noqa: F811
    width, height = WINDOWS[window]
    page = browser.new_page(viewport={"width": width, "height": height})
    said, requested = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("request", lambda request: requested.append(request.url))
    page.goto(written.as_uri())
    runs = page.locator("table").first

    def column(name):
        place = runs.locator("th").all_text_contents().index(name)
        return [row.locator("td").nth(place).text_content() for row in runs.locator("tbody tr:visible").all()]

    runs.get_by_role("button", name="test_accuracy").click()
    assert column("test_accuracy") == sorted(column("test_accuracy"))
    runs.get_by_role("button", name="test_accuracy").click()
    assert column("method")[0] == FULL
    page.get_by_role("searchbox").first.fill(f"method={ADAPTER} seed=1")
    assert column("method") == [ADAPTER] and column("seed") == ["1"]
    assert page.locator("output").first.text_content() == "1 of 9 rows"
    assert not runs.get_by_role("button", name="epochs").is_visible()
    page.locator("summary").first.click()
    page.get_by_label("epochs").check()
    assert runs.get_by_role("button", name="epochs").is_visible()
    page.get_by_label("Across: ").select_option("step_ms_median")
    picture = page.get_by_role("img")
    assert picture.get_attribute("aria-label").startswith("test_accuracy against step_ms_median.")
    assert picture.locator("title").count() == 3
    assert not said and all(address.startswith("file:") for address in requested)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier_in_it(browser, written, scheme):  # noqa: F811
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    context = browser.new_context(color_scheme=scheme, bypass_csp=True)  # axe is a script
    page = context.new_page()
    page.goto(written.as_uri())
    violations = axe.Axe().run(page).response["violations"]
    assert not [(violation["help"], violation["nodes"][0]["html"]) for violation in violations]
    context.close()
