"""A headless Chromium, driven by the W3C WebDriver protocol over plain HTTP: no library for a handful of commands."""

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OFFLINE = ("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync")

DEEP_TEXT = """
function text(node) {
  if (node.nodeType === Node.TEXT_NODE) return node.textContent + ' ';
  if (['SCRIPT', 'STYLE'].includes(node.tagName)) return '';
  let found = '';
  if (node.tagName === 'IFRAME') found += text(node.contentDocument.body);
  if (node.shadowRoot) found += text(node.shadowRoot);
  for (const child of node.childNodes) found += text(child);
  return found;
}
return text(document.body);
"""

LOADED_IMAGES = """
function images(node) {
  let found = node.tagName === 'IMG' && node.naturalWidth > 0 ? [node.src] : [];
  if (node.tagName === 'IFRAME') found = found.concat(images(node.contentDocument.body));
  if (node.shadowRoot) found = found.concat(images(node.shadowRoot));
  for (const child of node.children || []) found = found.concat(images(child));
  return found;
}
return images(document.body);
"""


def missing():
    """The missing requirement of a test with a browser, or None."""
    if not any(map(shutil.which, BROWSERS)):
        return f"none of {', '.join(BROWSERS)} is installed"
    return None if shutil.which("chromedriver") else "chromedriver is not installed"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def ask(url, content=None, method=None):
    """The JSON that a server answers."""
    data = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def until(condition, seconds=60):
    """What condition returns as soon as it is true; servers and pages take their time."""
    end = time.monotonic() + seconds
    while True:
        try:
            if found := condition():
                return found
        except (urllib.error.URLError, ConnectionError):
            pass
        assert time.monotonic() < end, f"not true after {seconds} s"
        time.sleep(0.2)


@contextmanager
def running(command, ready):
    """A server from its first answer until the end of the block."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until(ready)
            yield
        finally:
            process.terminate()


class Browser:
    """One window.

    Args:
        session: URL of its session at the driver.
    """

    def __init__(self, session):
        self.session = session

    def open(self, url):
        """A new page, even where only what follows the # differs."""
        ask(f"{self.session}/url", {"url": "about:blank"})
        ask(f"{self.session}/url", {"url": url})

    def run(self, script):
        """What a script returns."""
        return ask(f"{self.session}/execute/sync", {"script": script, "args": []})["value"]

    def screenshot(self):
        """The window as a PNG file in base64."""
        return ask(f"{self.session}/screenshot")["value"]


@contextmanager
def browser(width=1400, height=900):
    """A headless Chromium."""
    driver = f"http://127.0.0.1:{(port := free_port())}"
    with running(["chromedriver", f"--port={port}"], lambda: ask(f"{driver}/status")["value"]["ready"]):
        options = {
            "binary": next(filter(None, map(shutil.which, BROWSERS))),
            "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader", *OFFLINE],
        }
        options["args"].append(f"--window-size={width},{height}")
        answer = ask(f"{driver}/session", {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}})
        session = f"{driver}/session/{answer['value']['sessionId']}"
        try:
            yield Browser(session)
        finally:
            ask(session, method="DELETE")
