// Conversations as a JSON file, out and in.

import { ROOT } from "./conversation.js";

const FORMAT = "cl-llama conversations";
const ID = /^[0-9a-f]{24}$/;
const ENDS = new Set(["stop", "length", "stopped"]);

/** Offers a file with conversations for download. */
export function exportFile(conversations) {
  const text = JSON.stringify({ format: FORMAT, version: 1, conversations }, null, 1);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = `cl-llama-${new Date().toISOString().slice(0, 10)}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** The conversations in such a file; an Error that says what is wrong with another one. */
export async function importFile(file) {
  let content;
  try {
    content = JSON.parse(await file.text());
  } catch {
    throw new Error(`${file.name} is not JSON.`);
  }
  if (content?.format !== FORMAT || !Array.isArray(content.conversations)) {
    throw new Error(`${file.name} holds no conversations of this page.`);
  }
  return content.conversations.map((one, index) => checked(one, `${file.name}: conversation ${index + 1}`));
}

/** A conversation with what this page knows and nothing else. */
function checked(conversation, where) {
  const { id, mode, title, created, updated, settings, chosen, messages } = conversation ?? {};
  const parts = [settings, chosen, messages];
  const whole =
    ID.test(id) && (mode === "chat" || mode === "text") && typeof title === "string"
    && parts.every((part) => part && typeof part === "object")
    && Object.entries(messages).every(([key, one]) => isMessage(one, key, messages));
  if (!whole) throw new Error(`${where} is damaged.`);
  return {
    id,
    mode,
    title,
    renamed: true,
    created: Number(created) || 0,
    updated: Number(updated) || 0,
    settings,
    chosen,
    messages: Object.fromEntries(Object.entries(messages).map(([key, one]) => [key, copied(one)])),
  };
}

function isMessage(message, id, messages) {
  const { parent, role, text, created } = message ?? {};
  return (
    ID.test(id) && message?.id === id && (role === "user" || role === "assistant")
    && typeof text === "string" && Number.isFinite(created)
    && (parent === ROOT || (Object.hasOwn(messages, parent) && parent !== id))
  );
}

function copied({ id, parent, role, text, created, updated, finish, removed, stats }) {
  const copy = { id, parent, role, text, created, updated: Number(updated) || 0 };
  copy.finish = ENDS.has(finish) ? finish : "stopped";
  if (removed) copy.removed = true;
  if (stats && Object.values(stats).every(Number.isFinite)) copy.stats = stats;
  return copy;
}
