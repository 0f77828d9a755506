"""An HTML page taken apart, for the tests of pages."""

from html.parser import HTMLParser

VOID = {"meta", "link", "img", "input", "source", "br", "hr"}
ADDRESSES = {"src", "href", "srcset", "action", "data", "poster", "xlink:href", "formaction", "background"}


class Page(HTMLParser):
    """Tags, attributes and text of a page; refuses tags that do not close where they should."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[tuple[str | None, str]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append((dict(attrs).get("data-value"), ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif self.open and self.open[-1] != "style":
            self.words.append(data)
            if self.open[-1] == "td":
                self.rows[-1][-1] = (self.rows[-1][-1][0], data)

    @property
    def text(self) -> str:
        """What a reader sees, white space made single."""
        return " ".join(" ".join(self.words).split())
