"""A download is the whole file or an error of one line."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from pixelvae.download import DownloadError, fetch

CONTENT = b"0123456789" * 10


@contextmanager
def answering(stated, sent=CONTENT):
    """The address of a server that states a Content-Length, or none, and sends these bytes."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            if stated is not None:
                self.send_header("Content-Length", stated)
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/file"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("stated", ["100", None])
def test_a_whole_file_is_its_bytes(stated):
    with answering(stated) as url:
        assert fetch(url, limit=100) == CONTENT


@pytest.mark.parametrize(("sent", "arrived"), [(CONTENT[:40], "40"), (b"", "0")])
def test_fewer_bytes_than_the_server_states_are_an_error(sent, arrived):
    with answering("100", sent) as url, pytest.raises(DownloadError, match=f"^{url} is cut: {arrived} of 100 bytes"):
        fetch(url, limit=1000)


@pytest.mark.parametrize("stated", ["100", None])
def test_more_bytes_than_the_limit_are_an_error(stated):
    with answering(stated) as url, pytest.raises(DownloadError, match=f"^{url} has more than 99 bytes"):
        fetch(url, limit=99)
