// The pieces of a text that a person and the model write in turns.

import { addMessage, alternatives, choose, path, ROOT } from "./conversation.js";

/** What a person adds to a text, with the space between words where one is missing. */
export function joined(before, added) {
  const words = added.replace(/[ \t]+$/, "");
  const apart = !before || /\s$/.test(before) || /^[\s.,;:!?’”)\]]/.test(words);
  return apart ? words : ` ${words}`;
}

/**
 * Makes a text what a person has rewritten it to: pieces at its beginning stay as they are, the rest
 * is one new piece, beside the earlier ones, which remain alternatives.
 */
export function rewrite(conversation, text) {
  let rest = text;
  let parent = ROOT;
  for (const piece of path(conversation)) {
    if (rest === "" || !rest.startsWith(piece.text)) break;
    rest = rest.slice(piece.text.length);
    parent = piece.id;
  }
  const next = alternatives(conversation, { parent });
  const same = next.find((piece) => piece.text === rest);
  if (same) choose(conversation, same);
  else if (rest || next.length) addMessage(conversation, parent, "user", rest);
}
