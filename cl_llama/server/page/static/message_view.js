// One message of a chat: its text, what can be done with it, and what became of it.

import { copyButton } from "./clipboard.js";
import { h, iconButton, textButton } from "./dom.js";
import { icon } from "./icons.js";
import { MarkdownView } from "./markdown_view.js";
import { noteOf } from "./notes.js";
import { statsLine } from "./stats_line.js";
import { splitThought } from "./thought.js";

export class MessageView {
  /**
   * actions: choose(message), again(message), goOn(message), edit(message, text), remove(message),
   * newConversation(), askKey().
   */
  constructor(message, actions) {
    this.id = message.id;
    this.actions = actions;
    const author = message.role === "user" ? "You" : "Model";
    this.text = h("div", { className: message.role === "user" ? "bubble" : "prose" });
    this.note = h("div", { className: "note-place" });
    this.footer = h("footer", { className: "message-footer" });
    this.element = h(
      "article",
      { className: `message ${message.role}`, "aria-label": author, data: { id: message.id } },
      this.text,
      this.note,
      this.footer,
    );
    if (message.role === "assistant") {
      this.thought = h("div", { className: "thought-text" });
      this.thoughtTitle = h("summary");
      this.thoughtBox = h("details", { className: "thought" }, this.thoughtTitle, this.thought);
      this.answer = h("div", { className: "answer" });
      this.text.append(this.answer);
      this.markdown = new MarkdownView(this.answer);
    }
    this.footerKey = null;
    this.noteKey = null;
  }

  /** Draws what has changed. siblings: the message and its alternatives. */
  update(message, siblings, generation) {
    this.message = message;
    if (this.editor) return;
    const writing = Boolean(generation);
    this.element.classList.toggle("writing", writing && message.text !== "");
    this.element.setAttribute("aria-busy", writing);
    if (message.role === "user") {
      if (this.text.textContent !== message.text) this.text.textContent = message.text;
    } else this.#drawAnswer(message, writing);
    this.#drawNote(message, generation);
    this.#drawFooter(message, siblings, generation);
  }

  /** Turns the text into an editor of it. */
  edit() {
    if (this.editor) return;
    const { message, actions } = this;
    const area = h("textarea", { value: message.text, "aria-label": "Edit the message", rows: 1 });
    const close = () => {
      this.editor.replaceWith(this.text);
      this.editor = null;
      this.element.classList.remove("editing");
    };
    const send = () => {
      if (!area.value.trim()) return;
      close();
      actions.edit(this.message, area.value);
    };
    const fit = () => {
      area.style.height = "auto";
      area.style.height = `${area.scrollHeight}px`;
    };
    area.addEventListener("input", fit);
    area.addEventListener("keydown", (event) => {
      if (event.isComposing || event.keyCode === 229) return;
      if (event.key === "Enter" && !event.shiftKey) {
        event.preventDefault();
        send();
      } else if (event.key === "Escape") {
        event.stopPropagation();
        close();
      }
    });
    const buttons = h(
      "div",
      { className: "editor-buttons" },
      textButton("Cancel", close),
      textButton("Send", send, "primary"),
    );
    this.editor = h("div", { className: "editor" }, area, buttons);
    this.text.replaceWith(this.editor);
    this.element.classList.add("editing");
    fit();
    area.focus();
  }

  #drawAnswer(message, writing) {
    const { thought, answer, thinking } = splitThought(message.text);
    if (thought !== null) {
      if (!this.thoughtBox.isConnected) this.text.prepend(this.thoughtBox);
      this.thoughtTitle.textContent = thinking && writing ? "Thinking…" : "Thought";
      this.thought.textContent = thought;
    } else this.thoughtBox.remove();
    this.markdown.show(answer, writing);
  }

  #drawNote(message, generation) {
    const { actions } = this;
    const note = noteOf(message, generation, {
      again: () => actions.again(this.message),
      goOn: () => actions.goOn(this.message),
      newConversation: actions.newConversation,
      askKey: () => actions.askKey(this.message),
    });
    const shown = message.role === "assistant" ? note : null;
    const key = shown?.outerHTML ?? "";
    if (key === this.noteKey) return;
    this.noteKey = key;
    this.note.replaceChildren(...(shown ? [shown] : []));
  }

  #drawFooter(message, siblings, generation) {
    const place = siblings.findIndex(({ id }) => id === message.id);
    const stats = message.stats ? statsLine(message.stats) : "";
    const key = [place, siblings.length, stats, Boolean(generation), message.finish].join();
    if (key === this.footerKey) return;
    this.footerKey = key;
    const { actions } = this;
    const parts = [];
    if (siblings.length > 1) parts.push(alternativesSwitch(siblings, place, actions.choose));
    if (!generation) {
      parts.push(copyButton("Copy message", () => this.message.text));
      if (message.role === "user") {
        parts.push(iconButton(icon("edit"), "Edit message", () => this.edit()));
      } else {
        parts.push(iconButton(icon("again"), "Another answer", () => actions.again(this.message)));
      }
      parts.push(iconButton(icon("trash"), "Delete message", () => actions.remove(this.message)));
    }
    if (stats) parts.push(h("span", { className: "stats" }, stats));
    this.footer.replaceChildren(...parts);
  }
}

/** "‹ 2 / 3 ›" between the alternatives of a message. */
export function alternativesSwitch(siblings, place, choose) {
  const to = (step, name, label) => {
    const button = iconButton(icon(name), label, () => choose(siblings[place + step]));
    button.disabled = !siblings[place + step];
    return button;
  };
  return h(
    "span",
    { className: "alternatives", role: "group", "aria-label": "Versions" },
    to(-1, "left", "Earlier version"),
    h("span", {}, `${place + 1} / ${siblings.length}`),
    to(1, "right", "Later version"),
  );
}
