// An answer's figures in a line.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3, useGrouping: true });

/** "52 tokens/s · first after 0.12 s · 120 tokens · context 140 of 512 · 20 cached". */
export function statsLine(stats) {
  const parts = [];
  if (stats.tokensPerSecond) parts.push(`${rate(stats.tokensPerSecond)} tokens/s`);
  if (stats.firstTokenSeconds !== undefined) {
    parts.push(`first after ${seconds(stats.firstTokenSeconds)}`);
  }
  parts.push(`${whole.format(stats.tokens)} ${stats.tokens === 1 ? "token" : "tokens"}`);
  if (stats.contextTokens) {
    const most = stats.maxTokens ? ` of ${whole.format(stats.maxTokens)}` : "";
    parts.push(`context ${whole.format(stats.contextTokens)}${most}`);
  }
  if (stats.cachedTokens) parts.push(`${whole.format(stats.cachedTokens)} cached`);
  return parts.join(" · ");
}

function rate(value) {
  return value < 100 ? short.format(value) : whole.format(value);
}

function seconds(value) {
  if (value < 0.1) return `${whole.format(value * 1000)} ms`;
  return `${short.format(value)} s`;
}
