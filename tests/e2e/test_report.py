"""A report as people meet it: in a real browser, of any width, in light and dark, and on paper.

With SCREENSHOTS=FOLDER every look at the page is also kept as a picture.
"""

import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from cyclical import report
from cyclical.store import Store
from tests import reports
from tests.e2e.serving import PATIENCE_MS

SIZES = {"phone": (360, 800), "tablet": (820, 1180), "wide": (1920, 1080)}
SCHEMES = ("light", "dark")
LEAST_CONTRAST = 4.5
LARGER = ("Final accuracy of every arm", "Training images")
CONTRAST = """() => {
    const channels = text => text.match(/[\\d.]+/g).map(Number);
    const linear = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const luminance = ([r, g, b]) =>
        0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    const behind = element => {
        for (let at = element; at; at = at.parentElement) {
            const [r, g, b, alpha = 1] = channels(getComputedStyle(at).backgroundColor);
            if (alpha === 1) return [r, g, b];
        }
        return [255, 255, 255];
    };
    const worst = [];
    for (const element of document.querySelectorAll("body *")) {
        const own = [...element.childNodes].some(n => n.nodeType === 3 && n.data.trim());
        if (!own || ["STYLE", "title", "desc"].includes(element.tagName)) continue;
        const style = getComputedStyle(element);
        const ink = element instanceof SVGElement ? style.fill : style.color;
        const [low, high] = [luminance(channels(ink)), luminance(behind(element))].sort(
            (a, b) => a - b);
        worst.push([(high + 0.05) / (low + 0.05), element.tagName, element.textContent.trim()]);
    }
    return worst.sort((a, b) => a[0] - b[0]);
}"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the report of a run of three seeds."""
    store = Store(root=tmp_path_factory.mktemp("reported") / "artifacts")
    store.ensure_writable()
    return report.write(store, reports.whole(store, 3))


def window(browser: Browser, **options: Any) -> tuple[BrowserContext, Page]:
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE_MS)
    context.set_offline(True)
    return context, context.new_page()


@pytest.fixture(params=[(size, scheme) for size in SIZES for scheme in SCHEMES], ids="-".join)
def page(browser: Browser, file: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    """Open the report without a network; it must ask for nothing and tell no error."""
    size, scheme = request.param
    width, height = SIZES[size]
    viewport = {"width": width, "height": height}
    context, opened = window(browser, viewport=viewport, color_scheme=scheme)
    asked: list[str] = []
    errors: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("console", lambda message: errors.append(message.text))
    opened.goto(file.as_uri())
    yield opened
    if folder := os.environ.get("SCREENSHOTS"):
        opened.screenshot(path=Path(folder) / f"report-{size}-{scheme}.png", full_page=True)
    context.close()
    assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()]
    assert errors == []


def unfold(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")


def test_the_page_never_scrolls_sideways_and_what_is_wider_scrolls_within(page: Page) -> None:
    for _ in ("folded", "unfolded"):
        wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1]
        outside = page.evaluate(
            """() => [...document.querySelectorAll("body *")].filter(each =>
                !each.closest(".scroll, .frame, pre, .skip, svg") &&
                each.getBoundingClientRect().right > innerWidth + 1).map(each => each.outerHTML)"""
        )
        assert outside == []
        unfold(page)


def test_all_pictures_are_there_on_a_light_card(page: Page) -> None:
    pictures = page.locator("img")
    assert pictures.count() == 17
    loaded = "images => images.every(image => image.complete && image.naturalWidth > 0)"
    assert pictures.evaluate_all(loaded)
    cards = "images => images.map(image => getComputedStyle(image).backgroundColor)"
    assert {*pictures.evaluate_all(cards)} == {"rgb(255, 255, 255)"}


def test_a_picture_is_made_larger_on_a_phone_and_scrolls_within(page: Page) -> None:
    box = page.get_by_role("checkbox", name="Larger: Final accuracy of every arm")
    if page.viewport_size != {"width": 360, "height": 800}:
        expect(box).to_have_count(0)
        return
    box.check()
    frame = page.locator(".summary .frame")
    assert frame.evaluate("each => each.scrollWidth > 2 * each.clientWidth")
    wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide[0] <= wide[1]


def test_all_text_can_be_told_from_what_is_behind_it(page: Page) -> None:
    unfold(page)
    found = page.evaluate(CONTRAST)
    assert len(found) > 300
    assert found[0][0] >= LEAST_CONTRAST, found[0]


def test_text_is_large_enough_to_be_read(page: Page) -> None:
    unfold(page)
    heights = page.evaluate(
        """() => [...document.querySelectorAll("p, td, th, dd, dt, figcaption, label, pre, code")]
            .map(each => parseFloat(getComputedStyle(each).fontSize))"""
    )
    assert min(heights) >= 13
    drawn = page.locator(".chart > svg text").evaluate_all(
        "texts => texts.map(each => each.getBoundingClientRect().height)"
    )
    assert min(drawn) >= 12


def test_an_arm_is_switched_off_and_on_by_its_box_also_from_the_keyboard(page: Page) -> None:
    line = page.locator(".series.arm-3")
    box = page.get_by_role("checkbox", name=re.compile("^cyclic-batch-reference 0"))
    expect(line).to_be_visible()
    box.uncheck()
    expect(line).to_be_hidden()
    expect(page.locator(".series.arm-2")).to_be_visible()
    box.press("Space")
    expect(line).to_be_visible()


def test_the_keyboard_reaches_the_report_its_tables_and_shows_where_it_is(page: Page) -> None:
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="To the report")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    on_a_phone = page.viewport_size == {"width": 360, "height": 800}
    for name in LARGER if on_a_phone else ():
        page.keyboard.press("Tab")
        expect(page.get_by_role("checkbox", name=f"Larger: {name}")).to_be_focused()
    page.keyboard.press("Tab")
    region = page.get_by_role("region", name="Table: Images of each class")
    expect(region).to_be_focused()
    assert region.evaluate("each => getComputedStyle(each).outlineStyle") == "solid"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_without_scripts_the_page_is_the_same(browser: Browser, file: Path, scheme: str) -> None:
    context, page = window(
        browser,
        java_script_enabled=False,
        color_scheme=scheme,
        viewport={"width": 360, "height": 800},
    )
    page.goto(file.as_uri())
    expect(page.get_by_role("heading", level=2)).to_have_count(15)
    line = page.locator(".series.arm-0")
    page.get_by_role("checkbox", name=re.compile("^clr-derived 0")).uncheck()
    expect(line).to_be_hidden()
    expect(page.get_by_role("table").first).to_be_visible()
    context.close()


def test_a_mark_says_its_figure_and_the_chart_all_final_ones(browser: Browser, file: Path) -> None:
    context, page = window(browser)
    page.goto(file.as_uri())
    chart = page.get_by_role("img", name="Lines of the validation accuracy of 9 arms")
    told = chart.locator(".arm-0 title").all_text_contents()
    assert len(told) == 7
    assert re.fullmatch(
        r"clr-derived, epoch 7: 0\.\d{4} \(mean of 3 seeds, 0\.\d{4} to .*", told[6]
    )
    context.close()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_it_prints_whole_in_light_colours_with_all_that_is_folded(
    browser: Browser, file: Path, scheme: str
) -> None:
    context, page = window(browser, color_scheme=scheme, viewport={"width": 718, "height": 1000})
    page.goto(file.as_uri())
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate(CONTRAST)[0][0] >= LEAST_CONTRAST
    cut = page.evaluate(
        """() => [...document.querySelectorAll("table, pre")].filter(each =>
            each.getBoundingClientRect().right > innerWidth + 1 ||
            each.getBoundingClientRect().height === 0).map(each => each.innerText)"""
    )
    assert cut == []
    pdf = page.pdf(format="A4")
    assert pdf.startswith(b"%PDF")
    assert pages(pdf) >= 8
    if folder := os.environ.get("SCREENSHOTS"):
        (Path(folder) / f"report-{scheme}.pdf").write_bytes(pdf)
    context.close()


def pages(pdf: bytes) -> int:
    """Count a PDF's pages, also where its objects are compressed."""
    streams = re.findall(rb"stream\r?\n(.*?)endstream", pdf, re.DOTALL)
    texts = [pdf]
    for stream in streams:
        try:
            texts.append(zlib.decompress(stream))
        except zlib.error:
            continue
    return sum(len(re.findall(rb"/Type\s*/Page\b", text)) for text in texts)
