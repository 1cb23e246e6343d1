"""The page in a real Chromium: pictures, captions, bars, thresholds, a CSV; by keyboard, as a screen reader has it."""

import csv
import io
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest
from serve.conftest import SMALL, Slow, listening

from clipfuse.serve.app import create_app

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not CHROMIUM or not DRIVER, reason="no chromium here: apt-get install chromium chromium-driver"
)
FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
FLAGS += " --disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1280,1000"
PATIENCE = 30


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    selenium = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    folder = tmp_path_factory.mktemp("chromium")
    options = selenium.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={folder / 'profile'}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.add_experimental_option("prefs", {"download.default_directory": str(folder)})
    try:
        driver = selenium.Chrome(options=options, service=Service(DRIVER))
    except Exception as error:  # a machine that has it and can't run it
        pytest.skip(f"chromium does not start: {str(error).splitlines()[0]}")
    driver.downloads = folder
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def address(loaded):
    with listening(create_app(loaded, limits=SMALL, token=None)) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture(scope="module")
def pictures(scenes):
    return sorted(scenes.images.iterdir())[:2]


@pytest.fixture
def page(browser, address):
    """The page, fresh; at the end, nothing was complained of in the browser's console."""
    browser.get(address)
    wait_for(lambda: "labels, from" in text_of(browser, "#about"))
    yield browser
    complaints = [one for one in browser.get_log("browser") if "422" not in one["message"]]
    assert complaints == []


def wait_for(condition):
    until = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < until, condition
        time.sleep(0.02)
    return found


def all_of(page, selector):
    return page.find_elements("css selector", selector)


def text_of(page, selector):
    (one,) = all_of(page, selector)
    return one.get_attribute("textContent")


def meters(page, row):
    """Label -> (percent, what is said of it) of a row, once it is answered."""
    script = """const row = document.querySelectorAll("#rows > li")[arguments[0]];
        if (!row || row.classList.contains("stale")) return null;
        return [...row.querySelectorAll("[role=meter]")].map((meter) =>
            [meter.ariaLabel, Number(meter.getAttribute("aria-valuenow")), meter.getAttribute("aria-valuetext")]);"""
    return {name: (value, said) for name, value, said in wait_for(lambda: page.execute_script(script, row))}


def choose_files(page, *paths):
    all_of(page, "#files")[0].send_keys("\n".join(map(str, paths)))


def slide(page, place, value):
    script = """const slider = document.querySelectorAll("#thresholds input")[arguments[0]];
        slider.value = arguments[1]; slider.dispatchEvent(new Event("input"));"""
    page.execute_script(script, place, value)


def test_pictures_captions_thresholds_and_a_table(page, loaded, pictures):
    choose_files(page, *pictures)
    expected = loaded.predict(images=list(pictures)).probabilities
    for row, values in enumerate(expected):
        shown = meters(page, row)
        best = [loaded.labels[n] for n in np.argsort(-values)[:8]]
        assert list(shown) == best
        assert [shown[name][0] for name in best] == pytest.approx([100 * v for v in np.sort(values)[::-1][:8]], abs=0.3)

    # what is typed changes the bars
    caption = '=1+1 a dog, and "a tree"'
    all_of(page, "#rows textarea")[0].send_keys(caption)
    both = loaded.predict(images=[pictures[0]], captions=[caption]).probabilities[0]
    assert np.abs(both - expected[0]).max() > 0.01
    most = int(np.argmax(both))
    wait_for(lambda: abs(meters(page, 0).get(loaded.labels[most], (0,))[0] - 100 * both[most]) < 0.3)

    # thresholds change what is chosen at once, without asking the server
    for place in range(len(loaded.labels)):
        slide(page, place, 0)
    assert all(", chosen, threshold 0%" in said for _, said in meters(page, 0).values())
    assert len(all_of(page, "#rows > li:first-child .chosen")) == len(loaded.labels)
    cut = round(float(both[most]) + 0.02, 2)
    slide(page, most, cut)
    assert f"not chosen, threshold {100 * cut:.0f}%" in meters(page, 0)[loaded.labels[most]][1]

    # the table says the same, and no cell is a formula
    all_of(page, "#download")[0].click()
    file = page.downloads / "labels.csv"
    wait_for(lambda: file.exists() and file.read_bytes().endswith(b"\n"))
    first, second = csv.DictReader(io.StringIO(file.read_text(encoding="utf-8-sig"), newline=""))
    file.unlink()
    assert first["picture"] == pictures[0].name and first["caption"] == f"'{caption}" and second["caption"] == ""
    np.testing.assert_allclose([float(first[f"p({name})"]) for name in loaded.labels], both, atol=2e-3)
    assert first["labels"].split("|") == [name for n, name in enumerate(loaded.labels) if n != most]

    # and the run's own thresholds come back
    all_of(page, "#reset")[0].click()
    sliders = [float(one.get_attribute("value")) for one in all_of(page, "#thresholds input")]
    assert sliders == pytest.approx(loaded.thresholds, abs=0.005)


def test_without_a_mouse(page, loaded):
    from selenium.webdriver import ActionChains, Keys

    def press(keys):
        ActionChains(page).send_keys(keys).perform()

    def focus():
        return page.switch_to.active_element

    press(Keys.TAB)
    assert focus().text == "Skip to the rows"
    press(Keys.TAB)
    assert focus().get_attribute("id") == "files"
    press(Keys.TAB)
    assert focus().text == "Add a row without picture"
    press(Keys.ENTER)
    assert focus().accessible_name == "Caption of Row 1" and focus().aria_role == "textbox"
    press("a red kite")
    shown = meters(page, 0)
    wait_for(lambda: "Row 1: " in text_of(page, "#said"))
    assert len(shown) == 8
    more = all_of(page, ".more")[0]
    assert more.accessible_name == f"Show all {len(loaded.labels)} labels of Row 1"
    more.send_keys(Keys.ENTER)
    assert len(meters(page, 0)) == len(loaded.labels) and more.get_attribute("aria-expanded") == "true"
    slider = all_of(page, "#thresholds input")[0]
    assert slider.accessible_name == loaded.labels[0] and slider.aria_role == "slider"
    before = float(slider.get_attribute("value"))
    slider.send_keys(Keys.ARROW_RIGHT)
    assert float(slider.get_attribute("value")) == pytest.approx(before + 0.01, abs=0.006)
    remove = all_of(page, ".remove")[0]
    assert remove.accessible_name == "Remove Row 1"
    remove.send_keys(Keys.ENTER)
    assert focus().get_attribute("id") == "files" and all_of(page, "#rows > li") == []
    assert "removed" in text_of(page, "#said")


def test_what_cant_be_used_is_said(page, tmp_path):
    (tmp_path / "odd.png").write_bytes(b"no picture")
    (tmp_path / "large.png").write_bytes(bytes(SMALL.body_bytes))
    choose_files(page, tmp_path / "odd.png", tmp_path / "large.png")
    wait_for(lambda: len(all_of(page, "#rows .state.problem")) == 2)
    states = all_of(page, "#rows .state")
    assert "not a picture of a known format" in states[0].text
    assert "more than" in states[1].text
    assert all_of(page, "#download")[0].get_attribute("disabled")


def test_everything_has_a_name(page, pictures):
    choose_files(page, pictures[0])
    meters(page, 0)
    for one in all_of(page, "button, input, textarea, [role=meter], section, ol"):
        if one.is_displayed() and one.aria_role not in ("list",):
            assert one.accessible_name, one.get_attribute("outerHTML")
    assert text_of(page, "html > head > title") and all_of(page, "html")[0].get_attribute("lang") == "en"
    ids = [one.get_attribute("id") for one in all_of(page, "[id]")]
    assert len(ids) == len(set(ids))


def test_a_token_and_a_busy_server(browser, loaded):
    slow = Slow(loaded)
    token = "a-token-of-some-length"
    app = create_app(slow, limits=replace(SMALL, waiting=1), token=token)
    with listening(app) as port:
        browser.get(f"http://127.0.0.1:{port}/")
        wait_for(lambda: all_of(browser, "#token-form")[0].is_displayed())
        assert "token is missing" in text_of(browser, "#alarm")
        all_of(browser, "#token")[0].send_keys(token + "\n")
        wait_for(lambda: "labels, from" in text_of(browser, "#about"))
        browser.get("about:blank")
        browser.get(f"http://127.0.0.1:{port}/#token={token}")
        wait_for(lambda: "labels, from" in text_of(browser, "#about"))
        assert token not in browser.current_url
        for text in ("a dog", "a cat"):
            all_of(browser, "#add")[0].click()
            browser.switch_to.active_element.send_keys(text)
            wait_for(slow.begun.is_set)
        wait_for(lambda: "busy" in "".join(one.text for one in all_of(browser, "#rows .state")))
        slow.go.set()
        assert len(meters(browser, 0)) == len(meters(browser, 1)) == 8
    browser.get_log("browser")
