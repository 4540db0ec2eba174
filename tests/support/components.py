"""Components of a page under Streamlit's AppTest, which knows nothing of them."""

import json
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qsl

import pandas as pd
from streamlit.testing.v1 import AppTest


def sent_to(browser: str) -> Any:
    """Return JSON as a browser reads it, which knows no NaN."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    return json.loads(browser, parse_constant=refuse)


def unreadable_of(app: AppTest) -> list[str]:
    """Return what a browser could not read of the components and charts of a page."""
    faults = []
    for kind, name in (("bidi_component", "json"), ("vega_lite_chart", "spec")):
        for element in app.get(kind):
            try:
                sent_to(getattr(element.proto, name))
            except ValueError as error:
                faults.append(f"{kind}: {error}")
    return faults


def tables_of(app: AppTest) -> list[pd.DataFrame]:
    """Return what the tables of a page show, each with what it is in `attrs["alt"]`."""
    found = []
    for element in app.get("bidi_component"):
        if element.proto.component_name != "table":
            continue
        data = sent_to(element.proto.json)
        columns = {one["name"]: one.get("values", one.get("texts")) for one in data["columns"]}
        frame = pd.DataFrame(columns)
        frame.attrs["alt"], frame.attrs["chosen"] = data["alt"], data["chosen"]
        found.append(frame)
    return found


def painted_rows_of(app: AppTest) -> list[dict]:
    """Return the painted examples that a page lists."""
    return [
        row
        for element in app.get("bidi_component")
        if element.proto.component_name == "painted_rows"
        for row in sent_to(element.proto.json)["rows"]
    ]


def address_of(app: AppTest) -> dict[str, str]:
    """Return what the address of a page names, as the page itself wants it."""
    (element,) = (
        one for one in app.get("bidi_component") if one.proto.component_name == "navigation"
    )
    return dict(parse_qsl(sent_to(element.proto.json)["query"], keep_blank_values=True))


def go_back(app: AppTest, **query: str) -> AppTest:
    """Run the page as after Back to an address of it."""
    app.query_params.clear()
    for name, value in query.items():
        app.query_params[name] = value
    with patch("app_components.navigation._is_history_navigation", lambda: True):
        return app.run()
