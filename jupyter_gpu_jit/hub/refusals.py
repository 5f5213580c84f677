"""The one way in which this side of the hub says no: an HTTP status below 500 and a sentence.

JupyterHub shows ``jupyterhub_message`` of an exception on its pages and in its API, counts
statuses of 500 and more towards the failures that end the hub, and shows anything else as a
bare "Internal Server Error".
"""

from __future__ import annotations

from tornado import web

BAD_OPTIONS = 400
CANCELLED = 409
TOO_LARGE = 413
REFUSED = 422
NOT_STARTED = 424


class Refusal(web.HTTPError):
    """An error below 500 whose sentence reaches the user as it is."""

    def __init__(self, status: int, sentence: str) -> None:
        # The sentence is an argument, not the format: it may hold percent signs.
        super().__init__(status, "%s", sentence)
        self.jupyterhub_message = sentence
