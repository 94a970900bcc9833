"""Finishing a page of the built book: what is written out, what is left as it was."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from finish_pages import finish, finished
from PIL import Image


def picture(colour: tuple[int, int, int], kind: str = "webp", size: tuple[int, int] = (300, 100)) -> bytes:
    file = io.BytesIO()
    noise = Image.effect_noise(size, 80).convert("RGB")  # a plain color would be too short to be worth a file
    Image.blend(noise, Image.new("RGB", size, colour), 0.5).save(file, kind)
    return file.getvalue()


def uri(data: bytes, kind: str = "webp") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "book").mkdir()
    (tmp_path / "_static").mkdir()
    return tmp_path


def test_a_picture_in_the_page_becomes_a_file_with_the_same_bytes(site: Path) -> None:
    data = picture((200, 0, 0))
    html = finished(f'<img src="{uri(data)}" alt="Red." width="150">', site / "book", site)
    (file,) = (site / "_images").iterdir()
    assert file.read_bytes() == data
    assert f'src="../_images/{file.name}"' in html
    assert 'width="150" height="50" loading="lazy"' in html
    assert 'alt="Red."' in html


def test_equal_pictures_share_a_file_and_different_ones_do_not(site: Path) -> None:
    red, blue = uri(picture((200, 0, 0))), uri(picture((0, 0, 200)))
    html = finished(f'["{red}", "{blue}", "{red}"] url({blue})', site / "book", site)
    names = sorted(path.name for path in (site / "_images").iterdir())
    assert len(names) == 2
    assert [html.count(name) for name in names] == [2, 2]
    assert "data:image" not in html


def test_a_page_at_the_top_has_no_way_up(site: Path) -> None:
    assert 'src="_images/' in finished(f'<img src="{uri(picture((0, 99, 0)))}">', site, site)


def test_small_data_stays_in_the_page(site: Path) -> None:
    html = '<img src="data:image/png;base64,AAAA"><script type="application/json">[1, 2]</script>'
    assert finished(html, site / "book", site) == html
    assert not (site / "_images").exists()


def test_long_data_of_a_figure_waits_in_a_script(site: Path) -> None:
    data = "[" + ", ".join("7" for _ in range(20000)) + "]"
    html = finished(f'<figure><script type="application/json">{data}</script></figure>', site / "book", site)
    (file,) = (site / "_images").iterdir()
    assert html == f'<figure><script type="application/json" data-file="../_images/{file.name}"></script></figure>'
    assert file.read_text() == f"(window.figureData = window.figureData || {{}})['../_images/{file.name}'] = {data};\n"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ('<img src="p.png" alt="A.">', '<img width="300" height="100" loading="lazy" src="p.png" alt="A.">'),
        ('<img src="p.png" width="60">', '<img width="60" height="20" loading="lazy" src="p.png">'),
        (
            '<img src="p.png" style="width: 90px;">',
            '<img width="90" height="30" loading="lazy" src="p.png" style="width: 90px;">',
        ),
        ('<img src="p.svg" alt="A.">', '<img src="p.svg" alt="A.">'),
        ('<img src="gone.png">', '<img src="gone.png">'),
    ],
    ids=["its own size", "a width", "a width as style", "a drawing", "missing"],
)
def test_an_image_keeps_its_place_while_it_is_fetched(site: Path, given: str, wanted: str) -> None:
    (site / "book" / "p.png").write_bytes(picture((9, 9, 9), "png"))
    assert finished(given, site / "book", site) == wanted


def test_parts_of_the_diagram_lead_to_pages_and_other_links_are_left_alone(site: Path) -> None:
    html = '<a href="09_decoder.ipynb" aria-label="decoder"></a> <a href="09_decoder.ipynb" download>Take away</a>'
    assert finished(html, site / "book", site) == html.replace("ipynb", "html", 1)
    part = '<a href="08_encoder.ipynb#the-whole-encoder" aria-label="memory"></a>'
    assert finished(part, site / "book", site) == part.replace("ipynb", "html")
    solved = '<a href="04_data.ipynb#cell-one-seventh" class="cell">Data preparation</a>'
    assert finished(solved, site / "book", site) == solved.replace("ipynb", "html")


def test_a_heavy_picture_becomes_lighter_and_keeps_its_looks(site: Path) -> None:
    (site / "_images").mkdir()
    ramp = np.add.outer(np.arange(500), np.arange(600))
    scene = Image.fromarray(np.stack([ramp % 256, ramp // 3 % 256, ramp // 7 % 256], axis=-1).astype(np.uint8))
    noisy = Image.merge("RGB", [Image.effect_noise((500, 500), 30)] * 3)
    Image.blend(scene, noisy.resize((600, 500)), 0.08).save(site / "_images" / "scene.png")
    (site / "_images" / "chart.png").write_bytes(picture((200, 0, 0), "png", (60, 40)))
    (site / "book" / "page.html").write_text('<a href="../_images/scene.png"><img src="../_images/scene.png"></a>')
    before = np.asarray(Image.open(site / "_images" / "scene.png"), dtype=int)
    finish(site)
    assert sorted(path.name for path in (site / "_images").iterdir()) == ["chart.png", "scene.webp"]
    assert (site / "book" / "page.html").read_text().count("../_images/scene.webp") == 2
    after = np.asarray(Image.open(site / "_images" / "scene.webp"), dtype=int)
    assert np.abs(before - after).mean() < 8


def test_a_comma_stays_with_its_formula(site: Path) -> None:
    formula = r'<span class="math notranslate nohighlight">\(N\)</span>'
    html = finished(f"<p>of {formula}, and {formula} of {formula}).</p>", site / "book", site)
    kept = f'<span class="nobreak">{formula}'
    assert html == f"<p>of {kept},</span> and {formula} of {kept}).</span></p>"


def test_references_promise_no_list_items(site: Path) -> None:
    html = '<div role="list" class="citation-list"><div class="citation" id="a" role="doc-biblioentry">A</div></div>'
    wanted = '<div class="citation-list"><div class="citation" id="a">A</div></div>'
    assert finished(html, site / "book", site) == wanted
    assert finished('<ul role="list"></ul>', site / "book", site) == '<ul role="list"></ul>'


def test_what_no_page_asks_for_is_left_out(site: Path) -> None:
    static = site / "_static"
    for name in ("scripts/fontawesome.js", "scripts/bootstrap.js", "styles/theme.css.map"):
        (static / name).parent.mkdir(exist_ok=True)
        (static / name).write_text("x")
    (static / "template.html").write_text('<script src="searchindex.js"></script>')
    page = '<script src="../searchindex.js"></script><script src="../_static/scripts/bootstrap.js"></script>'
    icons = "<!-- So that users can add custom icons -->\n<script src='../_static/scripts/fontawesome.js?1'></script>"
    (site / "book" / "page.html").write_text(icons + page)
    (site / "search.html").write_text(page)
    finish(site)
    assert sorted(path.name for path in static.rglob("*") if path.is_file()) == ["bootstrap.js", "template.html"]
    assert (site / "book" / "page.html").read_text() == '<script src="../_static/scripts/bootstrap.js"></script>'
    assert (site / "search.html").read_text() == page
    assert (static / "template.html").read_text() == '<script src="searchindex.js"></script>'


def test_rules_are_kept_for_the_icons_that_are_used(site: Path) -> None:
    style = site / "_static" / "styles" / "pydata-sphinx-theme.css"
    style.parent.mkdir()
    bars = '.fa-bars:before,.fa-navicon:before{content:"\\f0c9"}'
    style.write_text(f'a{{b:c}}.fa-tent:before{{content:"\\f5c3"}}{bars}.fa-xmark:before{{content:"\\f00d"}}d{{e:f}}')
    (site / "book" / "page.html").write_text('<i class="fa-solid fa-bars"></i>')
    (site / "_static" / "scripts").mkdir()
    (site / "_static" / "scripts" / "theme.js").write_text("'fa-xmark'")
    finish(site)
    assert style.read_text() == f'a{{b:c}}{bars}.fa-xmark:before{{content:"\\f00d"}}d{{e:f}}'
