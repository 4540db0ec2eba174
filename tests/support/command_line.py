"""Commands as a user ends them."""

from typer.testing import CliRunner

from saliency_core.cli import app
from saliency_core.errors import UserError


def ended(*arguments):
    """Return what a command said; fail on a traceback."""
    done = CliRunner().invoke(app, list(map(str, arguments)))
    if isinstance(done.exception, UserError):
        return str(done.exception)
    assert done.exit_code in (0, 2), done.output
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output
