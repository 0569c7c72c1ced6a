"""Pages that are written, read back."""

import re
from html.parser import HTMLParser


class Page(HTMLParser):
    """Elements of a page with their attributes, and its text."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.words = [], []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    def all(self, *tags):
        return [attributes for tag, attributes in self.elements if tag in tags]


def check_page(path):
    """A page stands for itself and can be used without seeing it."""
    page = Page(path)
    assert path.stat().st_size < 3_000_000
    loaded = [element.get(name) for _, element in page.elements for name in ("src", "href", "data", "srcset")]
    assert all(link.startswith(("data:", "#")) for link in loaded if link)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|import\(", path.read_text())
    assert page.all("img") and all(len(image["alt"]) > 20 for image in page.all("img"))
    assert page.all("html") == [{"lang": "en"}] and len(page.all("h1")) == 1 and page.all("main")
    names = [element["id"] for _, element in page.elements if "id" in element]
    assert len(names) == len(set(names))
    assert all(link["href"].removeprefix("#") in names for link in page.all("a"))
    return page
