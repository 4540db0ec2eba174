"""Charts as pictures."""

from __future__ import annotations

from typing import Any

from saliency_core.errors import UserError

FONT = "Noto Sans, Helvetica, Arial, sans-serif"


def draw(chart: Any, width: int) -> str:
    """Draw an Altair chart as SVG; nothing is fetched while drawing."""
    try:
        import vl_convert
    except ImportError as error:
        raise UserError(
            "Charts of a report need vl-convert-python; `pip install vl-convert-python`, or write "
            "--format markdown."
        ) from error
    spec = chart.properties(width=width).configure(font=FONT, background="#ffffff")
    return vl_convert.vegalite_to_svg(spec.to_dict(), allowed_base_urls=[])
