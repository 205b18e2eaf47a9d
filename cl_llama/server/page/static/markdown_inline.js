// Markdown within a line: code, emphasis, links. It makes nodes and never reads HTML.

const PUNCTUATION = /[\p{P}\p{S}]/u;
const ESCAPABLE = /[!-/:-@[-`{-~]/;
const SAFE = new Set(["http:", "https:", "mailto:"]);
const BARE_LINK = /^(?:https?:\/\/|www\.)[^\s<>]+/i;
const TAGS = { "**": "strong", "*": "em", __: "strong", _: "em", "~~": "del" };

/**
 * The nodes of an inline text. open: more of it is on its way, so that what has been opened at the
 * end (a code span, bold, a link) already looks as it will.
 */
export function inlineNodes(text, open = false) {
  return new Inline(text, open).nodes();
}

class Inline {
  constructor(text, open) {
    this.text = text;
    this.open = open;
    this.at = 0;
    this.parts = []; // nodes, and runs of delimiters {mark, count, opens, closes}
    this.plain = "";
  }

  nodes() {
    const { text } = this;
    while (this.at < text.length) {
      const took =
        this.#escape() || this.#break() || this.#code() || this.#link() || this.#autoLink()
        || this.#run();
      if (!took) this.plain += text[this.at++];
    }
    this.#flush();
    if (this.open) this.#closeAll();
    return paired(this.parts);
  }

  #flush() {
    if (this.plain) this.parts.push(document.createTextNode(this.plain));
    this.plain = "";
  }

  #push(node) {
    this.#flush();
    this.parts.push(node);
    return true;
  }

  #escape() {
    if (this.text[this.at] !== "\\" || !ESCAPABLE.test(this.text[this.at + 1] ?? "")) return false;
    this.plain += this.text[this.at + 1];
    this.at += 2;
    return true;
  }

  #break() {
    const found = /^(?: {2,}|\\)\n[ ]*/.exec(this.text.slice(this.at, this.at + 80));
    if (!found) return false;
    this.at += found[0].length;
    return this.#push(document.createElement("br"));
  }

  #code() {
    const { text, at } = this;
    if (text[at] !== "`") return false;
    const ticks = /^`+/.exec(text.slice(at))[0];
    let end = at + ticks.length;
    for (;;) {
      end = text.indexOf(ticks, end);
      if (end < 0) break;
      const run = /^`+/.exec(text.slice(end))[0];
      if (run.length === ticks.length) break;
      end += run.length;
    }
    if (end < 0 && !(this.open && at + ticks.length < text.length)) {
      this.plain += ticks;
      this.at += ticks.length;
      return true;
    }
    const inside = text.slice(at + ticks.length, end < 0 ? undefined : end).replaceAll("\n", " ");
    this.at = end < 0 ? text.length : end + ticks.length;
    const code = document.createElement("code");
    code.textContent = /^ .*[^ ].* $/.test(inside) ? inside.slice(1, -1) : inside;
    return this.#push(code);
  }

  /** [text](address "title"), and an image, which becomes a link to it. */
  #link() {
    const { text, at } = this;
    const image = text.startsWith("![", at);
    if (text[at] !== "[" && !image) return false;
    const from = at + (image ? 2 : 1);
    const close = closingBracket(text, from);
    if (close < 0 || text[close + 1] !== "(") return false;
    const rest = text.slice(close + 1);
    const found = /^\(\s*(?:<([^<>\n]*)>|((?:[^\s()]|\([^\s()]*\))*))(?:\s+["'(].*?["')])?\s*\)/s.exec(rest);
    if (!found && !(this.open && !rest.includes("\n") && !rest.includes(")"))) return false;
    const label = inlineNodes(text.slice(from, close));
    this.at = found ? close + 1 + found[0].length : text.length;
    return this.#push(link(found ? (found[1] ?? found[2]) : null, label));
  }

  /** <https://…>, and an address that stands alone. */
  #autoLink() {
    const { text, at } = this;
    const angle = /^<((?:https?:\/\/|mailto:)[^\s<>]*)>/i.exec(text.slice(at, at + 2100));
    if (angle) {
      this.at += angle[0].length;
      return this.#push(link(angle[1], [document.createTextNode(angle[1])]));
    }
    if (!"hHwW".includes(text[at]) || /[\p{L}\p{N}]/u.test(text[at - 1] ?? "")) return false;
    const bare = BARE_LINK.exec(text.slice(at, at + 2100));
    if (!bare) return false;
    let address = bare[0].replace(/[.,:;!?'"*_~]+$/, "");
    while (address.endsWith(")") && count(address, ")") > count(address, "(")) {
      address = address.slice(0, -1);
    }
    this.at += address.length;
    const target = /^www/i.test(address) ? `https://${address}` : address;
    return this.#push(link(target, [document.createTextNode(address)]));
  }

  /** A run of * or _ or ~~, which may open or close emphasis by what stands around it. */
  #run() {
    const { text, at } = this;
    const mark = text[at];
    if (mark !== "*" && mark !== "_" && mark !== "~") return false;
    let end = at;
    while (text[end] === mark) end += 1;
    this.at = end;
    if (mark === "~" && end - at !== 2) {
      this.plain += text.slice(at, end);
      return true;
    }
    const before = text[at - 1] ?? " ";
    const after = text[end] ?? " ";
    const left = !/\s/.test(after) && (!PUNCTUATION.test(after) || /\s/.test(before) || PUNCTUATION.test(before));
    const right = !/\s/.test(before) && (!PUNCTUATION.test(before) || /\s/.test(after) || PUNCTUATION.test(after));
    const inWord = mark === "_";
    return this.#push({
      mark,
      count: end - at,
      opens: left && (!inWord || !right || PUNCTUATION.test(before)),
      closes: right && (!inWord || !left || PUNCTUATION.test(after)),
    });
  }

  /** Closes at the end of the text what is open there. */
  #closeAll() {
    const last = this.parts.at(-1);
    if (last?.mark && !last.closes) this.parts.pop(); // the beginning of something that will come
    const waiting = [];
    for (const part of this.parts) {
      if (!part.mark) continue;
      const opener = waiting.findLastIndex((one) => one.mark === part.mark);
      if (part.closes && opener >= 0) waiting.length = opener;
      else if (part.opens) waiting.push(part);
    }
    for (const { mark, count } of waiting.reverse()) {
      this.parts.push({ mark, count, opens: false, closes: true });
    }
  }
}

/** Puts what stands between matching runs into elements; runs without a partner are text. */
function paired(parts) {
  for (let close = 0; close < parts.length; close += 1) {
    const closer = parts[close];
    if (!closer.mark || !closer.closes) continue;
    const open = parts.slice(0, close).findLastIndex((part) => matches(part, closer));
    if (open < 0) continue;
    const opener = parts[open];
    const used = closer.mark === "~" || (opener.count >= 2 && closer.count >= 2) ? 2 : 1;
    const element = document.createElement(TAGS[closer.mark.repeat(used)]);
    element.append(...parts.slice(open + 1, close).map(asNode));
    opener.count -= used;
    closer.count -= used;
    const left = [...(opener.count ? [opener] : []), element, ...(closer.count ? [closer] : [])];
    parts.splice(open, close - open + 1, ...left);
    close = open + left.length - 1 - (closer.count ? 1 : 0);
  }
  return parts.map(asNode);
}

function matches(opener, closer) {
  if (opener.mark !== closer.mark || !opener.opens) return false;
  const both = opener.closes || closer.opens;
  return !(both && (opener.count + closer.count) % 3 === 0 && opener.count % 3 !== 0);
}

function asNode(part) {
  return part.mark ? document.createTextNode(part.mark.repeat(part.count)) : part;
}

/** A link that opens elsewhere; an address of any other kind leaves its label, as text. */
function link(address, label) {
  let url = null;
  try {
    url = address && new URL(address);
  } catch {
    // Not an address that leads anywhere from here.
  }
  const safe = url && SAFE.has(url.protocol);
  const element = document.createElement(safe ? "a" : "span");
  element.className = "link";
  if (safe) {
    element.href = url.href;
    element.target = "_blank";
    element.rel = "noopener noreferrer";
    element.title = url.href;
  }
  element.append(...label);
  return element;
}

/** Where the bracket that is open at `from` closes, or -1. */
function closingBracket(text, from) {
  let depth = 1;
  for (let at = from; at < text.length; at += 1) {
    if (text[at] === "\\") at += 1;
    else if (text[at] === "[") depth += 1;
    else if (text[at] === "]" && (depth -= 1) === 0) return at;
    else if (text.startsWith("\n\n", at)) return -1;
  }
  return -1;
}

function count(text, character) {
  return text.split(character).length - 1;
}
