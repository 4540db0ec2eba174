"""A list of examples with painted texts; a click or Enter on one opens it.

Built with `textContent` alone, so nothing of a dataset becomes live. What is opened is told by
its id, never by its place in the list, so no other example can open after paging.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from saliency_core.output.highlighting import COLOURS

_CSS = f"""
.rows {{ font-family: var(--st-font); color: var(--st-text-color); font-size: 0.95rem; }}
.row, .heads {{ display: grid; gap: 0 1rem; padding: .4rem .3rem;
  grid-template-columns: 12rem repeat(var(--columns), minmax(0, 1fr));
  border-top: 1px solid var(--st-border-color); }}
.heads {{ border: 0; font-size: .85em; opacity: .8; }}
.row {{ cursor: pointer; }}
.row:hover {{ background: var(--st-secondary-background-color); }}
.row:focus-visible {{ outline: 2px solid var(--st-primary-color); outline-offset: -2px; }}
.about {{ font-size: .85em; line-height: 1.5; overflow-wrap: anywhere; }}
.about b {{ font-weight: 600; }}
.about .small {{ opacity: .75; }}
.painted {{ line-height: 1.9; overflow-wrap: anywhere; white-space: pre-wrap; margin: 0; }}
.painted span {{ border-radius: 3px; padding: 1px 0; }}
.painted .cut {{ opacity: .55; font-style: italic; }}
@media (max-width: 640px) {{
  .row {{ grid-template-columns: minmax(0, 1fr); }}
  .heads {{ display: none; }}
  .cell[data-heading]::before {{ content: attr(data-heading); font-size: .85em; opacity: .8; }}
}}
{COLOURS}
"""

_JS = """
const texts = (parent, tag, name, text) => {
  const made = document.createElement(tag);
  made.className = name;
  made.textContent = text;
  parent.append(made);
  return made;
};
export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector('.rows');
  root.style.setProperty('--columns', data.width);
  const all = document.createDocumentFragment();
  if (data.headings.length) {
    const heads = texts(all, 'div', 'heads', '');
    for (const heading of ['', ...data.headings]) texts(heads, 'div', '', heading);
  }
  data.rows.forEach((row) => {
    const line = texts(all, 'div', 'row', '');
    line.tabIndex = 0;
    line.setAttribute('role', 'link');
    const about = texts(line, 'div', 'about', '');
    texts(about, 'span', '', row.gold + ' → ');
    texts(about, 'b', '', row.predicted);
    const said = (row.wrong ? 'wrong' : '') + (row.wrong && row.confidence ? ', ' : '')
      + (row.confidence ? 'confidence ' + row.confidence : '');
    texts(about, 'div', '', said);
    if (row.about) texts(about, 'div', 'small', row.about);
    for (const [place, column] of row.columns.entries()) {
      const cell = texts(line, 'div', 'cell', '');
      if (data.headings.length) cell.dataset.heading = data.headings[place];
      for (const pieces of column) {
        const text = texts(cell, 'p', 'painted', '');
        text.dir = 'auto';
        for (const [part, name, title] of pieces) texts(text, 'span', name, part).title = title;
      }
    }
    const open = () => setTriggerValue('open', row.id);
    line.onclick = () => { if (!String(document.getSelection())) open(); };
    line.onkeydown = (event) => {
      const next = { ArrowDown: 'nextElementSibling', ArrowUp: 'previousElementSibling' };
      if (event.key === 'Enter') open();
      else if (next[event.key]) line[next[event.key]]?.focus();
      else return;
      event.preventDefault();
    };
  });
  root.replaceChildren(all);
}
"""

_component = st.components.v2.component(
    "painted_rows", html="<div class='rows'></div>", css=_CSS, js=_JS
)


def painted_rows(
    rows: list[dict[str, Any]],
    key: str,
    on_open: Callable[[str], None],
    headings: tuple[str, ...] = (),
) -> None:
    """Show rows of `painting.painted_row`.

    Args:
        rows: at least one, all with as many columns of text.
        key: of the widget, unlike any other on the page.
        on_open: what to do with the id of the row that is opened; a callback of Streamlit, so
            the page it leaves is not run once more.
        headings: what stands above each column of text.
    """
    _component(
        data={"rows": rows, "headings": list(headings), "width": len(rows[0]["columns"])},
        key=key,
        on_open_change=lambda: on_open(st.session_state[key]["open"]),
    )
