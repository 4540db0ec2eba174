import streamlit as st

from app_components.beginning import DEMONSTRATION_WANTED
from app_components.new_audit import cards
from app_components.new_audit.form import form, start_button

if st.session_state.pop(DEMONSTRATION_WANTED, False):
    cards.start_demonstration()
shown = cards.current()
if shown is not None:
    cards.card(shown)
    st.button("Start another audit", on_click=cards.another)
else:
    form()
    start_button()
if earlier := cards.others(shown):
    st.header("Earlier audits", anchor=False)
    for job in earlier:
        cards.card(job)
