"""The page's files and the headers that they come with; no browser needed."""

import re
from pathlib import Path

import pytest

from cl_llama.server import page
from tests.server.conftest import paged_llama

STATIC = Path(page.__file__).with_name("static")


@pytest.fixture
def client(serve):
    with serve(paged_llama()).client() as client:
        yield client


def addresses(client) -> list[str]:
    """What index.html loads."""
    return re.findall(r'(?:src|href)="(page/[^"]+)"', client.get("/").text)


def test_everything_that_the_page_names_is_there(client):
    loaded = addresses(client)
    assert len(loaded) > 5
    modules = {path.rpartition("/")[2] for path in loaded if path.endswith(".js")}
    met = set()
    while modules - met:
        name = (modules - met).pop()
        met.add(name)
        source = client.get(f"{loaded[0].rpartition('/')[0]}/{name}")
        assert source.status_code == 200, name
        assert source.headers["content-type"] == "text/javascript; charset=utf-8"
        modules |= set(re.findall(r'from "\./([^"]+)"', source.text))
    styles = {path.rpartition("/")[2] for path in loaded if not path.endswith(".js")}
    assert met | styles | {"index.html"} == {file.name for file in STATIC.iterdir()}


def test_nothing_runs_that_is_not_a_file_of_the_page(client):
    for path in ("/", f"/{addresses(client)[0]}", "/page/0000/main.js"):
        headers = client.get(path).headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["img-src"] == "'self' data:"
        assert policy["frame-ancestors"] == policy["trusted-types"] == "'none'"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
    index = client.get("/").text
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=", index)


def test_no_module_writes_html_or_runs_text():
    ways = r"innerHTML|outerHTML\s*=|insertAdjacentHTML|document\.write|\beval\(|new Function"
    for file in STATIC.glob("*.js"):
        assert not re.search(ways, file.read_text(encoding="utf-8")), file.name


def test_a_browser_asks_for_the_page_anew_and_for_its_files_once(client):
    index = client.get("/")
    assert index.headers["cache-control"] == "no-cache"
    again = client.get("/", headers={"If-None-Match": f'"other", W/{index.headers["etag"]}'})
    assert again.status_code == 304 and not again.content
    assert client.get("/", headers={"If-None-Match": '"other"'}).content == index.content
    for path in addresses(client):
        asset = client.get(f"/{path}")
        assert asset.content == (STATIC / path.rpartition("/")[2]).read_bytes()
        assert "immutable" in asset.headers["cache-control"]
        known = {"If-None-Match": asset.headers["etag"]}
        assert client.get(f"/{path}", headers=known).status_code == 304


def test_files_of_another_release_or_place_are_not_there(client):
    name = addresses(client)[0].rpartition("/")[2]
    for path in (f"/page/0123456789abcdef/{name}", "/page/..%2F..%2Fapp.py", "/page/x/y/z"):
        assert client.get(path).status_code == 404
    version = addresses(client)[0].split("/")[1]
    assert client.get(f"/page/{version}/..%2Ffiles.py").status_code == 404
    assert client.get(f"/page/{version}/files.py").status_code == 404


def test_a_head_request_tells_the_same(client):
    head, got = client.head("/"), client.get("/")
    assert head.status_code == 200 and not head.content
    assert head.headers["content-length"] == str(len(got.content))
