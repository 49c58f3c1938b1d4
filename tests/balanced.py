"""An HTML parser that fails where tags do not match."""

from html.parser import HTMLParser

VOID = {"meta", "img", "br"}


class Balanced(HTMLParser):
    """Fails where a tag is closed that is not open; collects text and attributes."""

    def __init__(self, content):
        super().__init__()
        self.open, self.text, self.links, self.tags = [], [], [], []
        self.feed(content)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
