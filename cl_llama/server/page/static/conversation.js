// A conversation: a tree of messages, and which child of each is shown.
//
// {id, mode: "chat" | "text", title, renamed, created, updated, settings, chosen, messages}
// messages: id -> {id, parent, role: "user" | "assistant", text, created, updated, finish, stats,
// problem}; the first ones have the parent ROOT. An edited question or another answer is a sibling
// of the earlier one, so that nothing is lost. chosen: parent -> the child that is shown.
// In the mode "text" the texts of the messages, joined, are one text.

export const ROOT = "";

export function newConversation(mode, settings = {}) {
  const now = Date.now();
  return {
    id: newId(),
    mode,
    title: "",
    renamed: false,
    created: now,
    updated: now,
    settings: { ...settings },
    chosen: {},
    messages: {},
  };
}

/** Adds a message below `parent` and shows it. */
export function addMessage(conversation, parent, role, text) {
  const now = Date.now();
  const message = { id: newId(), parent, role, text, created: now, updated: now, finish: null };
  conversation.messages[message.id] = message;
  choose(conversation, message);
  if (!conversation.renamed && role === "user" && path(conversation)[0]?.id === message.id) {
    conversation.title = titleOf(text);
  }
  return message;
}

/** The messages that are shown, from the first to the last. */
export function path(conversation) {
  const shown = [];
  const children = childrenByParent(conversation);
  for (let parent = ROOT; children.has(parent); ) {
    const below = children.get(parent);
    const message = below.find(({ id }) => id === conversation.chosen[parent]) ?? below.at(-1);
    shown.push(message);
    parent = message.id;
  }
  return shown;
}

/** The shown messages above a message, first to last. */
export function above(conversation, message) {
  const found = [];
  for (let id = message.parent; id !== ROOT; id = conversation.messages[id].parent) {
    found.unshift(conversation.messages[id]);
  }
  return found;
}

/** A message and the others that stand in its place, oldest first. */
export function alternatives(conversation, message) {
  return childrenByParent(conversation).get(message.parent) ?? [];
}

export function choose(conversation, message) {
  conversation.chosen[message.parent] = message.id;
  touch(conversation);
}

/** Removes a message with everything below it; its neighbour is shown instead. */
export function removeMessage(conversation, message) {
  const siblings = alternatives(conversation, message);
  const place = siblings.indexOf(message);
  const next = siblings[place + 1] ?? siblings[place - 1];
  const children = childrenByParent(conversation);
  const doomed = [message];
  for (let one; (one = doomed.pop()); ) {
    doomed.push(...(children.get(one.id) ?? []));
    // What is removed stays as an empty mark, so that another tab does not bring it back.
    const { id, parent, role, created } = one;
    const now = Date.now();
    conversation.messages[id] = { id, parent, role, text: "", created, updated: now, removed: true };
  }
  if (next) choose(conversation, next);
  else delete conversation.chosen[message.parent];
  touch(conversation);
}

/** Both tabs' messages: of each the one that changed last. `mine` decides what is shown. */
export function merge(mine, theirs) {
  for (const [id, message] of Object.entries(theirs.messages)) {
    if (!(id in mine.messages) || mine.messages[id].updated < message.updated) {
      mine.messages[id] = message;
    }
  }
  mine.chosen = { ...theirs.chosen, ...mine.chosen };
  if (theirs.updated > mine.updated) {
    const { title, renamed, settings, updated } = theirs;
    Object.assign(mine, { title, renamed, settings, updated });
  }
  return mine;
}

export function touch(conversation, message = null) {
  conversation.updated = Date.now();
  if (message) message.updated = conversation.updated;
}

export function isEmpty(conversation) {
  return Object.values(conversation.messages).every(({ removed }) => removed);
}

/** What a list shows of a first message: the beginning of its first line. */
export function titleOf(text) {
  const line = text.trim().split("\n", 1)[0].replace(/\s+/g, " ");
  return line.length > 60 ? `${line.slice(0, 59).trimEnd()}…` : line;
}

function childrenByParent(conversation) {
  const children = new Map();
  for (const message of Object.values(conversation.messages)) {
    if (message.removed) continue;
    if (!children.has(message.parent)) children.set(message.parent, []);
    children.get(message.parent).push(message);
  }
  for (const below of children.values()) below.sort((a, b) => a.created - b.created);
  return children;
}

function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
