// The panel with a conversation's system prompt and sampling settings.

import { h, textButton } from "./dom.js";
import { defaultOf, SAMPLING, saveDefaults, settingsOf } from "./settings.js";

export class SettingsPanel {
  /** changed(conversation): a setting has changed; said(line): tells the person something. */
  constructor(dialog, changed, said) {
    this.dialog = dialog;
    this.changed = changed;
    this.said = said;
    this.fields = dialog.querySelector(".fields");
    dialog.querySelector(".close").addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close();
    });
  }

  open(conversation) {
    this.conversation = conversation;
    this.#draw();
    this.dialog.showModal();
  }

  #draw() {
    const { conversation } = this;
    const { mode } = conversation;
    const now = settingsOf(conversation);
    const system = h("textarea", {
      id: "setting-system",
      rows: 4,
      value: now.system,
      placeholder: "What the model is told before the conversation",
      on: { input: (event) => this.#set("system", event.target.value) },
    });
    this.fields.replaceChildren(
      ...(mode === "chat" ? [labelled("setting-system", "System prompt", system)] : []),
      ...SAMPLING.map((setting) => this.#field(setting, now[setting.name])),
      h(
        "div",
        { className: "panel-buttons" },
        textButton("Reset", () => this.#reset()),
        textButton("Use for all new conversations", () => this.#keep()),
      ),
    );
  }

  #field(setting, value) {
    const id = `setting-${setting.name}`;
    const { kind, min, max, step } = setting;
    if (kind === "lines") {
      const set = (event) => this.#set(setting.name, event.target.value.split("\n").filter(Boolean));
      const area = h("textarea", { id, rows: 2, value: value.join("\n"), on: { input: set } });
      return labelled(id, setting.label, area, setting.hint);
    }
    const placeholder = setting.none ?? "";
    const number = h("input", { id, type: "number", min, max, step, placeholder });
    number.value = value ?? "";
    number.required = !setting.none;
    const slider = kind === "range" ? h("input", { type: "range", min, max, step, value }) : null;
    slider?.setAttribute("aria-label", setting.label);
    slider?.addEventListener("input", () => {
      number.value = slider.value;
      this.#set(setting.name, slider.valueAsNumber);
    });
    number.addEventListener("input", () => {
      number.step = "any"; // the slider's steps bind nobody who types
      if (kind === "number") number.step = step;
      if (!number.checkValidity()) return;
      const written = number.value === "" ? null : number.valueAsNumber;
      if (slider) slider.value = written;
      this.#set(setting.name, written);
    });
    const row = h("div", { className: "field-row" }, ...(slider ? [slider] : []), number);
    return labelled(id, setting.label, row, setting.hint);
  }

  /** Keeps a value; one that is the default is not kept, so that it follows the default. */
  #set(name, value) {
    const { settings, mode } = this.conversation;
    const setting = SAMPLING.find((one) => one.name === name);
    const usual = setting ? defaultOf(setting, mode) : null;
    if (value === null || JSON.stringify(value) === JSON.stringify(usual)) delete settings[name];
    else settings[name] = value;
    this.changed(this.conversation);
  }

  #reset() {
    saveDefaults(this.conversation.mode, {});
    this.conversation.settings = {};
    this.changed(this.conversation);
    this.#draw();
    this.said("The settings are those that the page brings.");
  }

  #keep() {
    const kept = saveDefaults(this.conversation.mode, settingsOf(this.conversation));
    this.said(kept ? "New conversations begin with these settings." : "The browser keeps nothing.");
  }
}

function labelled(id, label, field, hint = null) {
  return h(
    "div",
    { className: "field" },
    h("label", { htmlFor: id }, label),
    field,
    hint ? h("p", { className: "hint" }, hint) : null,
  );
}
