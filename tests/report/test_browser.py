"""The report in a real browser: axe-core finds no barrier, nothing is requested, nothing runs over the edge.

What is needed: Chromium, and `pip install -r tests/requirements-browser.txt`.
"""

from pathlib import Path

import pytest
from test_bind import bound  # noqa: F401  the report that is looked at

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
WINDOWS = {"desktop": (1280, 900), "phone": (390, 844)}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium, or a skipped test that says what is missing."""
    if not CHROMIUM.exists():
        pytest.skip(f"there is no {CHROMIUM}; apt-get install chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        pytest.skip("playwright is missing; pip install -r tests/requirements-browser.txt")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=180_000)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, bound, tmp_path):  # noqa: F811
    """A function that opens the report with what a browser's context takes, and the addresses that were requested."""
    (tmp_path / "report.html").write_text(bound[0], "utf-8")
    contexts = []

    def open_(**options):
        contexts.append(browser.new_context(**options))
        page, requested = contexts[-1].new_page(), []
        page.set_default_timeout(300_000)
        page.on("request", lambda request: requested.append(request.url))
        page.goto((tmp_path / "report.html").as_uri())
        return page, requested

    yield open_
    for context in contexts:
        context.close()


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier(opened, scheme, window):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    width, height = WINDOWS[window]
    viewport = {"width": width, "height": height}
    page, _ = opened(color_scheme=scheme, viewport=viewport, bypass_csp=True)  # axe is a script
    violations = axe.Axe().run(page).response["violations"]
    serious = [violation for violation in violations if violation["impact"] in ("serious", "critical")]
    assert not serious, [(violation["help"], violation["nodes"][0]["html"]) for violation in serious]
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_nothing_is_requested_and_no_script_runs(opened):
    page, requested = opened()
    assert [address.split(":")[0] for address in requested if not address.startswith("data:")] == ["file"]
    assert page.evaluate("document.scripts.length") == 0
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")


PLANTED = """<base href="https://evil.example/"><script>document.title = "pwned"</script>
<img src="x" onerror="document.title = 'pwned'"><a id="a" href="javascript:document.title = 'pwned'">go</a>"""


@pytest.mark.parametrize("planted", ["", PLANTED])
def test_the_policy_stops_what_is_planted_and_nothing_of_the_page(browser, bound, tmp_path, planted):  # noqa: F811
    (tmp_path / "report.html").write_text(bound[0].replace("<main", f"{planted}<main", 1), "utf-8")
    context = browser.new_context()
    page, said, requested = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("request", lambda request: requested.append(request.url))
    page.goto((tmp_path / "report.html").as_uri())
    if planted:
        page.focus("#a")
        page.keyboard.press("Enter")
    assert page.title() == "Adapting a small pretrained model"
    assert not [address for address in requested if not address.startswith(("file:", "data:"))]
    for directive in ("base-uri", "script-src", "img-src"):
        assert any(directive in text for text in said) == bool(planted), said
    assert planted or not said
    context.close()


def test_the_keyboard_skips_the_contents_and_scrolls_tables(opened):
    page, _ = opened(viewport={"width": 390, "height": 844})
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the first chapter"
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    page.keyboard.press("Enter")
    assert page.url.endswith("#report")
    wide = page.get_by_role("group", name="Table 3")
    wide.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("table => table.scrollLeft > 0", arg=wide.element_handle())
