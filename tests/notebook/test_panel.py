"""The panel and its client against servers that misbehave."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from jupyter_gpu_jit.errors import GpuJitError, NotFound, Unavailable, UserError
from jupyter_gpu_jit.notebook import SessionInfo, SessionPanel, widgets
from jupyter_gpu_jit.notebook.client import Connection, fetch

INFO = SessionInfo(
    user="ann",
    profile="l4",
    stage="Ready",
    gpus=1,
    gpu_model="L4",
    node="n1",
    instance_type="g6.xlarge",
    zone="us-east-1a",
    capacity_type="spot",
    usd_per_hour=0.32,
    node_usd_per_hour=0.32,
    started_at="2027-01-15T07:00:00Z",
    running_seconds=125.4,
    spent_usd=0.011,
)


@contextmanager
def server(status=200, body=b"", **headers):
    """Answers everything alike; gives its URL and the list of requests it got."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers["Authorization"]))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}/api/v1/", asked
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def connection(url, server=""):
    return Connection(api_url=url, token="s3cret", server=server)


def test_it_asks_for_its_own_server_with_the_token_in_the_header_only():
    with server(body=json.dumps(asdict(INFO)).encode()) as (url, asked):
        assert fetch(connection(url, server="a b&c")) == INFO
    assert asked == [("/api/v1/session?server=a+b%26c", "token s3cret")]


def test_a_redirect_is_never_followed():
    with (
        server() as (elsewhere, stolen),
        server(302, Location=elsewhere) as (url, _),
        pytest.raises(Unavailable),
    ):
        fetch(connection(url))
    assert stolen == []


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, UserError), (403, UserError), (404, NotFound), (500, Unavailable), (503, Unavailable)],
)
def test_each_failure_has_a_sentence(status, error):
    with server(status) as (url, _), pytest.raises(error) as caught:
        fetch(connection(url))
    assert caught.value.user_message.endswith(".")
    assert "s3cret" not in repr(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b"[" * 70_000,
        json.dumps(asdict(INFO) | {"gpus": []}).encode(),
        json.dumps(asdict(INFO) | {"gpus": "x"}).encode(),
    ],
    ids=lambda b: str(b)[:12],
)
def test_an_answer_nobody_can_read_is_trouble_that_may_pass(body):
    with server(body=body) as (url, _), pytest.raises(Unavailable):
        fetch(connection(url))


def test_a_server_that_is_not_there_is_trouble_that_may_pass():
    with pytest.raises(Unavailable):
        fetch(connection("http://127.0.0.1:9/"))


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"GPU_JIT_API_URL": "http://x/"},
        {"JUPYTERHUB_API_TOKEN": "t"},
        {"GPU_JIT_API_URL": "file:///etc/passwd", "JUPYTERHUB_API_TOKEN": "t"},
    ],
    ids=str,
)
def test_without_a_session_s_environment_there_is_one_sentence(environment):
    with pytest.raises(UserError) as caught:
        Connection.from_environment(environment)
    assert caught.value.user_message.count(".") == 1 or "jupyter_gpu_jit" in str(caught.value)


def test_the_token_is_in_no_repr():
    assert "s3cret" not in repr(connection("http://x/"))


@pytest.fixture
def panel():
    made = []

    def make(*answers):
        left = list(answers)

        def ask():
            answer = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(answer, Exception):
                raise answer
            return answer

        made.append(SessionPanel(ask))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_it_shows_what_the_service_said(panel):
    shown = repr(panel(INFO))
    for part in ("l4", "1 x L4", "n1", "g6.xlarge (spot)", "$0.32 per hour", "$0.01", "2 min 05 s"):
        assert part in shown
    assert "share" not in shown


def test_a_failure_is_a_note_and_the_last_figures_stay_until_it_works_again(panel):
    seen = panel(INFO, Unavailable("The service cannot be reached; trying again."), INFO)
    seen.refresh()
    assert "cannot be reached" in repr(seen)
    assert seen.info == INFO
    seen.refresh()
    assert "cannot be reached" not in repr(seen)


def test_before_any_answer_it_still_shows_something(panel):
    seen = panel(NotFound("The service does not know this session (yet); trying again."))
    assert seen.info is None
    assert "trying again" in repr(seen)


def test_no_text_of_others_is_html(panel):
    evil = SessionInfo(profile="<img src=x onerror=alert(1)>", node='"><script>', user="<b>")
    html = panel(evil)._html()
    assert "<img" not in html
    assert "<script" not in html
    assert "&lt;img" in html


def test_what_is_not_known_yet_is_left_out(panel):
    shown = repr(panel(SessionInfo(profile="l4", stage="Booting", gpus=2)))
    assert "2 x GPU" in shown
    assert "Zone" not in shown
    assert "$" not in shown


def test_the_thread_ends_with_the_panel_and_survives_trouble(panel, monkeypatch):
    monkeypatch.setattr(widgets, "REFRESH_SECONDS", 0.01)
    seen, asked = panel(GpuJitError("Away.")), threading.Event()

    def ask():
        asked.set()
        return INFO

    seen._ask = ask
    assert asked.wait(10)
    (thread,) = [t for t in threading.enumerate() if t.name == "gpu-jit-session-panel"]
    seen.close()
    thread.join(10)
    assert not thread.is_alive()
    assert seen.closed


def test_closing_the_widget_closes_the_panel(panel):
    seen = panel(INFO)
    assert not seen.closed
    seen._view.close()
    assert seen.closed
    seen.refresh()


def test_it_falls_silent_when_nothing_is_run_and_goes_on_when_something_is(panel, monkeypatch):
    seen, asked, quiet = panel(INFO), [], [0.0]
    seen._ask = lambda: asked.append(1) or INFO
    refresher = widgets._Refresher(seen, threading.Event())
    monkeypatch.setattr(refresher._usage, "seconds_ago", lambda: quiet[0])
    refresher._update()
    assert len(asked) == 1
    quiet[0] = widgets.QUIET_AFTER_SECONDS
    sent = []
    monkeypatch.setattr(seen, "_show", lambda: sent.append(repr(seen)))
    for _ in range(3):
        refresher._update()
    assert len(asked) == len(sent) == 1
    assert "run any cell to go on" in sent[0]
    quiet[0] = 0.0
    refresher._update()
    assert len(asked) == 2
    assert "run any cell" not in repr(seen)


def test_a_running_cell_counts_as_use_however_long_it_runs():
    usage = widgets._Usage()
    usage._last -= 1000
    assert usage.seconds_ago() >= 1000
    usage._begins()
    assert usage.seconds_ago() == 0
    usage._ends()
    assert usage.seconds_ago() < 10


# --- session() itself -------------------------------------------------------------------------


@pytest.fixture
def in_a_server(monkeypatch):
    """The environment of a notebook server whose service answers, and no panel from before."""
    monkeypatch.setattr(widgets, "_shared", [])
    with server(200, json.dumps(asdict(INFO)).encode()) as (url, asked):
        monkeypatch.setenv("GPU_JIT_API_URL", url)
        monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "own")
        yield asked
    for panel in widgets._shared:
        panel.close()


def test_a_kernel_has_one_panel_however_often_it_is_asked_for(in_a_server):
    panel = widgets.session()
    assert panel.info.node == "n1"
    assert widgets.session() is panel
    assert len(in_a_server) == 2, "shown again, it has asked again"
    panel.close()
    assert widgets.session() is not panel


def test_outside_of_a_session_there_is_a_note_and_nothing_is_asked(monkeypatch):
    monkeypatch.setattr(widgets, "_shared", [])
    monkeypatch.delenv("GPU_JIT_API_URL", raising=False)
    panel = widgets.session()
    panel.refresh()
    panel.close()
    assert panel.info is None
    assert "Note" in repr(panel)
    assert set(panel._repr_mimebundle_()) == {"text/plain"}


def test_without_widgets_the_panel_is_text(panel, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    shown = panel(INFO)._repr_mimebundle_()
    assert set(shown) == {"text/plain"}
    assert "g6.xlarge" in shown["text/plain"]


def test_where_there_are_widgets_it_is_one_and_text_besides(panel):
    assert {"text/plain", "application/vnd.jupyter.widget-view+json"} <= set(
        panel(INFO)._repr_mimebundle_()
    )


def test_an_address_that_is_not_http_is_refused():
    environment = {"GPU_JIT_API_URL": "file:///etc/passwd", "JUPYTERHUB_API_TOKEN": "own"}
    with pytest.raises(UserError, match="not an http address"):
        Connection.from_environment(environment)


def test_long_and_short_times_are_readable():
    assert widgets._duration(3725) == "1 h 02 min 05 s"
    assert widgets._duration(59) == "59 s"
