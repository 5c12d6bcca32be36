"""What the tests read of a page."""

from html.parser import HTMLParser

VOID = {"meta", "br", "img"}


class Page(HTMLParser):
    """Elements, attributes and text of a page whose tags must match."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.attributes, self.texts, self.drawn = [], [], [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *attribute) for attribute in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        (self.drawn if "svg" in self.open else self.texts).append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def values(self, tag, name):
        return [value for where, key, value in self.attributes if (where, key) == (tag, name)]
