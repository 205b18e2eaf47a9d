// Sets the chosen colours before anything is painted; the rest of the switch is theme.js.
"use strict";
try {
  const theme = localStorage.getItem("cl-llama.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage is forbidden here: the system's colours are right.
}
