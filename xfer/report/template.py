"""xfer's pages: each a template that extends `base.html`, filled into one self-contained file."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from xfer.workflows.comparison.units import bytes_text, difference_text, seconds_text


def fill(template: str, **values: Any) -> bytes:
    """A template of `xfer/report/templates` as UTF-8, all values escaped, with the style of xfer's pages inside."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    folder = files("xfer.report").joinpath("templates")
    environment = Environment(
        loader=FunctionLoader(lambda name: folder.joinpath(name).read_text("utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"difference": difference_text, "seconds": seconds_text, "bytes": bytes_text}
    style = Markup(folder.joinpath("style.css").read_text("utf-8"))
    text = environment.get_template(template).render(style=style, **values)
    # A file name may hold bytes that are no UTF-8; the page shows a replacement character for them.
    return text.encode("utf-8", "xmlcharrefreplace")
