// All conversations of this browser, in memory and in the store.

import { isEmpty, merge } from "./conversation.js";

const SAVE_EVERY_MS = 400;

export class Library extends EventTarget {
  /** Fires "change" when the list or a conversation changed elsewhere, "full" when saving failed. */
  constructor(store) {
    super();
    this.store = store;
    this.conversations = new Map();
    this.dirty = new Set();
    this.timer = null;
    store.onOtherTab((message) => this.#otherTab(message));
  }

  async load() {
    for (const conversation of await this.store.all()) {
      this.conversations.set(conversation.id, conversation);
    }
  }

  get(id) {
    return this.conversations.get(id);
  }

  /** Those with messages, the latest first. */
  list() {
    return [...this.conversations.values()]
      .filter((conversation) => !isEmpty(conversation))
      .sort((a, b) => b.updated - a.updated);
  }

  /** Those whose title or messages hold all words of a query. */
  search(query) {
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    return this.list().filter((conversation) => {
      const texts = Object.values(conversation.messages).map(({ text }) => text);
      const all = [conversation.title, ...texts].join("\n").toLowerCase();
      return words.every((word) => all.includes(word));
    });
  }

  /** Keeps a conversation at once and tells that the list has changed. */
  save(conversation) {
    this.conversations.set(conversation.id, conversation);
    this.dirty.add(conversation);
    this.flush();
    this.dispatchEvent(new Event("change"));
  }

  /** Keeps a conversation that grows; many calls in a short time are one write. */
  touch(conversation) {
    this.dirty.add(conversation);
    this.timer ??= setTimeout(() => this.flush(), SAVE_EVERY_MS);
  }

  /** Keeps a conversation from elsewhere, together with what is here of it. */
  add(conversation) {
    const mine = this.conversations.get(conversation.id);
    this.save(mine ? merge(mine, conversation) : conversation);
  }

  async flush() {
    clearTimeout(this.timer);
    this.timer = null;
    const waiting = [...this.dirty];
    this.dirty.clear();
    for (const conversation of waiting) {
      if (!this.conversations.has(conversation.id)) continue;
      try {
        await this.store.put(conversation);
      } catch (error) {
        this.dirty.add(conversation); // saved with the next change, if there is room then
        this.dispatchEvent(new CustomEvent("full", { detail: error }));
      }
    }
  }

  async remove(conversation) {
    this.conversations.delete(conversation.id);
    this.dirty.delete(conversation);
    this.dispatchEvent(new Event("change"));
    await this.store.delete(conversation.id);
  }

  async #otherTab({ saved, deleted }) {
    if (deleted) {
      this.conversations.delete(deleted);
    } else {
      const theirs = await this.store.get(saved);
      const mine = this.conversations.get(saved);
      if (!theirs) return;
      if (mine) merge(mine, theirs);
      else this.conversations.set(saved, theirs);
    }
    this.dispatchEvent(new Event("change"));
  }
}
