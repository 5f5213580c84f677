"""The panel of a session: what it runs on, what it costs, live. Called by users in their kernels.

Stock widgets only, so nothing has to be built or installed in the browser; without ipywidgets,
or in a terminal, the same as text.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from html import escape
from typing import Any

from ..core.quantity import format_usd, usd_to_micro
from ..errors import GpuJitError
from .client import Connection, SessionInfo, fetch

log = logging.getLogger(__name__)

REFRESH_SECONDS = 5.0
# Whatever a kernel sends counts as activity for those who stop idle servers, so a panel
# somebody left open must fall silent by itself.
QUIET_AFTER_SECONDS = 600.0

Fetch = Callable[[], SessionInfo]


_shared: list[SessionPanel] = []


def session() -> SessionPanel:
    """A live panel about the session this notebook runs in; its ``info`` has the figures.

    Called again it gives the same panel, so that a kernel has one, however often it is shown.
    """
    if _shared and not _shared[0].closed:
        _shared[0].refresh()
        return _shared[0]
    try:
        connection = Connection.from_environment()
    except GpuJitError as error:
        return SessionPanel(None, note=error.user_message)
    _shared[:] = [SessionPanel(lambda: fetch(connection))]
    return _shared[0]


class SessionPanel:
    """Shows a session and keeps itself up to date until ``close()`` or the kernel's end.

    ``info`` is what the service said last (None before it said anything), ``note`` a sentence
    when something is not as it should be.
    """

    def __init__(self, ask: Fetch | None, *, note: str = "") -> None:
        self.info: SessionInfo | None = None
        self.note = note
        self._ask = ask
        self._closed = threading.Event()
        self._view: _View | None = None
        if ask is not None:
            self.refresh()
            self._view = _View.make(self._html())
            _Refresher(self, self._closed).start()

    @property
    def closed(self) -> bool:
        """Whether it, or its widget, was closed; then it does not change any more."""
        return self._closed.is_set() or (self._view is not None and self._view.gone)

    def refresh(self) -> None:
        """Ask the service now; a failure becomes the ``note``, and the last figures stay."""
        if self._ask is None:
            return
        try:
            self.info, self.note = self._ask(), ""
        except GpuJitError as error:
            self.note = error.user_message
        self._show()

    def close(self) -> None:
        """Stop asking and remove the panel from the page."""
        self._closed.set()
        if self._view is not None:
            self._view.close()

    def rest(self) -> None:
        """Say that it is not updated for now."""
        self.note = "Not updated while nothing is run here; run any cell to go on."
        self._show()

    def _show(self) -> None:
        if self._view is not None:
            self._view.show(self._html())

    def _rows(self) -> list[tuple[str, str]]:
        rows = [] if self.info is None else _rows(self.info)
        return [*rows, ("Note", self.note)] if self.note else rows

    def _html(self) -> str:
        cells = "".join(
            f'<tr><th scope="row" align="left">{escape(name)}</th><td>{escape(value)}</td></tr>'
            for name, value in self._rows()
        )
        return f"<table>{cells}</table>"

    def __repr__(self) -> str:
        rows = self._rows() or [("Note", "Nothing is known yet.")]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)

    def _repr_mimebundle_(self, **kwargs: Any) -> Mapping[str, Any]:
        """The widget where widgets are shown, else the same as text."""
        text = {"text/plain": repr(self)}
        return text if self._view is None else {**self._view.bundle(**kwargs), **text}


class _View:
    """The widget itself: a box with one HTML widget, whose text we have escaped."""

    def __init__(self, box: Any, table: Any) -> None:
        self._box, self._table = box, table

    @classmethod
    def make(cls, html: str) -> _View | None:
        """None where there is no ipywidgets."""
        try:
            import ipywidgets
        except ImportError:
            return None
        # A Label would read "$1 ... $2" as mathematics.
        table = ipywidgets.HTML(value=html)
        return cls(ipywidgets.VBox([table]), table)

    @property
    def gone(self) -> bool:
        """Whether somebody closed the widget."""
        return self._box.comm is None

    def show(self, html: str) -> None:
        if not self.gone:
            self._table.value = html

    def close(self) -> None:
        self._table.close()
        self._box.close()

    def bundle(self, **kwargs: Any) -> dict[str, Any]:
        return dict(self._box._repr_mimebundle_(**kwargs))


class _Refresher(threading.Thread):
    """Asks until the panel is closed; a daemon, so it never delays the end of a kernel."""

    def __init__(self, panel: SessionPanel, closed: threading.Event) -> None:
        super().__init__(name="gpu-jit-session-panel", daemon=True)
        self._panel = panel
        self._closed = closed
        self._was_quiet = False
        self._usage = _Usage()
        self._usage.watch()

    def run(self) -> None:
        """The thread."""
        try:
            while not self._closed.wait(REFRESH_SECONDS) and not self._panel.closed:
                self._update()
        except Exception:
            # A broken panel says so once, not into somebody's notebook every five seconds.
            log.exception("session panel failed")
        finally:
            self._usage.unwatch()

    def _update(self) -> None:
        quiet = self._usage.seconds_ago() >= QUIET_AFTER_SECONDS
        if not quiet:
            self._panel.refresh()
        elif not self._was_quiet:
            self._panel.rest()
        self._was_quiet = quiet


class _Usage:
    """When a cell last ran in this kernel."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._running = False
        self._shell: Any = None

    def watch(self) -> None:
        """Listen to the shell; to be called from the cell that makes the panel, which counts."""
        self._shell = _shell()
        if self._shell is not None:
            self._running = True
            self._shell.events.register("pre_run_cell", self._begins)
            self._shell.events.register("post_run_cell", self._ends)

    def unwatch(self) -> None:
        """Stop listening."""
        if self._shell is not None:
            self._shell.events.unregister("pre_run_cell", self._begins)
            self._shell.events.unregister("post_run_cell", self._ends)

    def seconds_ago(self) -> float:
        """How long no cell has been running; 0 while one is."""
        return 0.0 if self._running else time.monotonic() - self._last

    def _begins(self, *args: Any) -> None:
        self._running = True

    def _ends(self, *args: Any) -> None:
        self._running, self._last = False, time.monotonic()


def _shell() -> Any:
    """The IPython shell of this process; None in plain Python."""
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return None
    return get_ipython()


def _rows(info: SessionInfo) -> list[tuple[str, str]]:
    """What is shown, in order; what is not known yet is left out."""
    rows = [
        ("Profile", info.profile),
        ("Stage", info.stage),
        ("GPUs", f"{info.gpus} x {info.gpu_model or 'GPU'}" if info.gpus else "none"),
        ("Node", info.node),
        ("Instance", f"{info.instance_type} ({info.capacity_type})" if info.instance_type else ""),
        ("Zone", info.zone),
        ("Price", _price(info)),
        ("Spent so far", _usd(info.spent_usd) if info.node else ""),
        ("Running for", _duration(info.running_seconds) if info.started_at else ""),
    ]
    return [(name, value) for name, value in rows if value]


def _price(info: SessionInfo) -> str:
    if not info.node_usd_per_hour:
        return ""
    own, whole = _usd(info.usd_per_hour), _usd(info.node_usd_per_hour)
    return f"{own} per hour" + ("" if own == whole else f" (your share of {whole})")


def _usd(amount: float) -> str:
    return format_usd(usd_to_micro(amount))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min {rest:02} s"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
