// Shows Markdown that grows: only the block at its end is drawn again.

import { copyButton } from "./clipboard.js";
import { h } from "./dom.js";
import { inlineNodes } from "./markdown_inline.js";
import { blocksOf } from "./markdown_blocks.js";

const DEEPEST = 40;

export class MarkdownView {
  constructor(element) {
    this.element = element;
    this.text = "";
    this.open = false;
    this.drawn = []; // of each block {node, start, source, open}, start in the text
  }

  /** Shows a text. open: it is still being written. */
  show(text, open = false) {
    if (text === this.text && open === this.open) return;
    // A line that has just begun may turn out to belong to the block before: the last two may change.
    const settled = text.startsWith(this.text) ? Math.max(this.drawn.length - 2, 0) : 0;
    const from = this.drawn[settled]?.start ?? 0;
    const old = this.drawn.slice(settled);
    const fresh = sourcesOf(text, from).map(({ block, start, source }, index, all) => {
      const last = open && index === all.length - 1;
      const before = old[index];
      if (before?.source === source && before.open === last) return { ...before, start };
      const node = (before && updatedCode(before.node, block)) ?? blockNode(block, last);
      return { node, start, source, open: last };
    });
    const kept = new Set(fresh.map(({ node }) => node));
    for (const { node } of old) if (!kept.has(node)) node.remove();
    this.drawn = [...this.drawn.slice(0, settled), ...fresh];
    this.drawn.slice(settled).forEach(({ node }, index) => {
      const there = this.element.childNodes[settled + index] ?? null;
      if (there !== node) this.element.insertBefore(node, there);
    });
    this.text = text;
    this.open = open;
  }
}

/** The blocks of a text from a place on, with where they begin and what they are made of. */
function sourcesOf(text, from) {
  const lines = text.slice(from).split("\n");
  const found = blocksOf(lines);
  let line = 0;
  let start = from;
  return found.map((block, index) => {
    for (; line < block.line; line += 1) start += lines[line].length + 1;
    const end = found[index + 1]?.line ?? lines.length;
    return { block, start, source: lines.slice(block.line, end).join("\n") };
  });
}

/** What is inside a block `depth` levels down; no text makes sense deeper than the deepest. */
function blocks(text, open, depth) {
  if (depth === DEEPEST) return [h("p", {}, text)];
  const found = blocksOf(text.split("\n"));
  return found.map((block, index) => blockNode(block, open && index === found.length - 1, depth));
}

function blockNode(block, open, depth = 0) {
  return DRAW[block.type](block, open, depth);
}

const DRAW = {
  paragraph: ({ text }, open) => h("p", {}, ...inlineNodes(text, open)),
  // An answer stands below the page's own headings.
  heading: ({ level, text }, open) =>
    h(`h${Math.min(level + 2, 6)}`, { className: `level-${level}` }, ...inlineNodes(text, open)),
  rule: () => h("hr"),
  quote: ({ text }, open, depth) => h("blockquote", {}, ...blocks(text, open, depth + 1)),
  code: codeNode,
  list: listNode,
  table: tableNode,
};

function codeNode({ language, text }) {
  const code = h("code", {}, text);
  const node = h(
    "figure",
    { className: "code-block", role: "group", "aria-label": `Code ${language}`.trim() },
    h(
      "figcaption",
      {},
      h("span", { className: "language" }, language || "text"),
      copyButton("Copy code", () => code.textContent),
    ),
    h("pre", { tabIndex: 0 }, code),
  );
  return node;
}

/** A code block's own element with its text brought up to date, or null if another is needed. */
function updatedCode(node, { type, language, text }) {
  if (type !== "code" || !node.classList.contains("code-block")) return null;
  if (node.querySelector(".language").textContent !== (language || "text")) return null;
  const code = node.querySelector("code");
  if (code.firstChild && text.startsWith(code.textContent)) {
    code.firstChild.appendData(text.slice(code.textContent.length));
  } else code.textContent = text;
  return node;
}

function listNode({ ordered, start, loose, items }, open, depth) {
  const list = h(ordered ? "ol" : "ul");
  if (ordered && start !== 1) list.start = start;
  items.forEach((text, index) => {
    const task = /^\[([ xX])\]\s+/.exec(text);
    const inside = task ? text.slice(task[0].length) : text;
    const last = open && index === items.length - 1;
    const item = h("li");
    if (task) {
      const checked = task[1] !== " ";
      item.className = "task";
      item.append(h("input", { type: "checkbox", checked, disabled: true, "aria-label": "Task" }));
    }
    for (const node of blocks(inside, last, depth + 1)) {
      if (!loose && node.localName === "p") item.append(...node.childNodes);
      else item.append(node);
    }
    list.append(item);
  });
  return list;
}

function tableNode({ align, head, rows }, open) {
  const row = (cells, tag, last) =>
    h("tr", {}, ...cells.map((text, column) => {
      const cell = h(tag, {}, ...inlineNodes(text, last));
      if (align[column]) cell.className = `align-${align[column]}`;
      if (tag === "th") cell.scope = "col";
      return cell;
    }));
  const body = rows.map((cells, index) => row(cells, "td", open && index === rows.length - 1));
  const table = h("table", {}, h("thead", {}, row(head, "th", false)), h("tbody", {}, ...body));
  return h("div", { className: "table", tabIndex: 0, role: "region", "aria-label": "Table" }, table);
}
