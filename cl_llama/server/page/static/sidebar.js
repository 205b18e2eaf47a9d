// The list of conversations: search, rename, delete.

import { h, iconButton } from "./dom.js";
import { icon } from "./icons.js";

const DAY_MS = 86_400_000;
const AROUND = 36;

export class Sidebar {
  /** actions: open(conversation), rename(conversation, title), remove(conversation). */
  constructor(list, search, library, actions) {
    this.list = list;
    this.search = search;
    this.library = library;
    this.actions = actions;
    this.current = null;
    this.renaming = null;
    search.addEventListener("input", () => this.draw());
    search.addEventListener("keydown", (event) => this.#searchKey(event));
    list.addEventListener("keydown", (event) => this.#listKey(event));
  }

  /** Draws the list; `current` is the conversation that is open. */
  draw(current = this.current) {
    this.current = current;
    if (this.renaming) return;
    const query = this.search.value.trim();
    const found = query ? this.library.search(query) : this.library.list();
    const focused = this.list.contains(document.activeElement)
      ? document.activeElement.closest("[data-id]")?.dataset.id
      : null;
    const parts = [];
    let group = null;
    for (const conversation of found) {
      const name = groupOf(conversation.updated);
      if (name !== group) parts.push(h("h2", {}, (group = name)));
      parts.push(this.#item(conversation, query));
    }
    if (!found.length) {
      parts.push(h("p", { className: "nothing" }, query ? "Nothing found." : "Nothing here yet."));
    }
    this.list.replaceChildren(...parts);
    if (focused) this.list.querySelector(`[data-id="${focused}"] .open`)?.focus();
  }

  #item(conversation, query) {
    const current = conversation.id === this.current;
    const title = conversation.title || "Untitled";
    const open = h(
      "button",
      {
        type: "button",
        className: "open",
        title,
        "aria-current": current ? "true" : undefined,
        on: { click: () => this.actions.open(conversation) },
      },
      h("span", { className: "title" }, title),
      query ? h("span", { className: "found" }, excerpt(conversation, query)) : null,
    );
    const item = h(
      "div",
      { className: `item ${current ? "current" : ""}`, data: { id: conversation.id } },
      open,
      iconButton(icon("edit"), `Rename “${title}”`, () => this.#rename(conversation, item)),
      iconButton(icon("trash"), `Delete “${title}”`, () => this.actions.remove(conversation)),
    );
    return item;
  }

  #rename(conversation, item) {
    const input = h("input", { value: conversation.title, "aria-label": "New title" });
    this.renaming = conversation.id;
    const close = (keep) => {
      if (this.renaming !== conversation.id) return;
      this.renaming = null;
      const title = input.value.trim();
      if (keep && title) this.actions.rename(conversation, title);
      this.draw();
      this.list.querySelector(`[data-id="${conversation.id}"] .open`)?.focus();
    };
    input.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key === "Enter") close(true);
      if (event.key === "Escape") {
        event.stopPropagation();
        close(false);
      }
    });
    input.addEventListener("blur", () => close(true));
    item.replaceChildren(input);
    input.select();
  }

  #searchKey(event) {
    if (event.key === "ArrowDown") {
      event.preventDefault();
      this.list.querySelector(".open")?.focus();
    } else if (event.key === "Enter") {
      this.list.querySelector(".open")?.click();
    } else if (event.key === "Escape" && this.search.value) {
      event.stopPropagation();
      this.search.value = "";
      this.draw();
    }
  }

  #listKey(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !event.target.classList.contains("open")) return;
    event.preventDefault();
    const all = [...this.list.querySelectorAll(".open")];
    (all[all.indexOf(event.target) + step] ?? this.search).focus();
  }
}

function groupOf(time) {
  const midnight = new Date().setHours(0, 0, 0, 0);
  if (time >= midnight) return "Today";
  if (time >= midnight - DAY_MS) return "Yesterday";
  if (time >= midnight - 7 * DAY_MS) return "Last seven days";
  return new Intl.DateTimeFormat("en", { month: "long", year: "numeric" }).format(time);
}

/** What stands around the first word of a query in a conversation's messages. */
function excerpt(conversation, query) {
  const word = query.toLowerCase().split(/\s+/)[0];
  for (const { text } of Object.values(conversation.messages)) {
    const at = text.toLowerCase().indexOf(word);
    if (at < 0) continue;
    const from = Math.max(0, at - AROUND / 2);
    return `${from ? "…" : ""}${text.slice(from, at + word.length + AROUND)}`.replace(/\s+/g, " ");
  }
  return "";
}
