// What is said below an answer that did not simply end, and what can be done about it.

import { h, textButton } from "./dom.js";

const STALE_MS = 10_000;

/**
 * The note of an answer, or null. actions: again(), newConversation(), askKey(), and goOn() where an
 * answer is more than the last piece of a text, which goes on anyway.
 */
export function noteOf(answer, generation, actions) {
  if (generation) return runningNote(answer, generation);
  const { finish, problem } = answer;
  if (finish === null && Date.now() - answer.updated < STALE_MS) {
    return note("quiet", "Another tab is writing this.");
  }
  const goOn = answer.text && actions.goOn ? [textButton("Go on from here", actions.goOn)] : [];
  const again = textButton(answer.text ? "Write it anew" : "Try again", actions.again);
  if (finish === null) return note("problem", "This broke off.", ...goOn, again);
  if (finish === "stopped") return actions.goOn ? note("quiet", "Stopped.", ...goOn) : null;
  if (finish === "length") return lengthNote(answer, goOn, actions);
  if (finish !== "failed") return null;
  if (problem.kind === "context") {
    return note(
      "problem",
      `The context is full: ${problem.message}`,
      textButton("New conversation", actions.newConversation),
    );
  }
  if (problem.kind === "key") {
    return note("problem", problem.message, textButton("Enter the API key", actions.askKey));
  }
  return note("problem", problem.message, ...goOn, again);
}

function runningNote(answer, generation) {
  if (generation.state === "retrying") {
    const seconds = Math.max(1, Math.ceil((generation.retryAt - Date.now()) / 1000));
    return note("quiet", `The server is busy. Trying again in ${seconds} s.`);
  }
  return answer.text ? null : note("waiting", "Waiting for the first word");
}

function lengthNote({ stats }, goOn, actions) {
  if (stats?.maxTokens && stats.contextTokens >= stats.maxTokens) {
    return note(
      "problem",
      `The context is full: ${stats.contextTokens} of ${stats.maxTokens} tokens.`,
      textButton("New conversation", actions.newConversation),
    );
  }
  if (!actions.goOn) return null;
  return note("quiet", "It has reached the longest answer that is allowed.", ...goOn);
}

function note(sort, text, ...buttons) {
  return h("p", { className: `note ${sort}` }, h("span", {}, text), ...buttons);
}
