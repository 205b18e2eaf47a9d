// Markdown's blocks: lines to {type, source, …}, told apart line by line.

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:\s+(.*?))?\s*#*\s*$/;
const RULE = /^ {0,3}(?:(?:\*\s*){3,}|(?:-\s*){3,}|(?:_\s*){3,})$/;
const ITEM = /^( {0,3})([-*+]|(\d{1,9})[.)])(\s+|$)/;
const QUOTE = /^ {0,3}> ?/;
const TABLE_RULE = /^ {0,3}\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;
const UNDERLINE = /^ {0,3}(=+|-{2,})\s*$/;

/**
 * The blocks of a text, given as its lines. Each has the `line` at which it begins; all but the last
 * two stay as they are, whatever is added to the text.
 *
 * types: heading {level, text}, paragraph {text}, code {language, text, closed}, rule, quote {text},
 * list {ordered, start, loose, items: [text]}, table {align, head: [text], rows: [[text]]}.
 */
export function blocksOf(lines) {
  const blocks = [];
  let line = 0;
  while (line < lines.length) {
    if (!lines[line].trim()) {
      line += 1;
      continue;
    }
    const read = [code, heading, rule, quote, list, table, indented, paragraph];
    for (const one of read) {
      const found = one(lines, line);
      if (!found) continue;
      blocks.push({ ...found.block, line });
      line = found.next;
      break;
    }
  }
  return blocks;
}

function code(lines, start) {
  const fence = FENCE.exec(lines[start]);
  if (!fence) return null;
  const indent = lines[start].search(/\S/);
  const close = new RegExp(`^ {0,3}${fence[1][0]}{${fence[1].length},}\\s*$`);
  const inside = [];
  let next = start + 1;
  while (next < lines.length && !close.test(lines[next])) {
    inside.push(dedented(lines[next], indent));
    next += 1;
  }
  const closed = next < lines.length;
  const language = fence[2].trim().split(/\s+/)[0];
  return { block: { type: "code", language, text: inside.join("\n"), closed }, next: next + 1 };
}

function heading(lines, start) {
  const found = HEADING.exec(lines[start]);
  if (!found) return null;
  return {
    block: { type: "heading", level: found[1].length, text: found[2] ?? "" },
    next: start + 1,
  };
}

function rule(lines, start) {
  return RULE.test(lines[start]) ? { block: { type: "rule" }, next: start + 1 } : null;
}

function quote(lines, start) {
  if (!QUOTE.test(lines[start])) return null;
  const inside = [];
  let next = start;
  while (next < lines.length && (QUOTE.test(lines[next]) || isLazy(lines, next))) {
    inside.push(lines[next].replace(QUOTE, ""));
    next += 1;
  }
  return { block: { type: "quote", text: inside.join("\n") }, next };
}

function list(lines, start) {
  const first = ITEM.exec(lines[start]);
  if (!first || RULE.test(lines[start])) return null;
  const sort = kindOf(first);
  const items = [];
  let loose = false;
  let next = start;
  while (next < lines.length) {
    const mark = ITEM.exec(lines[next]);
    if (!mark || kindOf(mark) !== sort || RULE.test(lines[next])) break;
    const space = mark[4].length > 4 || !mark[4].length ? 1 : mark[4].length;
    const width = mark[1].length + mark[2].length + space;
    const inside = [lines[next].slice(width)];
    next += 1;
    while (next < lines.length) {
      const line = lines[next];
      const blank = !line.trim();
      const indent = blank ? Infinity : line.search(/\S/);
      if (!blank && indent < width && (!isLazy(lines, next) || !inside.at(-1).trim())) break;
      inside.push(dedented(line, width));
      next += 1;
    }
    let blanks = 0;
    while (inside.length > 1 && !inside.at(-1).trim()) {
      inside.pop();
      blanks += 1;
    }
    const more = next < lines.length && kindOf(ITEM.exec(lines[next])) === sort;
    loose ||= (blanks > 0 && more) || hasGap(inside);
    items.push(inside.join("\n"));
    if (blanks > 0 && !more) break;
  }
  const ordered = first[3] !== undefined;
  const block = { type: "list", ordered, start: Number(first[3] ?? 1), loose, items };
  return { block, next };
}

function table(lines, start) {
  const isTable =
    lines[start].includes("|") && TABLE_RULE.test(lines[start + 1] ?? "")
    && lines[start + 1].includes("-");
  if (!isTable) return null;
  const head = cellsOf(lines[start]);
  const marks = cellsOf(lines[start + 1]);
  if (marks.length !== head.length) return null;
  const align = marks.map((mark) => {
    if (mark.endsWith(":")) return mark.startsWith(":") ? "center" : "right";
    return mark.startsWith(":") ? "left" : "";
  });
  const rows = [];
  let next = start + 2;
  while (next < lines.length && lines[next].trim() && !beginsBlock(lines[next])) {
    const cells = cellsOf(lines[next]);
    rows.push(head.map((_, column) => cells[column] ?? ""));
    next += 1;
  }
  return { block: { type: "table", align, head, rows }, next };
}

function indented(lines, start) {
  if (!/^(?: {4}|\t)/.test(lines[start])) return null;
  const inside = [];
  let next = start;
  while (next < lines.length && (/^(?: {4}|\t)/.test(lines[next]) || !lines[next].trim())) {
    inside.push(dedented(lines[next], 4));
    next += 1;
  }
  return { block: { type: "code", language: "", text: inside.join("\n").trimEnd(), closed: true }, next };
}

function paragraph(lines, start) {
  const inside = [lines[start].trimStart()];
  let next = start + 1;
  while (next < lines.length && lines[next].trim()) {
    const underline = UNDERLINE.exec(lines[next]);
    if (underline) {
      const level = underline[1][0] === "=" ? 1 : 2;
      return { block: { type: "heading", level, text: inside.join("\n") }, next: next + 1 };
    }
    if (beginsBlock(lines[next]) || table(lines, next)) break;
    inside.push(lines[next].trimStart());
    next += 1;
  }
  return { block: { type: "paragraph", text: inside.join("\n").trimEnd() }, next };
}

/** Whether a line ends a paragraph: of lists, only what is no number within a sentence does. */
function beginsBlock(line) {
  const item = ITEM.exec(line);
  const startsList = item && item[4] && (item[3] === undefined || item[3] === "1");
  return startsList || FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line);
}

/** Whether a line that is not indented still belongs to the paragraph above it. */
function isLazy(lines, at) {
  const line = lines[at];
  const previous = lines[at - 1] ?? "";
  const open = previous.trim() && !FENCE.test(previous.replace(QUOTE, ""));
  return Boolean(open && line.trim() && !beginsBlock(line) && !ITEM.test(line));
}

/** Whether a blank line parts an item's own blocks; one within its lists or code does not. */
function hasGap(lines) {
  let fenced = false;
  return lines.some((line, at) => {
    if (FENCE.test(line)) fenced = !fenced;
    return !fenced && at > 1 && !lines[at - 1].trim() && /^ {0,3}\S/.test(line) && !ITEM.test(line);
  });
}

function kindOf(mark) {
  return mark && (mark[3] === undefined ? mark[2] : mark[2].at(-1));
}

function dedented(line, width) {
  const expanded = line.replace(/^\t/, "    ");
  return expanded.slice(Math.min(width, Math.max(expanded.search(/\S|$/), 0)));
}

/** The cells of a table's line; a bar in code or behind a backslash parts nothing. */
function cellsOf(line) {
  const cells = [];
  let cell = "";
  let inCode = false;
  for (const part of line.trim().match(/\\\||[^|`\\]+|./gs) ?? []) {
    if (part === "`") inCode = !inCode;
    if (part === "|" && !inCode) {
      cells.push(cell.trim());
      cell = "";
    } else cell += part === "\\|" ? "|" : part;
  }
  cells.push(cell.trim());
  if (cells[0] === "" && cells.length > 1) cells.shift();
  if (cells.at(-1) === "" && cells.length > 1) cells.pop();
  return cells;
}
