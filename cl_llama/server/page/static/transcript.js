// The messages of a chat, one below the other.

import { alternatives, path } from "./conversation.js";
import { h } from "./dom.js";
import { MessageView } from "./message_view.js";

export class Transcript {
  /** actions: see MessageView. */
  constructor(actions) {
    this.element = h("div", { className: "transcript", role: "log", "aria-live": "off" });
    this.actions = { ...actions, choose: (message) => this.#choose(message) };
    this.chosen = actions.choose;
    this.views = new Map();
  }

  show(conversation, generation) {
    const shown = path(conversation);
    const ids = new Set(shown.map(({ id }) => id));
    for (const [id, view] of this.views) {
      if (ids.has(id)) continue;
      view.element.remove();
      this.views.delete(id);
    }
    shown.forEach((message, index) => {
      let view = this.views.get(message.id);
      if (!view) this.views.set(message.id, (view = new MessageView(message, this.actions)));
      const there = this.element.children[index] ?? null;
      if (there !== view.element) this.element.insertBefore(view.element, there);
      const writer = generation?.answer.id === message.id ? generation : null;
      view.update(message, alternatives(conversation, message), writer);
    });
  }

  /** Draws only the message that grows. */
  grow(conversation, generation) {
    const message = generation.answer;
    this.views.get(message.id)?.update(message, alternatives(conversation, message), generation);
  }

  /** Opens the editor of the last message that the person wrote. */
  editLast() {
    const own = [...this.views.values()].filter(({ message }) => message.role === "user");
    own.at(-1)?.edit();
  }

  #choose(message) {
    const label = document.activeElement?.getAttribute("aria-label");
    this.chosen(message);
    const buttons = this.views.get(message.id).element.querySelectorAll(".alternatives button");
    const usable = [...buttons].filter(({ disabled }) => !disabled);
    (usable.find((one) => one.getAttribute("aria-label") === label) ?? usable[0])?.focus();
  }
}
