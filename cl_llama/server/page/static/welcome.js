// What stands where a conversation has not begun.

import { h, textButton } from "./dom.js";

const BEGINNINGS = [
  "Once upon a time, there was a little ",
  "On a stormy night, a tiny mouse ",
  "The lighthouse keeper had never seen ",
  "“Who ate all the honey?” asked ",
];

const QUESTIONS = [
  "Explain how rainbows form, in simple words.",
  "Write a haiku about an old computer.",
  "What should I cook with rice, eggs and spinach?",
  "Compare quicksort and merge sort in a table.",
];

/** actions: fill(text), send(text), setMode(mode), where a model can do both. */
export function welcome(mode, model, actions) {
  return mode === "text" ? textWelcome(model, actions) : chatWelcome(model, actions);
}

function textWelcome(model, actions) {
  return h(
    "div",
    { className: "welcome-inside" },
    h("h2", { className: "serif" }, "Write the beginning,", document.createElement("br"), "the model goes on."),
    h("p", {}, "Some words are enough. Add to the story whenever you like, or ask for another turn of it."),
    choices(BEGINNINGS.map((text) => [`${text.trim()} …`, () => actions.fill(text)]).concat([
      ["Surprise me", () => actions.send("")],
    ])),
    modeSwitch("text", model, actions),
  );
}

function chatWelcome(model, actions) {
  return h(
    "div",
    { className: "welcome-inside" },
    h("h2", {}, "What would you like to know?"),
    h("p", {}, "The model runs on this server; what you write goes nowhere else."),
    choices(QUESTIONS.map((text) => [text, () => actions.send(text)])),
    modeSwitch("chat", model, actions),
  );
}

function choices(all) {
  return h(
    "div",
    { className: "choices" },
    ...all.map(([label, click]) => textButton(label, click, "choice")),
  );
}

/** Any model can continue a text; one with a chat template can do both. */
function modeSwitch(mode, model, actions) {
  if (!model?.meta.chat) return null;
  const choice = (name, label) => {
    const button = textButton(label, () => actions.setMode(name));
    button.setAttribute("aria-pressed", name === mode);
    return button;
  };
  return h(
    "div",
    { className: "mode-switch", role: "group", "aria-label": "What to write" },
    choice("chat", "Chat"),
    choice("text", "Continue a text"),
  );
}
