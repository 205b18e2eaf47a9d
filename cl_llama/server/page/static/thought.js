// What a reasoning model writes between <think> and </think> before its answer.

/**
 * {thought, answer, thinking}: thought is null if the text has none; thinking: it has not ended yet.
 */
export function splitThought(text) {
  const begin = /^\s*<think>\n?/.exec(text);
  if (!begin) return { thought: null, answer: text, thinking: false };
  const end = text.indexOf("</think>", begin[0].length);
  if (end < 0) return { thought: text.slice(begin[0].length), answer: "", thinking: true };
  const thought = text.slice(begin[0].length, end).trim();
  return { thought, answer: text.slice(end + "</think>".length).trimStart(), thinking: false };
}
