// What the server is asked, for an answer in its place of a conversation.

import { above } from "./conversation.js";
import { settingsOf } from "./settings.js";

/** {path, body} of a request that writes `answer`, or goes on with it where it has begun. */
export function requestFor(conversation, answer, modelId) {
  const { system, ...sampling } = settingsOf(conversation);
  const body = { model: modelId, stream: true, stream_options: { include_usage: true } };
  for (const [name, value] of Object.entries(sampling)) {
    if (value !== null && value.length !== 0) body[name] = value;
  }
  const before = above(conversation, answer);
  if (conversation.mode === "text") {
    body.prompt = [...before, answer].map(({ text }) => text).join("");
    return { path: "v1/completions", body };
  }
  body.messages = before.map(({ role, text }) => ({ role, content: text }));
  if (system) body.messages.unshift({ role: "system", content: system });
  if (answer.text) {
    body.messages.push({ role: "assistant", content: answer.text });
    body.continue_final_message = true;
    body.add_generation_prompt = false;
  }
  return { path: "v1/chat/completions", body };
}

/** The text that a chunk of either endpoint brings. */
export function textOf(choice) {
  return choice.delta?.content ?? choice.text ?? "";
}
