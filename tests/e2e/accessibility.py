"""axe-core in a page: what keeps people with a screen reader, a keyboard or weak eyes out.

Called by test_pages.py. The rules come from npm by the lock file beside this, once, into the cache.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from jupyter_gpu_jit.local import cache, proxy

HERE = Path(__file__).parent / "axe"
BAD = ("serious", "critical")
RUN = """async () => {
    const found = await axe.run(document, {resultTypes: ["violations"]});
    return found.violations.map(one => ({rule: one.id, impact: one.impact,
        where: one.nodes.map(node => node.target.join(" ") + ": " + node.failureSummary)}));
}"""


def script() -> str:
    """axe-core's source; blocks while it is fetched the first time."""

    def make(out: Path, scratch: Path) -> None:
        proxy.install_packages(HERE, out, scratch)

    lock = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()[:12]
    folder = cache.entry(f"axe-core-{lock}", make, report=print)
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text()


def barriers(page: Page) -> list[dict[str, Any]]:
    """Serious and critical findings on the page as it is now."""
    if not page.evaluate("'axe' in window"):
        # Evaluated, not added as an element: a page's own policy may forbid that.
        page.evaluate(script())
    return [found for found in page.evaluate(RUN) if found["impact"] in BAD]


def wider_than_window(page: Page) -> int:
    """By how many pixels the page must be scrolled sideways."""
    return int(
        page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    )
