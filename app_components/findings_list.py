"""Findings as rows: the figure in bold, the whole row leads to the evidence."""

from __future__ import annotations

from collections.abc import Iterable

import streamlit as st

from app_components import session
from saliency_core.records import Finding


def findings_list(found: Iterable[Finding]) -> None:
    """Show one row for each finding; how much it matters is the breadth of its edge."""
    with st.container(key="findings", gap="xxsmall"):
        for number, finding in enumerate(found):
            st.button(
                f"{_sentence(finding)}\u00a0:primary[**→**]",
                key=f"finding-{finding.severity}-{number}",
                type="tertiary",
                width="stretch",
                on_click=session.go_to,
                args=(finding.page,),
                kwargs={"where": finding.where, **finding.options},
            )


def _sentence(finding: Finding) -> str:
    """Return the sentence as Markdown in which nothing of the data is live."""
    return "".join(
        _strong(text) if is_strong else session.escape(text) for text, is_strong in finding.parts
    )


def _strong(text: str) -> str:
    # Blanks inside the asterisks would show them instead.
    inner = text.strip()
    return text.replace(inner, f"**{session.escape(inner)}**") if inner else text
