// Starts the page.

import { App } from "./app.js";
import { Library } from "./library.js";
import { ServerWatch } from "./server_watch.js";
import { openStore } from "./store.js";
import { toast } from "./toast.js";

const library = new Library(await openStore());
await library.load();
const server = new ServerWatch();
const app = new App(library, server);

function openAddressed() {
  const conversation = library.get(location.hash.slice(1));
  if (conversation) app.open(conversation);
  else app.begin();
}

window.addEventListener("hashchange", openAddressed);
window.addEventListener("pagehide", () => library.flush());
document.addEventListener("visibilitychange", () => {
  if (document.hidden) library.flush();
});
openAddressed();
if (!library.store.kept) toast("This browser keeps nothing here: conversations live as long as this tab.");
await server.look();
