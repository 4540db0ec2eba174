"""What pages share: the session, lists of examples, background commands."""
