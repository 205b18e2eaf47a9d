// What can be set of a conversation, and what holds where nothing is set.

const KEY = "cl-llama.defaults";

/**
 * Sampling settings in the server's names. `initial` is a value, or one by mode; null leaves a field
 * out of the request. kind: "range" and "number" hold numbers, "lines" a list of strings.
 */
export const SAMPLING = [
  {
    name: "temperature",
    label: "Temperature",
    hint: "0 always takes the likeliest token; higher is freer.",
    kind: "range",
    min: 0,
    max: 2,
    step: 0.05,
    initial: 0.8,
  },
  {
    name: "top_p",
    label: "Top-p",
    hint: "The likeliest tokens that together reach this probability; 1 is all.",
    kind: "range",
    min: 0,
    max: 1,
    step: 0.01,
    initial: 0.95,
  },
  {
    name: "min_p",
    label: "Min-p",
    hint: "No token below this share of the likeliest one's probability; 0 is all.",
    kind: "range",
    min: 0,
    max: 1,
    step: 0.01,
    initial: 0.05,
  },
  {
    name: "repetition_penalty",
    label: "Repetition penalty",
    hint: "Above 1, what has been said comes less often.",
    kind: "range",
    min: 0.8,
    max: 2,
    step: 0.01,
    initial: 1,
  },
  {
    name: "top_k",
    label: "Top-k",
    hint: "So many of the likeliest tokens; 0 is all.",
    kind: "number",
    min: 0,
    step: 1,
    initial: 40,
  },
  {
    name: "max_tokens",
    label: "Longest answer",
    hint: "In tokens.",
    kind: "number",
    min: 1,
    step: 1,
    none: "no limit",
    initial: { chat: null, text: 200 },
  },
  {
    name: "seed",
    label: "Seed",
    hint: "The same seed and the same words give the same answer.",
    kind: "number",
    min: 0,
    step: 1,
    none: "random",
    initial: null,
  },
  {
    name: "stop",
    label: "Stop at",
    hint: "Texts that end an answer, one a line.",
    kind: "lines",
    initial: [],
  },
];

/** The value that holds where a conversation sets none: the person's default, or the page's. */
export function defaultOf(setting, mode) {
  const own = ownDefaults()[mode];
  if (own && setting.name in own) return own[setting.name];
  const { initial } = setting;
  return initial !== null && mode in Object(initial) ? initial[mode] : initial;
}

/** All settings of a conversation, by their names, with `system`, its system prompt. */
export function settingsOf(conversation) {
  const { mode, settings } = conversation;
  const all = { system: settings.system ?? ownDefaults()[mode]?.system ?? "" };
  for (const setting of SAMPLING) {
    all[setting.name] = settings[setting.name] ?? defaultOf(setting, mode);
  }
  return all;
}

/** Makes a conversation's settings those of all that set nothing else; {} restores the page's. False: not kept. */
export function saveDefaults(mode, settings) {
  try {
    localStorage.setItem(KEY, JSON.stringify({ ...ownDefaults(), [mode]: settings }));
    return true;
  } catch {
    return false; // no room, or no storage at all
  }
}

function ownDefaults() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    return {};
  }
}
