"""A chart as a picture: `altair.Chart` -> SVG or PNG, drawn on this machine by vl-convert, without a browser or a network.

The rasteriser of vl-convert does not shape Devanagari: vowel signs land on their neighbours. In a PNG such texts are therefore
left out of the picture and written into it afterwards by Pillow, whose text layout (Raqm, HarfBuzz) knows the script. An SVG
needs no such care: whoever opens it shapes its text.
"""

import io
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal
from xml.etree import ElementTree

from PIL import Image, ImageDraw, ImageFont, features

from engine.charts import Chart

FONT = "Noto Sans, Inter, Segoe UI, Roboto, Noto Sans Devanagari, Nirmala UI, sans-serif"
WIDTH = 680
"""Pixels of a chart that on the screen takes what room there is."""
SCALE = 2.0
"""Pixels of a PNG for each pixel of the drawing."""
INK = "#1d2524"
DEVANAGARI_FONTS = (
    "NotoSansDevanagari-Regular.ttf",
    "NotoSansDevanagari.ttf",
    "NotoSerifDevanagari-Regular.ttf",
    "Lohit-Devanagari.ttf",
    "Nirmala.ttc",
    "Nirmala.ttf",
    "Mangal.ttf",
    "Kohinoor.ttc",
)
"""Files that are looked for among the system's fonts, in this order."""
LATIN_FONTS = ("NotoSans-Regular.ttf", "DejaVuSans.ttf", "arial.ttf", "Arial.ttf", "Helvetica.ttc")

_DEVANAGARI = re.compile(r"([\u0900-\u097f\u1cd0-\u1cff\ua8e0-\ua8ff\u200c\u200d]+)")
_SVG = "http://www.w3.org/2000/svg"
_VERSION = "6.4"
"""Of Vega-Lite: what Altair 6.3 writes."""
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def to_svg(chart: Chart, *, width: int = WIDTH, ink: str = INK, background: str | None = "#ffffff") -> str:
    """Draw a chart as SVG.

    Args:
        chart: what to draw.
        width: pixels of its inner part, where it leaves that to the screen.
        ink: colour of axes and words; ``currentColor`` takes the colour of the page that the drawing stands in.
        background: colour behind it; None lets the page show through.
    """
    import vl_convert

    drawing: str = vl_convert.vegalite_to_svg(
        _sized(chart, width), vl_version=_VERSION, config=_config(ink, background), allowed_base_urls=[]
    )
    return drawing


def to_png(chart: Chart) -> bytes:
    """Draw a chart as PNG on white, two pixels for each of the drawing.

    Devanagari needs one of `DEVANAGARI_FONTS`; where there is none (`draws_devanagari`), its letters become boxes.
    """
    import vl_convert

    drawing, texts = _take_devanagari(to_svg(chart)) if draws_devanagari() else (to_svg(chart), [])
    picture: bytes = vl_convert.svg_to_png(drawing, scale=SCALE)
    if not texts:
        return picture
    canvas = Image.open(io.BytesIO(picture)).convert("RGBA")
    for text in texts:
        canvas.alpha_composite(*_written(text))
    written = io.BytesIO()
    canvas.convert("RGB").save(written, "PNG")
    return written.getvalue()


def zipped(charts: Mapping[str, Chart], kind: Literal["png", "svg"]) -> bytes:
    """Return charts as pictures in one ZIP file, each named after its title."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as folder:
        for number, (title, chart) in enumerate(charts.items(), 1):
            name = "-".join(re.findall(r"[a-z0-9]+", title.lower()))
            folder.writestr(f"{number:02d}-{name}.{kind}", to_png(chart) if kind == "png" else to_svg(chart))
    return written.getvalue()


def draws_devanagari() -> bool:
    """Tell whether a PNG can hold Devanagari: there is a font for it, and Pillow can lay it out."""
    return _font(DEVANAGARI_FONTS, 12.0) is not None and bool(features.check("raqm"))


def _sized(chart: Chart, width: int) -> dict[str, Any]:
    """Return the specification with a width, where it leaves that to the screen."""
    spec: dict[str, Any] = chart.to_dict()
    if ("mark" in spec or "layer" in spec) and "width" not in spec:
        spec["width"] = width
    spec["padding"] = {"left": 8, "top": 8, "right": 16, "bottom": 8}
    return spec


def _config(ink: str, background: str | None) -> dict[str, Any]:
    quiet = {"gridColor": ink, "gridOpacity": 0.14, "domainColor": ink, "domainOpacity": 0.5, "tickColor": ink}
    return {
        "background": background,
        "font": FONT,
        "axis": quiet | {"labelColor": ink, "titleColor": ink, "tickOpacity": 0.5, "labelFontSize": 11},
        "legend": {"labelColor": ink, "titleColor": ink, "labelFontSize": 11},
        "header": {"labelColor": ink, "titleColor": ink},
        "title": {"color": ink},
        "view": {"stroke": None},
    }


@dataclass(frozen=True)
class _Text:
    """One line of text as the drawing has it, in pixels of the drawing."""

    words: str
    x: float
    y: float
    degrees: float
    size: float
    anchor: str
    fill: str
    opacity: float


def _take_devanagari(drawing: str) -> tuple[str, list[_Text]]:
    """Take the texts with Devanagari out of a drawing; return what is left of it and them."""
    ElementTree.register_namespace("", _SVG)
    root = ElementTree.fromstring(drawing)  # noqa: S314 vl-convert has written it, not a person
    found: list[_Text] = []

    def walk(node: ElementTree.Element, x: float, y: float, opacity: float) -> None:
        for child in list(node):
            dx, dy, degrees = _moved(child.get("transform", ""))
            faint = opacity * float(child.get("opacity", 1))
            words = "".join(child.itertext())
            if child.tag == f"{{{_SVG}}}text" and _DEVANAGARI.search(words):
                node.remove(child)
                size = float(child.get("font-size", "11px").removesuffix("px"))
                anchor, fill = child.get("text-anchor", "start"), child.get("fill", INK)
                found.append(_Text(words, x + dx, y + dy, degrees, size, anchor, fill, faint))
            else:
                walk(child, x + dx, y + dy, faint)

    walk(root, 0.0, 0.0, 1.0)
    return ElementTree.tostring(root, encoding="unicode"), found


def _moved(transform: str) -> tuple[float, float, float]:
    """Read ``translate(x,y) rotate(degrees)``, which is all that Vega writes."""
    place = re.search(r"translate\(([-\d.e]+)[, ]+([-\d.e]+)\)", transform)
    turn = re.search(r"rotate\(([-\d.e]+)", transform)
    x, y = (float(place[1]), float(place[2])) if place else (0.0, 0.0)
    return x, y, float(turn[1]) if turn else 0.0


def _written(text: _Text) -> tuple[Image.Image, tuple[int, int]]:
    """Write one line on glass; return it with the place of its upper left corner in the picture."""
    devanagari = _font(DEVANAGARI_FONTS, text.size * SCALE)
    latin: Font = _font(LATIN_FONTS, text.size * SCALE) or ImageFont.load_default(text.size * SCALE)
    parts = [part for part in _DEVANAGARI.split(text.words) if part]
    fonts: list[Font] = [devanagari if devanagari and _DEVANAGARI.match(part) else latin for part in parts]
    width = sum(font.getlength(part) for font, part in zip(fonts, parts, strict=True))
    # room for any line on all sides of the point it hangs on, which stays in the middle when the glass is turned
    reach = int(width + 4 * text.size * SCALE)
    glass = Image.new("RGBA", (2 * reach, 2 * reach))
    pen = ImageDraw.Draw(glass)
    x = reach - width * {"start": 0.0, "middle": 0.5, "end": 1.0}.get(text.anchor, 0.0)
    for font, part in zip(fonts, parts, strict=True):
        pen.text((x, reach), part, fill=text.fill, font=font, anchor="ls")
        x += font.getlength(part)
    if text.opacity < 1:
        glass.putalpha(glass.getchannel("A").point([round(value * text.opacity) for value in range(256)]))
    if text.degrees:
        glass = glass.rotate(-text.degrees, resample=Image.Resampling.BICUBIC)
    left, top = round(text.x * SCALE) - reach, round(text.y * SCALE) - reach
    return glass.crop((max(0, -left), max(0, -top), glass.width, glass.height)), (max(0, left), max(0, top))


@cache
def _font(names: tuple[str, ...], size: float) -> ImageFont.FreeTypeFont | None:
    """Return the first font of these files that the system has; Pillow looks where the system keeps its fonts."""
    for name in names:
        try:
            return ImageFont.truetype(name, size)
        except OSError:  # Pillow's word for "no such file"; the next name may be there
            continue
    return None
