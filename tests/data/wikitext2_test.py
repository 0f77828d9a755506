"""Tests of the WikiText-2 builder on a small stand-in, over a local server, and on the published files."""

import http.server
import io
import threading
import zipfile
from pathlib import Path

import pytest

from aila_jax.config import DataConfig
from aila_jax.data import wikitext2 as module
from aila_jax.data.corpora import load_corpus
from aila_jax.data.wikitext2 import SplitFile, split_articles

TEXT = (
    " \n = First = \n \n Some words . \n = not an article = \n \n = = Section = = \n \n More . \n \n = Second"
    " @-@ one = \n \n"
)
CONTENTS = {
    "train": TEXT,
    "validation": TEXT.replace("Some", "Valid"),
    "test": TEXT.replace("Some", "Test é"),
}


@pytest.fixture
def small(monkeypatch) -> dict[str, bytes]:
    """Three small files in the place of the published ones: their names and bytes."""
    files, contents = {}, {}
    for split, text in CONTENTS.items():
        name = module.FILES[split].name
        files[split] = SplitFile(name, len(text.encode()), len(text.split()) + text.count("\n"))
        contents[name] = text.encode()
    monkeypatch.setattr(module, "FILES", files)
    return contents


@pytest.fixture
def config(small, tmp_path: Path) -> DataConfig:
    (tmp_path / "data").mkdir()
    for name, data in small.items():
        (tmp_path / "data" / name).write_bytes(data)
    return DataConfig(corpus="wikitext2", data_dir=str(tmp_path / "data"), cache_dir=str(tmp_path / "cache"))


def archive(contents: dict[str, bytes], folder: str = "wikitext-2/") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in contents.items():
            file.writestr(folder + name, data)
    return buffer.getvalue()


@pytest.fixture
def server():
    """A local web server; `server.body` is what it answers, status 404 where that is None."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = self.server.body
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.body = None
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_articles_begin_at_a_heading_after_a_blank_line():
    articles = split_articles(TEXT)
    assert [article.title for article in articles] == ["First", "Second @-@ one"]
    assert articles[0].pieces[:3] == (" ", " = First = ", " ")
    assert articles[0].pieces[-2:] == (" More . ", " ")
    assert "".join(article.text for article in articles) == TEXT


def test_a_heading_may_open_the_file():
    articles = split_articles(" = First = \n text \n \n = Second = \n")
    assert [(article.title, article.pieces) for article in articles] == [
        ("First", (" = First = ", " text ", " ")),
        ("Second", (" = Second = ",)),
    ]


@pytest.mark.parametrize(
    "line", [" = = Deeper = = ", " = = Left = ", " = Right = = ", "= Flush =", " = No end", " Plain "]
)
def test_other_lines_begin_no_article(line):
    assert len(split_articles(f" = First = \n text \n \n{line}\n \n")) == 1


def test_two_headings_in_a_row_are_two_articles():
    assert [article.title for article in split_articles(" \n = One = \n \n = Two = \n x \n")] == [
        "One",
        "Two",
    ]


def test_local_files_are_read_and_left_alone(config, small):
    corpus = load_corpus(config)
    for split, documents in corpus.splits.items():
        assert "".join(document.text for document in documents) == CONTENTS[split]
    assert {path.name: path.read_bytes() for path in Path(config.data_dir).iterdir()} == small


def test_changed_local_files_are_read_again(config, monkeypatch):
    load_corpus(config)
    path = Path(config.data_dir, "wiki.test.tokens")
    path.write_bytes(path.read_bytes().replace(b"Test", b"Rest"))
    assert "Rest" in "".join(document.text for document in load_corpus(config).splits["test"])


def test_a_missing_file_is_refused_with_the_way_to_get_it(config):
    Path(config.data_dir, "wiki.valid.tokens").unlink()
    with pytest.raises(
        ValueError,
        match=(
            r"data\.data_dir is .*but has no wiki\.valid\.tokens\. Fix: download wikitext-2-v1\.zip .* set"
            r" --config\.data\.data_dir"
        ),
    ):
        load_corpus(config)


def test_another_size_is_refused(config):
    path = Path(config.data_dir, "wiki.test.tokens")
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(
        ValueError, match=rf"wiki\.test\.tokens has {size + 1} bytes; the published file has {size}\. Fix"
    ):
        load_corpus(config)


def test_another_token_count_of_the_right_size_is_refused(config):
    path = Path(config.data_dir, "wiki.train.tokens")
    path.write_bytes(path.read_bytes().replace(b"Some words", b"Some_words"))
    with pytest.raises(
        ValueError, match=r"wiki\.train\.tokens has 34 words and line ends; the published file has 35\. Fix"
    ):
        load_corpus(config)


def test_bytes_that_are_not_utf8_are_refused(config):
    path = Path(config.data_dir, "wiki.train.tokens")
    path.write_bytes(path.read_bytes().replace(b"Some", b"So\xffe"))
    with pytest.raises(ValueError, match=r"wiki\.train\.tokens is not UTF-8 at byte 19"):
        load_corpus(config)


@pytest.mark.parametrize("folder", ["wikitext-2/", "", "a/b/"])
def test_the_archive_is_downloaded_once(small, server, tmp_path, folder):
    server.body = archive(small, folder)
    settings = DataConfig(
        corpus="wikitext2", url=f"http://127.0.0.1:{server.server_port}/w.zip", cache_dir=str(tmp_path)
    )
    corpus = load_corpus(settings)
    assert "".join(document.text for document in corpus.splits["test"]) == CONTENTS["test"]
    server.body = None
    assert load_corpus(settings) == corpus


def test_bad_answers_are_refused_and_not_kept(small, server, tmp_path):
    settings = DataConfig(
        corpus="wikitext2", url=f"http://127.0.0.1:{server.server_port}/w.zip", cache_dir=str(tmp_path)
    )
    good = archive(small)
    damaged = bytearray(good)
    damaged[80] ^= 0xFF  # inside the compressed text of the first file
    bad = {
        r"cannot be downloaded \(HTTP Error 404": None,
        "is no zip archive": b"<html>please log in</html>",
        "(is no zip archive|bytes; the published)": bytes(damaged),
        r"has no wiki\.test\.tokens": archive(
            {name: data for name, data in small.items() if "test" not in name}
        ),
        r"wiki\.valid\.tokens has \d+ bytes; the published file": archive(
            {**small, "wiki.valid.tokens": b"short"}
        ),
    }
    for message, body in bad.items():
        server.body = body
        with pytest.raises(ValueError, match=rf"(?s){message}.*Fix: download wikitext-2-v1\.zip"):
            load_corpus(settings)
    server.body = good
    assert load_corpus(settings).splits["train"][0].title == "First"


@pytest.mark.parametrize("url", ["ftp://x/w.zip", "/tmp/w.zip", "w.zip"])
def test_addresses_that_are_not_http_are_refused(tmp_path, url):
    with pytest.raises(ValueError, match=r"data\.url is .*; it must begin with http:// or https://\. Fix"):
        load_corpus(DataConfig(corpus="wikitext2", url=url, cache_dir=str(tmp_path)))


def test_without_a_network_the_message_says_what_to_do(tmp_path):
    with pytest.raises(
        ValueError,
        match=(
            r"cannot be downloaded .*Fix: download wikitext-2-v1\.zip .*set --config\.data\.data_dir to the"
            r" folder"
        ),
    ):
        load_corpus(
            DataConfig(corpus="wikitext2", url="http://127.0.0.1:9/w.zip", cache_dir=str(tmp_path))
        )  # nothing listens on port 9


def test_the_published_files_have_their_articles(wikitext2, shared_cache):
    corpus = load_corpus(DataConfig(corpus="wikitext2", data_dir=str(wikitext2), cache_dir=shared_cache))
    assert {split: len(documents) for split, documents in corpus.splits.items()} == {
        "train": 601,
        "validation": 60,
        "test": 60,
    }
    for split, documents in corpus.splits.items():
        assert (
            "".join(document.text for document in documents).encode()
            == Path(wikitext2, module.FILES[split].name).read_bytes()
        )
