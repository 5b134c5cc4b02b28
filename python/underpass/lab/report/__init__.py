"""A failure, told three ways: text for a terminal, a page to step through, JSON for programs.

From the outside in: `text`, `page` and `saved` are the three; `chart` draws the columns of the text; `excerpt` decides what a long
trace shows, `repetition` finds where it goes in a circle, `timeline` what follows from its moments, `marks` how each is called;
`cells` measures text.
"""

from underpass.lab.report.page import as_html
from underpass.lab.report.saved import as_json, from_json
from underpass.lab.report.text import as_text, render

__all__ = ["as_html", "as_json", "as_text", "from_json", "render"]
