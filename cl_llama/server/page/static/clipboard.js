// Copies text, also where the page came over plain HTTP and the browser's clipboard is closed to it.

import { announce } from "./announce.js";
import { iconButton } from "./dom.js";
import { icon } from "./icons.js";

const SHOWN_MS = 1600;

/** A button that copies what `text()` returns and shows that it did. */
export function copyButton(label, text) {
  const button = iconButton(icon("copy"), label, async () => {
    const copied = await copy(text());
    announce(copied ? "Copied." : "The browser did not let it be copied.");
    if (!copied) return;
    button.replaceChildren(icon("check"));
    setTimeout(() => button.replaceChildren(icon("copy")), SHOWN_MS);
  });
  return button;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text);
  }
}

function copyBySelection(text) {
  const focused = document.activeElement;
  const area = document.createElement("textarea");
  area.className = "visually-hidden";
  area.value = text;
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  focused?.focus();
  return copied;
}
