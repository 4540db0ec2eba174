"""Notes as an analyst leaves them."""

from saliency_core.store import annotate
from saliency_core.store.query.annotations import Edit


def set_note(path, run, id, note, proposed_label=None):
    """Keep a note and a correct label for an example; both empty removes them."""
    decision = Edit("open") if proposed_label is None else Edit("label", proposed_label)
    annotate(path, run, [Edit("note", note), decision], ids=[id])
