// Writes one answer: asks, waits its turn, and adds to the message what the stream brings.

import { problemInStream, request, ServerProblem } from "./api.js";
import { touch } from "./conversation.js";
import { eventData } from "./event_stream.js";
import { requestFor, textOf } from "./request_body.js";

const MOST_TRIES = 6;

export class Generation {
  /**
   * Fires "update" as the answer grows and as `state` changes, "end" once, last. state: "waiting"
   * for the first token, "retrying" until `retryAt` (ms), "writing", "ended".
   */
  events = new EventTarget();
  state = "waiting";
  retryAt = null;
  #stopping = new AbortController();

  /** server: a ServerWatch, which may not know the model yet: the server has one all the same. */
  constructor(conversation, answer, server) {
    this.conversation = conversation;
    this.answer = answer;
    this.server = server;
  }

  /** Ends it; what has come stays. */
  stop() {
    this.#stopping.abort();
  }

  /** Resolves when the answer has ended, well or not: see its `finish` and `problem`. */
  async run() {
    const { answer } = this;
    answer.finish = null;
    delete answer.problem;
    try {
      const response = await this.#begin();
      await this.#read(response);
    } catch (error) {
      if (error.name === "AbortError") answer.finish = "stopped";
      else {
        const known = error instanceof ServerProblem;
        const broken = { kind: "broken", message: "The connection broke off." };
        answer.problem = known ? { kind: error.kind, message: error.message } : broken;
        answer.finish = "failed";
      }
    }
    this.#turn("ended");
    this.events.dispatchEvent(new Event("end"));
  }

  async #begin() {
    const { signal } = this.#stopping;
    for (let tries = 1; ; tries += 1) {
      const { path, body } = requestFor(this.conversation, this.answer, this.server.model?.id);
      this.started = performance.now();
      try {
        return await request(path, { body, signal });
      } catch (error) {
        if (error.kind !== "busy" || tries === MOST_TRIES) throw error;
        const seconds = Math.min(Math.max(error.retryAfter, 0.2), 60);
        this.retryAt = Date.now() + seconds * 1000;
        this.#turn("retrying");
        await pause(seconds * 1000, signal);
        this.#turn("waiting");
      }
    }
  }

  async #read(response) {
    const stats = { tokens: 0 };
    let firstAt = null;
    for await (const data of eventData(response)) {
      if (data === "[DONE]") break;
      const chunk = JSON.parse(data);
      if (chunk.error) throw problemInStream(chunk.error);
      for (const choice of chunk.choices ?? []) {
        const text = textOf(choice);
        if (text) {
          firstAt ??= performance.now();
          this.answer.text += text;
          Object.assign(stats, this.#measured(stats.tokens + 1, firstAt));
        }
        if (choice.finish_reason) this.answer.finish = choice.finish_reason;
      }
      if (chunk.usage) Object.assign(stats, this.#told(chunk));
      this.answer.stats = stats;
      this.#turn("writing");
    }
    if (this.answer.finish === null) {
      throw new ServerProblem("broken", "The answer broke off before its end.");
    }
  }

  /** What this side can tell while it runs, or where it was stopped: a piece is about a token. */
  #measured(tokens, firstAt) {
    const seconds = (performance.now() - firstAt) / 1000;
    return {
      tokens,
      tokensPerSecond: seconds > 0.1 ? (tokens - 1) / seconds : undefined,
      firstTokenSeconds: (firstAt - this.started) / 1000,
    };
  }

  /** What the server counted and timed. */
  #told({ usage, timings = {} }) {
    const found = {
      promptTokens: usage.prompt_tokens,
      tokens: usage.completion_tokens,
      cachedTokens: usage.prompt_tokens_details?.cached_tokens ?? 0,
      contextTokens: usage.prompt_tokens + usage.completion_tokens,
      maxTokens: this.server.model?.meta.max_seq_len,
    };
    const speed = timings.generated_tokens_per_second;
    if (speed) found.tokensPerSecond = speed;
    if (timings.seconds_to_first_token) found.firstTokenSeconds = timings.seconds_to_first_token;
    return found;
  }

  #turn(state) {
    this.state = state;
    touch(this.conversation, this.answer);
    this.events.dispatchEvent(new Event("update"));
  }
}

/** Resolves after some time, rejects at once when aborted. */
function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
    if (signal.aborted) reject(signal.reason);
  });
}
