// Talks to the server that this page came from, wherever a proxy has put it.

const KEY = "cl-llama.key";

/**
 * What went wrong, in a line for a person. kind: "offline" (no answer), "key" (one is asked for),
 * "busy" (try again after `retryAfter` seconds), "context" (the prompt is too long), "broken" (the
 * answer ended too soon), "refused" (anything else).
 */
export class ServerProblem extends Error {
  constructor(kind, message, retryAfter = null) {
    super(message);
    this.kind = kind;
    this.retryAfter = retryAfter;
  }
}

export function setKey(key) {
  try {
    sessionStorage.setItem(KEY, key);
  } catch {
    // Kept as long as the page is.
  }
  currentKey = key;
}

let currentKey = null;
try {
  currentKey = sessionStorage.getItem(KEY);
} catch {
  // No storage here.
}

/** The first model of the list: {id, meta: {max_seq_len, device, precision, chat, …}}. */
export async function model(signal) {
  const response = await request("v1/models", { signal });
  const [first] = (await response.json()).data;
  if (!first) throw new ServerProblem("refused", "The server has no model.");
  return { id: first.id, meta: { chat: true, ...first.meta } };
}

/** A response with a good status; anything else is a ServerProblem, an abort an AbortError. */
export async function request(path, { body, signal } = {}) {
  const headers = {};
  if (currentKey) headers.Authorization = `Bearer ${currentKey}`;
  if (body) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(new URL(path, new URL(".", document.baseURI)), {
      method: body ? "POST" : "GET",
      headers,
      body: body && JSON.stringify(body),
      signal,
      cache: "no-store",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerProblem("offline", "The server does not answer.");
  }
  if (!response.ok) throw await problemOf(response);
  return response;
}

/** The problem that an error object in a stream tells of. */
export function problemInStream(error) {
  const kind = isContext(error) ? "context" : "broken";
  return new ServerProblem(kind, error.message ?? "The server could not go on.");
}

async function problemOf(response) {
  let error = {};
  try {
    const answer = await response.json();
    error = typeof answer.error === "string" ? { message: answer.error } : (answer.error ?? {});
  } catch {
    // A proxy's error page says less than its status does.
  }
  const message = error.message ?? `The server answered ${response.status} ${response.statusText}`;
  const { status } = response;
  if (status === 401) return new ServerProblem("key", message);
  if (status === 429 || status === 502 || status === 503 || status === 504) {
    const seconds = Number.parseFloat(response.headers.get("Retry-After"));
    return new ServerProblem("busy", message, Number.isFinite(seconds) ? seconds : 2);
  }
  return new ServerProblem(isContext(error) ? "context" : "refused", message);
}

function isContext({ code, message }) {
  return code === "context_length_exceeded" || /context has room|context length/.test(message ?? "");
}
