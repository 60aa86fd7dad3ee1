"""The built site: links, images and anchors, and its behaviour in headless Chromium."""

import functools
import http.server
import shutil
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

SITE = Path(__file__).parent / "_build" / "html"
PAGES = sorted(
    str(path.relative_to(SITE))
    for path in SITE.rglob("*.html")
    if not {"_static", "_modules"} & set(path.parts)
)
ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
IS_LOADED = "return !arguments[0].complete || arguments[0].naturalWidth > 0"  # lazy ones are not
FIRST_PAGES = ["index.html", "getting_started.html", "api/skmissvae.MissSIWAEImputer.html"]


class Page(HTMLParser):
    """Links, anchors and addresses of loaded files of a page."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors, self.files = [], set(), []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        """Collect the addresses of a tag."""
        attrs = dict(attrs)
        self.anchors |= {attrs[name] for name in ("id", "name") if attrs.get(name)}
        if tag == "a" and attrs.get("href"):
            self.links.append(attrs["href"])
        if tag in ("img", "script") and attrs.get("src"):
            self.files.append(attrs["src"])
        if tag == "link" and attrs.get("rel") in ("stylesheet", "icon", "preload"):
            self.files.append(attrs["href"])


@functools.cache
def parsed(path):
    return Page(SITE / path)


def is_external(address):
    return bool(urlsplit(address).scheme or urlsplit(address).netloc)


def test_the_site_is_built():
    assert set(FIRST_PAGES) <= set(PAGES), "run make docs"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_pages_and_anchors_of_the_site(page):
    for link in parsed(page).links:
        if is_external(link):
            continue
        address, anchor = urldefrag(urljoin(f"/{page}", link))
        target = unquote(address).lstrip("/")
        assert (SITE / target).is_file(), link
        if anchor and target.endswith(".html"):
            assert unquote(anchor) in parsed(target).anchors, link


@pytest.mark.parametrize("page", PAGES)
def test_files_of_a_page_are_part_of_the_site(page):
    for address in parsed(page).files:
        if not address.startswith("data:"):
            assert not is_external(address), address
            path = urlsplit(urljoin(f"/{page}", address)).path.lstrip("/")
            assert (SITE / unquote(path)).is_file(), address


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves the site without a line per request."""

    def log_message(self, format, *args):
        """Write no log."""


@pytest.fixture(scope="module")
def address():
    handler = functools.partial(QuietHandler, directory=SITE)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    for argument in (*ARGUMENTS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = shutil.which("chromedriver")
    assert driver, "Install chromium and chromedriver (Debian: chromium, chromium-driver)."
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield browser
    browser.quit()


def set_width(browser, width, height=900):
    """Emulate a screen; windows of Chromium are at least 500 px wide."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def errors(browser):
    """Return the errors in the console since the last call."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def wait_for(browser, condition):
    return WebDriverWait(browser, 20).until(condition)


@pytest.mark.parametrize("width", [390, 1300])
@pytest.mark.parametrize("page", PAGES)
def test_pages_fit_the_screen_and_load_without_errors(browser, address, page, width):
    set_width(browser, width)
    browser.get(address + page)
    images = browser.find_elements(By.TAG_NAME, "img")
    broken = [image for image in images if not browser.execute_script(IS_LOADED, image)]
    assert [image.get_attribute("src") for image in broken] == []
    assert browser.execute_script("return document.scrollingElement.scrollWidth") <= width
    assert browser.execute_script("return document.querySelectorAll('h1').length") >= 1
    assert errors(browser) == []


@pytest.mark.parametrize(
    ("words", "page"),
    [
        ("which imputer", "choosing.html"),
        ("effective sample size", "guide/inference.html"),
        ("MissSIWAEImputer", "api/skmissvae.MissSIWAEImputer.html"),
        ("save", "guide/persistence.html"),
        ("pooling", "guide/multiple_imputation.html"),
        ("mice", "coming_from/mice.html"),
        ("n_bootstrap", "choosing.html"),
        ("uncertainty", "guide/uncertainty.html"),
    ],
)
def test_search_finds_the_page_among_the_first_five(browser, address, words, page):
    set_width(browser, 1300)
    browser.get(f"{address}search.html?q={words.replace(' ', '+')}")
    wait_for(browser, lambda b: "page" in b.find_element(By.CSS_SELECTOR, "p.search-summary").text)
    links = browser.find_elements(By.CSS_SELECTOR, "ul.search li > a")
    found = [link.get_attribute("href").split("?")[0].split("#")[0] for link in links]
    assert address + page in found[:5]
    assert errors(browser) == []


def test_the_search_field_leads_to_results(browser, address):
    set_width(browser, 1300)
    browser.get(address)
    browser.find_element(By.CSS_SELECTOR, "button.search-button__button").click()
    field = wait_for(
        browser,
        lambda b: next(
            (e for e in b.find_elements(By.NAME, "q") if e.is_displayed()),
            None,
        ),
    )
    field.send_keys("calibration")
    field.submit()
    assert wait_for(browser, lambda b: b.find_elements(By.CSS_SELECTOR, "ul.search li a"))


def background(browser):
    style = "return getComputedStyle(document.body).backgroundColor"
    return [int(c) for c in browser.execute_script(style).strip("rgba()").split(",")[:3]]


@pytest.mark.parametrize("page", FIRST_PAGES)
def test_dark_mode_is_dark_and_kept_on_the_next_page(browser, address, page):
    set_width(browser, 1300)
    browser.get(address + page)
    browser.execute_script("localStorage.setItem('mode', 'light')")
    browser.refresh()
    assert min(background(browser)) > 200
    buttons = browser.find_elements(By.CSS_SELECTOR, "button.theme-switch-button")
    next(button for button in buttons if button.is_displayed()).click()
    for item in browser.find_elements(By.CSS_SELECTOR, "[data-mode='dark']"):
        if item.is_displayed():
            item.click()
            break
    wait_for(browser, lambda b: max(background(b)) < 60)
    browser.get(address + "api/index.html")
    assert max(background(browser)) < 60
    browser.execute_script("localStorage.setItem('mode', 'auto')")


def test_formulas_are_typeset(browser, address):
    set_width(browser, 1300)
    browser.get(address + "methods/misssiwae.html")
    wait_for(browser, lambda b: b.find_elements(By.CSS_SELECTOR, "mjx-container mjx-math"))
    assert not browser.find_elements(By.CSS_SELECTOR, "mjx-merror")
    assert errors(browser) == []


def test_examples_of_the_gallery_have_pictures_and_code(browser, address):
    browser.get(address + "gallery/first_steps.html")
    images = browser.find_elements(By.CSS_SELECTOR, "img.sphx-glr-single-img")
    assert images
    assert all(int(image.get_attribute("naturalWidth")) > 300 for image in images)
    code = [block.text for block in browser.find_elements(By.CSS_SELECTOR, ".highlight-Python")]
    assert any("MissSIWAEImputer" in text for text in code)


def test_long_signatures_are_short(browser, address):
    browser.get(address + "api/skmissvae.MissSIWAEImputer.html")
    signature = browser.find_element(By.CSS_SELECTOR, "dt.sig")
    assert signature.size["height"] < 100
    assert "keyword parameters" in signature.text
