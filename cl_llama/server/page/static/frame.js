// Everything around a conversation: header, banner, drawer, meter, panels, keys.

import { path } from "./conversation.js";
import { icon } from "./icons.js";
import { followOtherTabs, switchTheme, theme } from "./theme.js";
import { toast } from "./toast.js";
import { exportFile, importFile } from "./transfer.js";

const THEMES = { system: "Colours: as the system", light: "Colours: light", dark: "Colours: dark" };
const ICONS = {
  "close-drawer": "close",
  "open-drawer": "menu",
  settings: "settings",
  export: "export",
  import: "import",
  help: "keyboard",
  jump: "down",
};
const number = new Intl.NumberFormat("en");
const get = (id) => document.getElementById(id);

export class Frame {
  constructor(app) {
    this.app = app;
    for (const [id, name] of Object.entries(ICONS)) {
      get(id).append(icon(name));
      get(id).title = get(id).getAttribute("aria-label");
    }
    for (const close of document.querySelectorAll("dialog .close")) {
      close.append(icon("close"));
      close.addEventListener("click", () => close.closest("dialog").close());
    }
    get("new").append(icon("plus"), "New");
    document.querySelector("#composer .send").append(icon("send"));
    this.#themeButton();
    this.#listen();
  }

  draw(conversation, { model, problem }) {
    get("heading").textContent = conversation.title || "New";
    document.title = conversation.title ? `${conversation.title} · cl-llama` : "cl-llama";
    const device = model?.meta.device?.replace(/^\d+ [^:]*: /, ""); // without number and platform
    get("model").textContent = [model?.id, device].filter(Boolean).join(" · ");
    get("model").title = model ? describe(model) : "";
    get("banner").hidden = problem === null;
    get("banner").textContent = problem ?? "";
    this.drawMeter(conversation);
  }

  /** How much of the context the conversation takes, as far as the server has told. */
  drawMeter(conversation) {
    const { model } = this.app.server;
    const told = path(conversation).findLast(({ stats }) => stats?.contextTokens)?.stats;
    const most = told?.maxTokens ?? model?.meta.max_seq_len;
    const used = told?.contextTokens ?? 0;
    const meter = get("meter");
    meter.hidden = !told || !most;
    if (meter.hidden) return;
    meter.textContent = `${number.format(used)} of ${number.format(most)} tokens of context`;
    meter.style.setProperty("--used", Math.min(1, used / most));
    meter.classList.toggle("nearly-full", used / most > 0.85);
  }

  storageFull() {
    toast("The browser has no room left: what is new lives in this tab only. Export or delete something.");
  }

  openDrawer() {
    document.body.classList.add("drawer-open");
    get("open-drawer").setAttribute("aria-expanded", "true");
    get("close-drawer").focus();
  }

  closeDrawer() {
    if (!document.body.classList.contains("drawer-open")) return;
    document.body.classList.remove("drawer-open");
    get("open-drawer").setAttribute("aria-expanded", "false");
    get("open-drawer").focus();
  }

  #listen() {
    const { app } = this;
    get("new").addEventListener("click", () => app.begin());
    get("open-drawer").addEventListener("click", () => this.openDrawer());
    get("close-drawer").addEventListener("click", () => this.closeDrawer());
    get("backdrop").addEventListener("click", () => this.closeDrawer());
    get("settings").addEventListener("click", () => app.settings.open(app.conversation));
    get("help").addEventListener("click", () => get("help-panel").showModal());
    get("export").addEventListener("click", () => exportFile(app.library.list()));
    get("import").addEventListener("click", () => get("import-file").click());
    get("import-file").addEventListener("change", (event) => this.#import(event.target));
    get("skip").addEventListener("click", (event) => {
      event.preventDefault();
      app.composer.focus();
    });
    document.addEventListener("keydown", (event) => this.#key(event));
  }

  #themeButton() {
    const button = get("theme");
    const draw = () => {
      button.replaceChildren(icon(theme()));
      button.title = THEMES[theme()];
      button.setAttribute("aria-label", THEMES[theme()]);
    };
    button.addEventListener("click", () => {
      switchTheme();
      draw();
    });
    followOtherTabs(draw);
    draw();
  }

  async #import(input) {
    const [file] = input.files;
    input.value = "";
    if (!file) return;
    try {
      const conversations = await importFile(file);
      for (const conversation of conversations) this.app.library.add(conversation);
      toast(`Imported: ${conversations.length}.`);
    } catch (error) {
      toast(error.message);
    }
  }

  #key(event) {
    const { app } = this;
    if (event.isComposing || event.defaultPrevented) return;
    const command = event.ctrlKey || event.metaKey;
    const inPanel = document.querySelector("dialog[open]");
    if (event.key === "Escape" && !inPanel) {
      if (document.body.classList.contains("drawer-open")) this.closeDrawer();
      else app.stop();
    } else if (inPanel) {
      return;
    } else if (command && event.key.toLowerCase() === "k") {
      event.preventDefault();
      if (getComputedStyle(get("open-drawer")).display !== "none") this.openDrawer();
      get("search").select();
      get("search").focus();
    } else if (command && event.shiftKey && event.key.toLowerCase() === "o") {
      event.preventDefault();
      app.begin();
    } else if (command && event.key === ",") {
      event.preventDefault();
      app.settings.open(app.conversation);
    } else if (event.key === "?" && !isField(event.target)) {
      get("help-panel").showModal();
    }
  }
}

function describe({ id, meta }) {
  const parts = [id, meta.device, meta.precision && `precision ${meta.precision}`];
  if (meta.max_seq_len) parts.push(`${meta.max_seq_len} tokens of context`);
  return parts.filter(Boolean).join("\n");
}

function isField(element) {
  return element.matches("input, textarea, select");
}
