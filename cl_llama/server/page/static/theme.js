// Light, dark, or as the system has it; kept in the browser and the same in all tabs.

const KEY = "cl-llama.theme";
const ORDER = ["system", "light", "dark"];

export function theme() {
  return document.documentElement.dataset.theme ?? "system";
}

/** Goes on to the next of system, light and dark, and returns it. */
export function switchTheme() {
  const next = ORDER[(ORDER.indexOf(theme()) + 1) % ORDER.length];
  apply(next);
  try {
    localStorage.setItem(KEY, next);
  } catch {
    // It holds for this visit.
  }
  return next;
}

function apply(name) {
  if (name === "light" || name === "dark") document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
}

/** Calls back when another tab has switched. */
export function followOtherTabs(changed) {
  window.addEventListener("storage", (event) => {
    if (event.key !== KEY) return;
    apply(event.newValue);
    changed(theme());
  });
}
