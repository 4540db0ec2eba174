"""The tables of a page under Streamlit's AppTest, which knows nothing of components."""

import json

import pandas as pd
from streamlit.testing.v1 import AppTest


def tables_of(app: AppTest) -> list[pd.DataFrame]:
    """Return what the tables of a page show, each with what it is in `attrs["alt"]`."""
    found = []
    for element in app.get("bidi_component"):
        if element.proto.component_name != "table":
            continue
        data = json.loads(element.proto.json)
        columns = {one["name"]: one.get("values", one.get("texts")) for one in data["columns"]}
        frame = pd.DataFrame(columns)
        frame.attrs["alt"], frame.attrs["chosen"] = data["alt"], data["chosen"]
        found.append(frame)
    return found
