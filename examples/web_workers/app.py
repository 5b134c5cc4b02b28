"""A counter and a lock that all workers of a web server share: gunicorn --workers 3 --chdir examples/web_workers app."""

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import underpass

# Found by name: workers that were forked from here, started later, or started by another server all have the same.
visits = underpass.AtomicInt.open_or_create("web/visits")
pages_lock = underpass.Mutex.open_or_create("web/pages")

PAGES = Path(os.environ.get("PAGES", "pages.json"))  # what the lock protects: visits by page
SCRATCH = PAGES.with_suffix(".new")


def count(page: str) -> int:
    """Add a visit to the file: read, change, write, as one step for all workers."""
    with pages_lock.recovering(timeout=10) as died:  # TimedOut names the worker that has it
        if died:  # a worker was killed in here: the file is whole, what it had begun to write is not
            SCRATCH.unlink(missing_ok=True)
        pages: dict[str, int] = json.loads(PAGES.read_text()) if PAGES.exists() else {}
        pages[page] = pages.get(page, 0) + 1
        SCRATCH.write_text(json.dumps(pages))
        SCRATCH.replace(PAGES)
        return pages[page]


def application(environ: dict[str, str], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Answer with the number of the visit, and that of the visit to this page."""
    number = visits.add(1) + 1  # one instruction of the processor, no lock
    try:
        status, text = "200 OK", f"visit {number}, of this page {count(environ['PATH_INFO'])}\n"
    except underpass.TimedOut as busy:
        status, text = "503 Service Unavailable", f"{busy}\n"
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text.encode())))])
    return [text.encode()]
