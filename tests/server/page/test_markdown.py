"""The page's Markdown, drawn in a browser: a table of texts and what becomes of them."""

import pytest

DRAW = """async ([address, text]) => {
  const { MarkdownView } = await import(address);
  const whole = document.createElement("div");
  new MarkdownView(whole).show(text);
  // As it arrives: the end is the same, whatever the steps were.
  const grown = document.createElement("div");
  const view = new MarkdownView(grown);
  const symbols = [...text];
  for (let end = 1; end <= symbols.length; end += 1) {
    view.show(symbols.slice(0, end).join(""), true);
  }
  view.show(text);
  for (const element of [whole, grown]) {
    for (const code of element.querySelectorAll("figure")) {
      const language = code.querySelector(".language").textContent;
      const pre = document.createElement("pre");
      pre.textContent = `${language}: ${code.querySelector("code").textContent}`;
      code.replaceWith(pre);
    }
    for (const box of element.querySelectorAll("div.table")) box.replaceWith(...box.childNodes);
    for (const link of element.querySelectorAll("a")) {
      for (const name of ["target", "rel", "title"]) link.removeAttribute(name);
    }
    for (const one of element.querySelectorAll("*")) {
      for (const name of ["scope", "aria-label"]) one.removeAttribute(name);
      if (["link", ""].includes(one.className) || /^level/.test(one.className)) {
        one.removeAttribute("class");
      }
    }
  }
  return [whole.innerHTML, grown.innerHTML];
}"""

CASES = {
    "paragraphs": ("one\ntwo\n\nthree", "<p>one\ntwo</p><p>three</p>"),
    "hard breaks": ("one  \ntwo\\\nthree", "<p>one<br>two<br>three</p>"),
    "headings": (
        "# A\n## B ##\n#no\n\nC\n---\n",
        "<h3>A</h3><h4>B</h4><p>#no</p><h4>C</h4>",
    ),
    "emphasis": (
        "*a* _b_ **c** __d__ ***e*** ~~f~~ **g *h* i**",
        "<p><em>a</em> <em>b</em> <strong>c</strong> <strong>d</strong> "
        "<em><strong>e</strong></em> <del>f</del> <strong>g <em>h</em> i</strong></p>",
    ),
    "no emphasis": (
        r"2 * 3 * 4, snake_case_name, \*a\*, ** b **, a ~ b, **open",
        "<p>2 * 3 * 4, snake_case_name, *a*, ** b **, a ~ b, **open</p>",
    ),
    "code": (
        "`a*b*` ``c`d`` `<b>`",
        "<p><code>a*b*</code> <code>c`d</code> <code>&lt;b&gt;</code></p>",
    ),
    "html is text": (
        "<b>x</b> &amp; <script>y</script>\n\n<!-- z -->",
        "<p>&lt;b&gt;x&lt;/b&gt; &amp;amp; &lt;script&gt;y&lt;/script&gt;</p>"
        "<p>&lt;!-- z --&gt;</p>",
    ),
    "links": (
        "[a *b*](https://example.org/x_(y) 'title') <mailto:a@example.org> https://example.org/z.",
        '<p><a href="https://example.org/x_(y)">a <em>b</em></a> '
        '<a href="mailto:a@example.org">mailto:a@example.org</a> '
        '<a href="https://example.org/z">https://example.org/z</a>.</p>',
    ),
    "links that lead nowhere": (
        "[a](javascript:alert(1)) [b](data:text/html,x) [c](relative) [d](vbscript:x) "
        "[e](JaVaScRiPt:x) [f]( java\tscript:x) [not a link]",
        "<p><span>a</span> <span>b</span> <span>c</span> <span>d</span> <span>e</span> "
        "[f]( java\tscript:x) [not a link]</p>",
    ),
    "pictures are links": (
        "![cat](https://example.org/cat.png)",
        '<p><a href="https://example.org/cat.png">cat</a></p>',
    ),
    "lists": (
        "- a\n- b\n  - c\n    1. d\n\ntext",
        "<ul><li>a</li><li>b<ul><li>c<ol><li>d</li></ol></li></ul></li></ul><p>text</p>",
    ),
    "loose list": (
        "3. a\n\n   more\n\n4. b",
        '<ol start="3"><li><p>a</p><p>more</p></li><li><p>b</p></li></ol>',
    ),
    "tasks": (
        "- [x] done\n- [ ] open",
        '<ul><li class="task"><input type="checkbox" disabled="">done</li>'
        '<li class="task"><input type="checkbox" disabled="">open</li></ul>',
    ),
    "a number within a sentence": ("it was in\n1984. Then", "<p>it was in\n1984. Then</p>"),
    "fences": (
        "```python\nx = 1\n\n# no heading\n```\nafter\n~~~\n```\n~~~\n",
        "<pre>python: x = 1\n\n# no heading</pre><p>after</p><pre>text: ```</pre>",
    ),
    "an open fence": ("```js\nlet x = '<b>';\n", "<pre>js: let x = '&lt;b&gt;';\n</pre>"),
    "code in a list": (
        "1. a\n   ```sh\n   ls\n     -l\n   ```\n2. b",
        "<ol><li>a<pre>sh: ls\n  -l</pre></li><li>b</li></ol>",
    ),
    "indented code": ("    x\n\n    y\n\nz", "<pre>text: x\n\ny</pre><p>z</p>"),
    "quotes": (
        "> a\n> - b\nlazy\n\nc",
        "<blockquote><p>a</p><ul><li>b\nlazy</li></ul></blockquote><p>c</p>",
    ),
    "rules": ("a\n\n---\n***\nb", "<p>a</p><hr><hr><p>b</p>"),
    "tables": (
        "| a | b |\n|:-:|--:|\n| *x* | `y|z` |\n| p \\| q |\n\nafter",
        '<table><thead><tr><th class="align-center">a</th>'
        '<th class="align-right">b</th></tr></thead><tbody>'
        '<tr><td class="align-center"><em>x</em></td><td class="align-right">'
        '<code>y|z</code></td></tr><tr><td class="align-center">p | q</td>'
        '<td class="align-right"></td></tr></tbody></table><p>after</p>',
    ),
    "no table": ("a | b\n\n|---|", "<p>a | b</p><p>|---|</p>"),
    "nothing": (" \n\n ", ""),
    "deep nesting": ("> " * 40 + "x", "<blockquote>" * 40 + "<p>x</p>" + "</blockquote>" * 40),
    "too deep": (
        "> " * 41 + "x",
        "<blockquote>" * 40 + "<p>&gt; x</p>" + "</blockquote>" * 40,
    ),
    "a gap between an inner list's items": (
        "- a\n  - b\n\n  - c\n- d",
        "<ul><li>a<ul><li><p>b</p></li><li><p>c</p></li></ul></li><li>d</li></ul>",
    ),
}

UNFINISHED = {
    "**bold": "<p><strong>bold</strong></p>",
    "a **": "<p>a </p>",
    "`co": "<p><code>co</code></p>",
    "[text](https://exam": "<p><span>text</span></p>",
    "- **a": "<ul><li><strong>a</strong></li></ul>",
    "```py\nx": "<pre>py: x</pre>",
}


@pytest.fixture(scope="module")
def draw(browser, _chat):
    """What the page makes of a text, at once and byte by byte."""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(_chat.url)
        main = page.locator("script[type=module]").get_attribute("src")
        address = f"{_chat.url}{main.replace('main.js', 'markdown_view.js')}"
        yield lambda text, script=DRAW: page.evaluate(script, [address, text])


@pytest.mark.parametrize("name", CASES)
def test_texts(draw, name):
    text, expected = CASES[name]
    whole, grown = draw(text)
    assert whole == expected
    assert grown == whole


@pytest.mark.parametrize("text", UNFINISHED)
def test_what_has_begun_looks_as_it_will(draw, text):
    open_only = DRAW.replace(".show(text);", ".show(text, true);")
    assert draw(text, open_only) == [UNFINISHED[text]] * 2


def test_only_the_end_is_drawn_again(draw):
    kept, changed = draw(
        "first\n\n- a\n- b\n\n```py\nx = 1\n```\n\nlast",
        """async ([address, text]) => {
          const { MarkdownView } = await import(address);
          const element = document.createElement("div");
          const view = new MarkdownView(element);
          view.show(text, true);
          const before = [...element.children];
          const observer = new MutationObserver(() => {});
          observer.observe(element, { childList: true, subtree: true, characterData: true });
          view.show(`${text} word`, true);
          const touched = observer.takeRecords().flatMap((one) => [...one.removedNodes]);
          return [before.slice(0, 3).every((node) => node.isConnected || element.contains(node)),
                  touched.map((node) => node.textContent)];
        }""",
    )
    assert kept and changed == ["last"]


def test_a_hostile_text_takes_no_long_time(draw):
    """Quadratic at worst in a line's length: 20,000 symbols are drawn within seconds."""
    texts = ("*a " * 5000, "[" * 5000, "`" * 5001 + "a", "> " * 5000, "- " * 5000, "_" * 20000)
    seconds = draw(
        list(texts),
        """async ([address, texts]) => {
          const { MarkdownView } = await import(address);
          const begin = performance.now();
          for (const text of texts) {
            new MarkdownView(document.createElement("div")).show(text, true);
          }
          return (performance.now() - begin) / 1000;
        }""",
    )
    assert seconds < 10
