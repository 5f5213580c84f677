"""The one error of this package's AWS: a code and a message, as EC2 puts them into its answer."""

from __future__ import annotations


class AwsError(Exception):
    """Refused in AWS's own words; ``status`` is the HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.status = code, message, status
