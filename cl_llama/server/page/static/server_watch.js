// Knows whether the server is there, and which model it has.

import { model } from "./api.js";
import { askKey } from "./key_dialog.js";

const AGAIN_MS = 3000;

export class ServerWatch extends EventTarget {
  /** Fires "change". model: {id, meta}, null until the server has told; problem: null, or a line. */
  model = null;
  problem = null;
  #timer = null;
  #keyGiven = false;

  constructor() {
    super();
    window.addEventListener("online", () => this.look());
    document.addEventListener("visibilitychange", () => {
      if (this.problem && !document.hidden) this.look();
    });
  }

  /** Asks the server now, and again every few seconds as long as it does not answer. */
  async look() {
    clearTimeout(this.#timer);
    try {
      const found = await model();
      this.#tell(found, null);
    } catch (error) {
      if (error.kind === "key") {
        this.#tell(this.model, error.message);
        await this.askKey();
        return;
      }
      const waits = error.kind === "busy" ? "It is not ready yet" : "Looking for it";
      this.#tell(this.model, `${error.message} ${waits}…`);
      this.#timer = setTimeout(() => (document.hidden ? null : this.look()), AGAIN_MS);
    }
  }

  /** Lets the person give a key, and tries it; whether they gave one. */
  async askKey() {
    const given = await askKey(this.#keyGiven);
    this.#keyGiven ||= given;
    if (given) await this.look();
    return given;
  }

  #tell(found, problem) {
    this.model = found;
    this.problem = problem;
    this.dispatchEvent(new Event("change"));
  }
}
