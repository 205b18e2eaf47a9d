// What screen readers hear: whole sentences when something has happened, never single tokens.

/** Reads a line out, politely. */
export function announce(line) {
  const region = document.getElementById("announcements");
  region.textContent = "";
  requestAnimationFrame(() => {
    region.textContent = line;
  });
}
