// A line at the bottom that goes away, with something that can be undone.

import { announce } from "./announce.js";
import { h, textButton } from "./dom.js";

const SHOWN_MS = 8000;
let timer = null;

/** Says a line; undo: what its button does, if there is something to undo. */
export function toast(line, undo = null) {
  const element = document.getElementById("toast");
  const close = () => {
    clearTimeout(timer);
    element.hidden = true;
  };
  clearTimeout(timer);
  const button = undo && textButton("Undo", () => {
    close();
    undo();
  });
  element.replaceChildren(h("span", {}, line), ...(button ? [button] : []));
  element.hidden = false;
  announce(line);
  timer = setTimeout(close, SHOWN_MS);
}
