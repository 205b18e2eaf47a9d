// Asks for the server's API key.

import { setKey } from "./api.js";

let asking = null;

/** Asks a person for a key; whether they gave one. Several callers at once share the question. */
export function askKey(wasWrong = false) {
  asking ??= ask(wasWrong).finally(() => {
    asking = null;
  });
  return asking;
}

function ask(wasWrong) {
  const dialog = document.getElementById("key-panel");
  const input = document.getElementById("key");
  document.getElementById("key-problem").hidden = !wasWrong;
  input.value = "";
  return new Promise((resolve) => {
    const given = new AbortController();
    const { signal } = given;
    const form = dialog.querySelector("form");
    form.addEventListener(
      "submit",
      (event) => {
        event.preventDefault();
        setKey(input.value.trim());
        dialog.close("given");
      },
      { signal },
    );
    document.getElementById("key-cancel").addEventListener("click", () => dialog.close(""), { signal });
    dialog.addEventListener(
      "close",
      () => {
        given.abort();
        resolve(dialog.returnValue === "given");
        dialog.returnValue = "";
      },
      { signal },
    );
    dialog.showModal();
    input.focus();
  });
}
