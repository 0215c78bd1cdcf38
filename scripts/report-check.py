#!/usr/bin/env python3
"""Opens report.html of a comparison in a headless browser, on a wide screen and on a phone, and looks at it.

usage: report-check.py CHROMIUM DIR...    each DIR a comparison's folder
"""
import json
import re
import subprocess
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path

NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e-?\d+)?")

# Run in the page: what a person would see, measured after layout.
PROBE = """<script>
addEventListener('load', () => {
  document.querySelectorAll('details').forEach(d => d.open = true);
  const box = e => e.getBoundingClientRect();
  const told = {
    width: innerWidth, overflow: document.documentElement.scrollWidth - innerWidth,
    figures: [...document.querySelectorAll('figure svg')].map(e => [box(e).width, box(e).height,
      e.querySelectorAll('path, circle, use, polygon').length]),
    verdict: document.querySelector('.verdict').innerText, verdictTop: box(document.querySelector('.verdict')).top,
    external: [...document.querySelectorAll('[src], link[href], image, use')].map(e =>
      e.getAttribute('src') || e.getAttribute('href') || e.getAttribute('xlink:href') || '').filter(a => a && a[0] != '#'),
    rows: document.querySelectorAll('tbody tr').length,
  };
  const pre = document.createElement('pre');
  pre.id = 'told';
  pre.textContent = JSON.stringify(told);
  document.body.append(pre);
});
</script>"""


class Text(HTMLParser):
    """What people read in a page, without pictures and styles."""

    def __init__(self):
        super().__init__()
        self.hidden, self.parts, self.told = 0, [], None

    def handle_starttag(self, tag, attrs):
        self.hidden += tag in ("svg", "style", "script")
        if dict(attrs).get("id") == "told":
            self.told = ""

    def handle_endtag(self, tag):
        self.hidden -= tag in ("svg", "style", "script")

    def handle_data(self, data):
        if self.told is not None:
            self.told += data
        elif not self.hidden:
            self.parts.append(data)


def look(chromium, page, width):
    with tempfile.TemporaryDirectory() as profile:
        probed = Path(profile, "page.html")
        probed.write_text(page.replace("</body>", PROBE + "</body>"))
        done = subprocess.run(
            [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={profile}/profile",
             f"--window-size={width},900", "--virtual-time-budget=5000", "--dump-dom", probed.as_uri()],
            capture_output=True, text=True, timeout=120)
    text = Text()
    text.feed(done.stdout)
    if not text.told:
        sys.exit(f"report-check: the browser shows nothing: {done.stderr[-500:]}")
    return json.loads(text.told), text


def main():
    chromium, bad = sys.argv[1], 0
    for folder in sys.argv[2:]:
        page = Path(folder, "report.html").read_text()
        summary_text = Path(folder, "summary.json").read_text()
        summary = json.loads(summary_text)
        for width in (1280, 500):
            told, text = look(chromium, page, width)
            missing = sorted(set(NUMBER.findall(" ".join(text.parts))) - set(NUMBER.findall(summary_text)))
            checks = {
                "the verdict is the summary's, and stands first": told["verdict"] == summary["verdict"] and told["verdictTop"] < 400,
                "three pictures, each with something drawn": len(told["figures"]) == 3
                and all(w > 200 and h > 100 and parts > 5 for w, h, parts in told["figures"]),
                "no wider than the screen": told["overflow"] <= 0,
                "needs no other file": not told["external"],
                "a row for each cell of each quantity": told["rows"] >= sum(len(q["cells"]) for q in summary["quantities"]),
                "every number is in summary.json": not missing,
            }
            for what, holds in checks.items():
                bad += not holds
                print(f"{folder}, {told['width']} px: {what}: {'ok' if holds else 'NOT SO'}")
            if missing:
                print(f"  not in summary.json: {missing[:10]}")
            if not all(checks.values()):
                print(f"  {json.dumps(told)[:800]}")
    sys.exit(bad > 0)


main()
