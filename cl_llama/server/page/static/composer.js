// Where a person writes: grows with its text, sends by Enter, and keeps a draft of each conversation.

import { icon } from "./icons.js";

const drafts = new Map();

export class Composer {
  /** actions: send(text) -> whether it was taken, stop(), editLast(). */
  constructor(form, actions) {
    this.form = form;
    this.area = form.querySelector("textarea");
    this.button = form.querySelector("button");
    this.actions = actions;
    this.writing = false;
    this.id = null;
    this.button.addEventListener("click", () => (this.writing ? actions.stop() : this.send()));
    form.addEventListener("submit", (event) => event.preventDefault());
    this.area.addEventListener("input", () => this.#changed());
    this.area.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Turns to a conversation. needsText: an empty text cannot be sent. */
  show(id, { placeholder, label, needsText, disabled }) {
    if (this.id !== id) {
      this.id = id;
      this.area.value = drafts.get(id) ?? "";
    }
    this.needsText = needsText;
    this.sendLabel = label;
    this.area.placeholder = placeholder;
    this.area.disabled = disabled;
    this.#changed();
  }

  /** Whether an answer is being written: the button stops it then. */
  setWriting(writing) {
    if (writing !== this.writing) this.button.replaceChildren(icon(writing ? "stop" : "send"));
    this.writing = writing;
    this.#changed();
  }

  fill(text) {
    this.area.value = text;
    this.#changed();
    this.focus();
  }

  focus() {
    this.area.focus();
  }

  send() {
    const text = this.area.value;
    if (this.writing || this.button.disabled) return;
    if (this.actions.send(text)) this.fill("");
  }

  #changed() {
    const { area, button } = this;
    drafts.set(this.id, area.value);
    const label = this.writing ? "Stop" : this.sendLabel;
    button.setAttribute("aria-label", label);
    button.title = label;
    button.disabled = !this.writing && (area.disabled || (this.needsText && !area.value.trim()));
    area.style.height = "auto";
    area.style.height = `${area.scrollHeight}px`;
  }

  #key(event) {
    // While an input method composes a word, its Enter chooses the word.
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      this.send();
    } else if (event.key === "ArrowUp" && this.area.value === "") {
      event.preventDefault();
      this.actions.editLast();
    }
  }
}
