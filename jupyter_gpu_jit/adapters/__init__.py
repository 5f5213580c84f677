"""One module per outside system; nothing else imports its client library. Handed out by ``cli``."""
