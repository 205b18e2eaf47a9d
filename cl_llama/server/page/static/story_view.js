// A text that a person and the model write in turns, on a sheet of paper.

import { copyButton } from "./clipboard.js";
import { alternatives, path } from "./conversation.js";
import { h, iconButton, textButton } from "./dom.js";
import { icon } from "./icons.js";
import { alternativesSwitch } from "./message_view.js";
import { noteOf } from "./notes.js";
import { statsLine } from "./stats_line.js";

export class StoryView {
  /** actions: choose(message), again(message), remove(message), rewrite(text), newConversation(), askKey(message). */
  constructor(actions) {
    this.actions = actions;
    this.text = h("p", { className: "story-text" });
    this.end = h("p", { className: "the-end", hidden: true }, "The end");
    this.note = h("div", { className: "note-place" });
    this.tools = h("div", { className: "story-tools", role: "toolbar", "aria-label": "Text" });
    this.sheet = h("article", { className: "sheet", "aria-label": "Text" }, this.text, this.end);
    this.element = h("div", { className: "story" }, this.sheet, this.note, this.tools);
    this.toolsKey = null;
  }

  show(conversation, generation) {
    if (this.editor && this.conversation.id === conversation.id) return;
    this.#closeEditor();
    this.conversation = conversation;
    const shown = path(conversation);
    this.text.replaceChildren(
      ...shown.flatMap(({ id, role, text }) => {
        const words = role === "user" ? text.trimStart() : text; // space before them is no one's
        const piece = h("span", { className: `piece ${role}`, data: { id } });
        piece.append(document.createTextNode(words));
        return [text.slice(0, text.length - words.length), piece];
      }),
    );
    this.#finish(shown.at(-1), generation);
  }

  /** Draws only the piece that grows. */
  grow(conversation, generation) {
    const { id, text } = generation.answer;
    const piece = this.text.lastElementChild;
    if (piece?.dataset.id !== id) return;
    const node = piece.firstChild;
    if (text.startsWith(node.data)) node.appendData(text.slice(node.data.length));
    else node.data = text;
    this.#finish(generation.answer, generation);
  }

  /** Opens the whole text to be rewritten. */
  editLast() {
    if (this.editor) return;
    const whole = path(this.conversation).map(({ text }) => text).join("");
    const area = h("textarea", { value: whole, "aria-label": "Edit the text" });
    const fit = () => {
      area.style.height = "auto";
      area.style.height = `${area.scrollHeight}px`;
    };
    area.addEventListener("input", fit);
    area.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      this.#closeEditor();
    });
    const keep = () => {
      this.#closeEditor();
      this.actions.rewrite(area.value);
    };
    const buttons = h(
      "div",
      { className: "editor-buttons" },
      textButton("Cancel", () => this.#closeEditor()),
      textButton("Keep", keep, "primary"),
    );
    this.editor = h("div", { className: "editor" }, area, buttons);
    this.text.hidden = true;
    this.sheet.append(this.editor);
    fit();
    area.focus();
    area.setSelectionRange(whole.length, whole.length);
  }

  #closeEditor() {
    this.editor?.remove();
    this.editor = null;
    this.text.hidden = false;
  }

  #finish(last, generation) {
    const writing = Boolean(generation);
    this.sheet.classList.toggle("writing", writing);
    this.sheet.setAttribute("aria-busy", writing);
    this.end.hidden = writing || last?.role !== "assistant" || last.finish !== "stop";
    this.#drawNote(last, generation);
    this.#drawTools(last, generation);
  }

  #drawNote(last, generation) {
    const { actions } = this;
    const shown = last?.role === "assistant" ? noteOf(last, generation, {
      again: () => actions.again(last),
      newConversation: actions.newConversation,
      askKey: () => actions.askKey(last),
    }) : null;
    const waits = shown?.classList.contains("waiting"); // the blinking caret says that already
    this.note.replaceChildren(...(shown && !waits ? [shown] : []));
  }

  #drawTools(last, generation) {
    const siblings = last ? alternatives(this.conversation, last) : [];
    const stats = last?.stats ? statsLine(last.stats) : "";
    const key = [last?.id, siblings.length, stats, Boolean(generation)].join();
    if (key === this.toolsKey) return;
    this.toolsKey = key;
    const { actions } = this;
    const parts = [];
    if (last && !generation) {
      const place = siblings.indexOf(last);
      if (siblings.length > 1) parts.push(alternativesSwitch(siblings, place, actions.choose));
      if (last.role === "assistant") {
        parts.push(iconButton(icon("again"), "Another continuation", () => actions.again(last)));
      }
      parts.push(
        iconButton(icon("undo"), "Take the last piece back", () => actions.remove(last)),
        iconButton(icon("edit"), "Edit the text", () => this.editLast()),
        copyButton("Copy the text", () => this.text.textContent),
      );
    }
    if (stats) parts.push(h("span", { className: "stats" }, stats));
    this.tools.replaceChildren(...parts);
  }
}
